package cedar

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	cedarlang "github.com/cedar-policy/cedar-go"
	plainast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
)

// Condition is a condition of a policy, or a part of one between its && and ||, as it
// came out for one request.
type Condition struct {
	Clause string `json:"clause,omitempty"` // of a whole condition: "when" or "unless"
	Text   string `json:"text"`             // in Cedar
	// State is "true", "false", "error", or "unreached" for a part that evaluation stopped
	// before and that has no value by itself, such as an attribute whose "has" is false.
	State string `json:"state"`
	Error string `json:"error,omitempty"`
	// Facts are the values of what a condition without parts names: "context.flow.pc is 0".
	Facts []string    `json:"facts,omitempty"`
	Join  string      `json:"join,omitempty"` // "&&" or "||" between Parts
	Parts []Condition `json:"parts,omitempty"`

	node ast.IsNode
}

// The states of a Condition.
const (
	stateTrue      = "true"
	stateFalse     = "false"
	stateError     = "error"
	stateUnreached = "unreached"
)

// maxFact bounds the text of one value in an explanation, in bytes.
const maxFact = 200

// evaluation evaluates the conditions of policies for one request.
type evaluation struct{ env eval.Env }

func newEvaluation(q *query) *evaluation {
	r := q.request
	return &evaluation{eval.Env{
		Entities: &q.entities, Principal: r.Principal, Action: r.Action, Resource: r.Resource, Context: r.Context,
	}}
}

// clauses evaluates each when and unless of a policy.
func (e *evaluation) clauses(p *ast.Policy) []Condition {
	var all []Condition
	for _, c := range p.Conditions {
		out := e.condition(c.Body)
		out.Clause = "when"
		if c.Condition == ast.ConditionUnless {
			out.Clause = "unless"
		}
		all = append(all, out)
	}
	return all
}

func (e *evaluation) condition(n ast.IsNode) Condition {
	c := Condition{Text: expression(n), node: n}
	c.State, c.Error = e.state(n)
	if join, parts := split(n); join != "" {
		c.Join, c.Parts = join, e.parts(join, parts)
		return c
	}
	c.Facts = e.facts(n)
	return c
}

// parts evaluates parts each by itself. An error behind the part that settled the
// outcome never happened.
func (e *evaluation) parts(join string, nodes []ast.IsNode) []Condition {
	settling := stateFalse
	if join == "||" {
		settling = stateTrue
	}
	settled := false
	var parts []Condition
	for _, n := range nodes {
		part := e.condition(n)
		if settled && part.State == stateError {
			part = Condition{Text: part.Text, State: stateUnreached, node: n}
		}
		settled = settled || part.State == settling || part.State == stateError
		parts = append(parts, part)
	}
	return parts
}

func (e *evaluation) state(n ast.IsNode) (state, problem string) {
	v, err := eval.Eval(n, e.env)
	switch {
	case err != nil:
		return stateError, err.Error()
	case v == types.True:
		return stateTrue, ""
	case v == types.False:
		return stateFalse, ""
	default:
		return stateError, fmt.Sprintf("it is a %s and not a Bool", kindOf(v))
	}
}

// split returns what && or || joins, across brackets of the same kind.
func split(n ast.IsNode) (join string, parts []ast.IsNode) {
	switch n := n.(type) {
	case ast.NodeTypeAnd:
		return "&&", append(operands("&&", n.Left), operands("&&", n.Right)...)
	case ast.NodeTypeOr:
		return "||", append(operands("||", n.Left), operands("||", n.Right)...)
	default:
		return "", nil
	}
}

func operands(join string, n ast.IsNode) []ast.IsNode {
	if same, parts := split(n); same == join {
		return parts
	}
	return []ast.IsNode{n}
}

// facts says what the attributes, tags and entities have as values that n names.
func (e *evaluation) facts(n ast.IsNode) []string {
	var facts []string
	seen := map[string]bool{}
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		named, whole := mentioned(n)
		if named == nil {
			return true
		}
		if name := expression(named); !seen[name] {
			seen[name] = true
			facts = append(facts, name+" is "+e.valueOf(named))
		}
		return !whole
	})
	return facts
}

// mentioned returns the expression whose value tells about n, and whether it tells
// all; nil if n is not about a value of the request.
func mentioned(n ast.IsNode) (named ast.IsNode, whole bool) {
	switch n := n.(type) {
	case ast.NodeTypeAccess:
		return rooted(n.Arg, n)
	case ast.NodeTypeHas:
		return rooted(n.Arg, ast.NodeTypeAccess(n))
	case ast.NodeTypeGetTag:
		return rooted(n.Left, n)
	case ast.NodeTypeHasTag:
		return rooted(n.Left, ast.NodeTypeGetTag(n))
	case ast.NodeTypeVariable:
		if n.Name != "context" {
			return n, true
		}
	default: // an operation, whose operands are looked at next
	}
	return nil, false
}

// rooted returns access if what it reads begins with a variable.
func rooted(of, access ast.IsNode) (named ast.IsNode, whole bool) {
	for {
		switch n := of.(type) {
		case ast.NodeTypeVariable:
			return access, true
		case ast.NodeTypeAccess:
			of = n.Arg
		default:
			return nil, false
		}
	}
}

func (e *evaluation) valueOf(n ast.IsNode) string {
	v, err := eval.Eval(n, e.env)
	if err != nil {
		return "absent"
	}
	text := string(v.MarshalCedar())
	if len(text) > maxFact {
		return strings.ToValidUTF8(text[:maxFact], "") + "…"
	}
	return text
}

// expression renders a part of a policy in Cedar.
func expression(n ast.IsNode) string {
	p := cedarlang.NewPolicyFromAST((*plainast.Policy)(ast.Permit().When(ast.NewNode(n))))
	_, text, _ := bytes.Cut(p.MarshalCedar(), []byte("when { "))
	return string(bytes.TrimSuffix(text, []byte(" };")))
}

// lack is what is missing, in Cedar with "and" and "or" between the parts.
type lack struct{ text, word string }

const (
	andWord = " and "
	orWord  = " or "
)

// combined joins what is missing; what is not missing has no text.
func combined(all []lack, word string) lack {
	all = slices.DeleteFunc(all, func(l lack) bool { return l.text == "" })
	if len(all) == 1 {
		return all[0]
	}
	texts := make([]string, len(all))
	for i, l := range all {
		if texts[i] = l.text; l.word != "" && l.word != word {
			texts[i] = "(" + l.text + ")"
		}
	}
	return lack{strings.Join(texts, word), word}
}

// lacking says what would make c come out as wanted; the zero lack if it does already.
func (c *Condition) lacking(wanted string) lack {
	switch {
	case c.State == wanted:
		return lack{}
	case len(c.Parts) == 0:
		return lack{text: c.turned(wanted)}
	}
	all := make([]lack, len(c.Parts))
	for i := range c.Parts {
		all[i] = c.Parts[i].lacking(wanted)
	}
	// It takes all of the parts where && shall be true or || false, else one of them.
	if (c.Join == "&&") == (wanted == stateTrue) {
		return combined(all, andWord)
	}
	return combined(all, orWord)
}

// turned is c as it would have to be.
func (c *Condition) turned(wanted string) string {
	text := c.Text
	if wanted == stateFalse {
		text = expression(negated(c.node))
	}
	if c.State == stateError {
		return fmt.Sprintf("%s (which cannot be evaluated as it is)", text)
	}
	return text
}

// negated turns an expression round, by its operator if it has one.
func negated(n ast.IsNode) ast.IsNode {
	switch n := n.(type) {
	case ast.NodeTypeEquals:
		return ast.NodeTypeNotEquals(n)
	case ast.NodeTypeNotEquals:
		return ast.NodeTypeEquals(n)
	case ast.NodeTypeLessThan:
		return ast.NodeTypeGreaterThanOrEqual(n)
	case ast.NodeTypeLessThanOrEqual:
		return ast.NodeTypeGreaterThan(n)
	case ast.NodeTypeGreaterThan:
		return ast.NodeTypeLessThanOrEqual(n)
	case ast.NodeTypeGreaterThanOrEqual:
		return ast.NodeTypeLessThan(n)
	case ast.NodeTypeNot:
		return n.Arg
	default:
		return ast.NodeTypeNot{UnaryNode: ast.UnaryNode{Arg: n}}
	}
}

// distance counts the parts that keep c from coming out as wanted.
func (c *Condition) distance(wanted string) int {
	if c.State == wanted {
		return 0
	}
	n, either := 0, (c.Join == "&&") != (wanted == stateTrue)
	for i := range c.Parts {
		d := c.Parts[i].distance(wanted)
		if either && (n == 0 || d < n) {
			n = d
		} else if !either {
			n += d
		}
	}
	return max(n, 1)
}
