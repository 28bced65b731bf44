package cedar

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	cedarlang "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// compiler fills a set, file by file, and gathers what is wrong.
type compiler struct {
	set      *Set
	checkers *checkers
	named    map[string]Policy // first of each @id, sound or not
	problems []*Problem
}

func (c *compiler) report(p *Problem) { c.problems = append(c.problems, p) }

func (c *compiler) file(name string, src []byte) {
	if len(src) > maxFile {
		c.report(&Problem{File: name, What: fmt.Sprintf("has %d bytes, more than %d", len(src), maxFile), Fix: "split it into several files"})
		return
	}
	for _, st := range statements(src) {
		c.statement(name, st)
	}
}

// statement parses, checks and adds one policy. A fault in the language library
// becomes a problem of the policy that showed it.
func (c *compiler) statement(file string, st statement) {
	defer func() {
		if fault := recover(); fault != nil {
			c.report(&Problem{File: file, Line: st.line, What: fmt.Sprintf("cannot be checked: %v", fault), Fix: "write it in a simpler way"})
		}
	}()
	if p := tooBig(file, st); p != nil {
		c.report(p)
		return
	}
	parsed, p := parse(file, st)
	if p != nil {
		c.report(p)
		return
	}
	info := describe(file, st, parsed)
	ok := c.identify(&info)
	for _, fault := range c.check(&info, parsed) {
		fault.File, fault.Line, fault.Policy = file, st.line, info.ID
		c.report(fault)
		ok = false
	}
	if ok {
		c.add(info, parsed)
	}
}

func tooBig(file string, st statement) *Problem {
	switch {
	case len(st.text) > maxStatement:
		return &Problem{File: file, Line: st.line, What: fmt.Sprintf("the policy has %d bytes, more than %d", len(st.text), maxStatement), Fix: "split it, or end it with a semicolon"}
	case st.dots > maxDots:
		return &Problem{File: file, Line: st.line, What: fmt.Sprintf("a path has more than %d dots", maxDots), Fix: "shorten it"}
	case st.nesting > maxNesting:
		return &Problem{File: file, Line: st.line, What: fmt.Sprintf("brackets are nested more than %d deep", maxNesting), Fix: "split the policy"}
	default:
		return nil
	}
}

// parse reads exactly one policy. More than one cannot come from one statement
// unless the splitter and the parser disagree; dropping one would be unsafe.
func parse(file string, st statement) (*cedarlang.Policy, *Problem) {
	list, err := cedarlang.NewPolicyListFromBytes(file, st.text)
	switch {
	case err != nil:
		line, what := parseFault(err)
		return nil, &Problem{File: file, Line: st.line + line - 1, What: what, Fix: "see docs.cedarpolicy.com/policies/syntax-grammar.html"}
	case len(list) != 1:
		return nil, &Problem{File: file, Line: st.line, What: "cannot tell where this policy ends", Fix: "write one policy up to one semicolon"}
	default:
		return list[0], nil
	}
}

var (
	parsePosition = regexp.MustCompile(`(?:parser error: )?(?:parse error at )?<input>:(\d+):(\d+):? ?`)
	parseExpected = regexp.MustCompile(`(?s)^"(?:[^"\\]|\\.)*": exact got (.*) want (.+)$`)
)

// parseFault takes the line out of an error of the parser, counted from 1 within
// the statement, and says the rest in plain words.
func parseFault(err error) (line int, what string) {
	msg := err.Error()
	line = 1
	if m := parsePosition.FindStringSubmatch(msg); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil && n > 0 {
			line = n
		}
		msg = strings.Replace(msg, m[0], "", 1)
	}
	if m := parseExpected.FindStringSubmatch(msg); m != nil {
		if m[1] == "" {
			return line, fmt.Sprintf("the file ends where %q was expected", m[2])
		}
		return line, fmt.Sprintf("found %q where %q was expected", m[1], m[2])
	}
	return line, "cannot be read: near " + strings.TrimSpace(msg)
}

func describe(file string, st statement, p *cedarlang.Policy) Policy {
	info := Policy{File: file, Line: st.line, Effect: "forbid", Text: string(st.text)}
	if p.Effect() == cedarlang.Permit {
		info.Effect = "permit"
	}
	for k, v := range p.Annotations() {
		if info.Annotations == nil {
			info.Annotations = map[string]string{}
		}
		info.Annotations[string(k)] = string(v)
	}
	info.ID = info.Annotations["id"]
	return info
}

// identify checks that the policy has a name and that no other has it.
func (c *compiler) identify(p *Policy) bool {
	if p.ID == "" {
		c.report(&Problem{
			File: p.File, Line: p.Line, What: "the policy has no @id, so decisions could not name it",
			Fix: `write @id("what-it-does") on the line before ` + p.Effect,
		})
		return false
	}
	if first, dup := c.named[p.ID]; dup {
		c.report(&Problem{
			File: p.File, Line: p.Line, Policy: p.ID, What: fmt.Sprintf("the @id is also that of %s:%d", first.File, first.Line),
			Fix: "give one of them another @id",
		})
		return false
	}
	if strings.HasPrefix(p.ID, uncoveredCause) || strings.HasPrefix(p.ID, coveredCause) {
		c.report(&Problem{
			File: p.File, Line: p.Line, Policy: p.ID, What: "the @id begins like what a decision says of the grants of a task",
			Fix: "give it another @id",
		})
		return false
	}
	c.named[p.ID] = *p
	return true
}

func (c *compiler) add(info Policy, p *cedarlang.Policy) {
	c.set.byID[info.ID] = len(c.set.policies)
	c.set.policies = append(c.set.policies, info)
	c.set.index.add(cedarlang.PolicyID(info.ID), p)
}

// check validates a policy strictly against the schema, and what it says of groups and of
// approval.
func (c *compiler) check(info *Policy, p *cedarlang.Policy) []*Problem {
	v, parsed := c.set.words, (*ast.Policy)(p.AST())
	groups := v.checkGroups(parsed)
	problems := groups
	for _, msg := range v.faults(c.checkers.of(parsed).Policy("", parsed)) {
		if len(groups) == 0 || !notApplicable.MatchString(msg) {
			problems = append(problems, &Problem{What: msg, Fix: v.advice(msg)})
		}
	}
	return append(problems, v.checkApproval(info, parsed)...)
}

// faults are the messages of an error of the validator.
func (v *vocabulary) faults(err error) []string {
	if err == nil {
		return nil
	}
	var many interface{ Unwrap() []error }
	if !errors.As(err, &many) {
		return []string{err.Error()}
	}
	var msgs []string
	for _, e := range many.Unwrap() {
		msgs = append(msgs, e.Error())
	}
	return v.condensed(msgs)
}

// checkGroups finds comparisons of the action with a group, which never hold: an action is
// in a group.
func (v *vocabulary) checkGroups(p *ast.Policy) []*Problem {
	var problems []*Problem
	add := func(u types.EntityUID) {
		if v.isGroup(u) {
			problems = append(problems, &Problem{
				What: fmt.Sprintf("%v is a group of actions, and no action is equal to it", u), Fix: fmt.Sprintf("write action in %v", u),
			})
		}
	}
	if eq, ok := p.Action.(ast.ScopeTypeEq); ok {
		add(eq.Entity)
	}
	for _, c := range p.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			switch n := n.(type) {
			case ast.NodeTypeEquals:
				v.compared(n.BinaryNode, add)
			case ast.NodeTypeNotEquals:
				v.compared(n.BinaryNode, add)
			default: // what they consist of comes next
			}
			return true
		})
	}
	return problems
}

// compared passes on what the action is compared with.
func (v *vocabulary) compared(n ast.BinaryNode, add func(types.EntityUID)) {
	for _, pair := range [][2]ast.IsNode{{n.Left, n.Right}, {n.Right, n.Left}} {
		variable, isVariable := pair[0].(ast.NodeTypeVariable)
		value, isValue := pair[1].(ast.NodeValue)
		if !isVariable || !isValue || variable.Name != "action" {
			continue
		}
		if u, ok := value.Value.(types.EntityUID); ok {
			add(u)
		}
	}
}
