package cedar

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	cedarlang "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/vespiary/vespiary/policy"
)

// maxNearest is how many policies that came near are explained.
const maxNearest = 5

// Explanation says why a decision is the answer to a request.
type Explanation struct {
	// Principal is the link of the request's chain that the rest is about: the one that was
	// denied, or the one that acts.
	Principal policy.UID `json:"principal"`
	Hop       int        `json:"hop,omitempty"`
	// Policies are those that decided or could not be evaluated; where nothing permits, the
	// permits that came nearest.
	Policies []Weighed `json:"policies,omitempty"`
	Lines    []string  `json:"lines"` // all of it in words
}

// Weighed is a policy whose scope a request is in, with how its conditions came out.
type Weighed struct {
	ID      string      `json:"id"`
	File    string      `json:"file"`
	Line    int         `json:"line"`
	Effect  string      `json:"effect"`
	Why     string      `json:"why,omitempty"` // its @why
	Decided bool        `json:"decided,omitempty"`
	Clauses []Condition `json:"clauses,omitempty"` // none: its scope is all it says
	// Lacking is what would have to be true for a permit to hold, or for a forbid not to; ""
	// if it does, or if the scope alone decides.
	Lacking string `json:"lacking,omitempty"`
}

// String returns the lines as one text.
func (e Explanation) String() string { return strings.Join(e.Lines, "\n") }

// Explain says why d is the answer to r: which policies decided, with file and line and
// which of their conditions held by which values; what could not be evaluated; and for
// a denial what would have to be true. Where nothing permits, it names the permits that
// came nearest. d must come from this set.
func (s *Set) Explain(r *policy.Request, d policy.Decision) Explanation {
	if r == nil {
		return Explanation{Lines: s.verdict(d)}
	}
	e := Explanation{Hop: d.Hop, Principal: r.Principal}
	q, faults := s.words.query(r)
	if len(faults) > 0 || d.Hop >= len(q.links) {
		e.Lines = append(s.verdict(d), missingFrom(d.Errors, faults)...)
		return e
	}
	if d.Allowed {
		e.allowed(s, q, d)
		return e
	}
	q.stand(d.Hop)
	e.Principal = policy.UID{Type: string(q.request.Principal.Type), ID: string(q.request.Principal.ID)}
	if len(q.links) > 1 {
		e.Lines = append(e.Lines, hopLine(q, d.Hop))
	}
	e.Lines = append(e.Lines, d.Errors...)
	e.decided(s, q, d)
	e.Lines = append(e.Lines, s.remedy(d)...)
	if s.lacksPermit(d) {
		e.nearest(s, q)
	}
	return e
}

// allowed explains what permits each link of the chain.
func (e *Explanation) allowed(s *Set, q *query, d policy.Decision) {
	for i := range q.links {
		q.stand(i)
		if len(q.links) > 1 {
			e.Lines = append(e.Lines, hopLine(q, i))
		}
		e.decided(s, q, d)
	}
	e.grants(s, d, nil)
}

func hopLine(q *query, hop int) string {
	if hop == 0 {
		return fmt.Sprintf("for %v, which acts:", q.links[0].principal)
	}
	return fmt.Sprintf("for %v, which %v acts for:", q.links[hop].principal, q.links[hop-1].principal)
}

// missingFrom returns the faults that the decision does not name already.
func missingFrom(named, faults []string) []string {
	return slices.DeleteFunc(slices.Clone(faults), func(f string) bool { return slices.Contains(named, f) })
}

// verdict says what was decided by what, without looking into conditions.
func (s *Set) verdict(d policy.Decision) []string {
	return append(slices.Clone(d.Errors), s.remedy(d)...)
}

// remedy says whether a person may lift a denial that policies leave to one.
func (s *Set) remedy(d policy.Decision) []string {
	switch {
	case d.Approval == unnamedApproval:
		return []string{"a person may approve this call"}
	case d.Approval != "":
		return []string{"a person may approve this call: " + d.Approval}
	case s.unasked(d):
		return []string{"nobody is asked to approve it, because an approval lifts a forbid and permits nothing"}
	default:
		return nil
	}
}

// unasked reports whether only the lack of a permit keeps an approval from helping.
func (s *Set) unasked(d policy.Decision) bool {
	return !d.Allowed && d.Approval == "" && len(d.Errors) == 0 && s.liftable(d.Policies)
}

// lacksPermit reports whether a permit would make a difference.
func (s *Set) lacksPermit(d policy.Decision) bool {
	return !d.Allowed && len(d.Errors) == 0 && (len(d.Policies) == 0 || s.unasked(d))
}

// decided explains the policies that decided and those that could not be evaluated.
func (e *Explanation) decided(s *Set, q *query, d policy.Decision) {
	for _, w := range s.weigh(q, func(w *Weighed) bool {
		// In a chain, what permits one link need not hold for another.
		holds := w.Effect == "forbid" || w.Lacking == ""
		w.Decided = holds && slices.ContainsFunc(d.Policies, func(c policy.Cause) bool { return c.ID == w.ID })
		return w.Decided || len(d.Errors) > 0 && w.errs()
	}) {
		e.add(w, w.verb(d.Allowed))
	}
	if !d.Allowed {
		e.grants(s, d, q.links[d.Hop].grants)
	}
}

// grants says what the grants of tasks did to a decision.
func (e *Explanation) grants(s *Set, d policy.Decision, g *taskGrants) {
	for _, c := range d.Policies {
		switch {
		case s.has(c.ID):
		case d.Allowed:
			e.Lines = append(e.Lines, "covered by the "+c.ID)
		default:
			e.Lines = append(e.Lines, "not covered by the "+c.ID+", which nothing else is allowed in")
			e.Lines = append(e.Lines, g.lines()...)
		}
	}
}

// lines says what the grants give, one grant a line.
func (g *taskGrants) lines() []string {
	if g == nil {
		return nil
	}
	if len(g.list) == 0 {
		return []string{"  it was granted nothing"}
	}
	var lines []string
	for _, one := range g.list {
		line := "  granted: " + idsOf(one.actions)
		if len(one.resources) > 0 {
			line += " with " + uidsOf(one.resources)
		}
		lines = append(lines, line)
	}
	return lines
}

func idsOf(uids []types.EntityUID) string {
	ids := make([]string, len(uids))
	for i, u := range uids {
		ids[i] = string(u.ID)
	}
	return strings.Join(ids, ", ")
}

func uidsOf(uids []types.EntityUID) string {
	ids := make([]string, len(uids))
	for i, u := range uids {
		ids[i] = u.String()
	}
	return strings.Join(ids, ", ")
}

// nearest explains the permits whose scope the request is in, those first which lack
// least.
func (e *Explanation) nearest(s *Set, q *query) {
	actor, ok := agentOf(q)
	if !ok {
		actor = q.request.Principal
	}
	e.Lines = append(e.Lines, fmt.Sprintf("no policy permits %v to %s %v", actor, q.request.Action.ID, q.request.Resource))
	permits := s.weigh(q, func(w *Weighed) bool { return w.Effect == "permit" })
	slices.SortStableFunc(permits, func(a, b Weighed) int { return cmp.Compare(a.distance(), b.distance()) })
	for i, w := range permits {
		if i == maxNearest {
			e.Lines = append(e.Lines, fmt.Sprintf("%d more policies are about this, with conditions that do not hold", len(permits)-i))
			return
		}
		e.add(w, fmt.Sprintf("policy %s is about this, but its conditions do not hold", s.where(w.ID)))
	}
}

// weigh evaluates the policies that q is in the scope of, in the order of files and
// lines, and returns those that keep wants.
func (s *Set) weigh(q *query, keep func(*Weighed) bool) []Weighed {
	var all []Weighed
	e := newEvaluation(q)
	for id, p := range s.index.candidates(q).All() {
		if !inScope(p, q) {
			continue
		}
		info, _ := s.Policy(string(id))
		w := Weighed{
			ID: info.ID, File: info.File, Line: info.Line, Effect: info.Effect, Why: info.Annotations["why"],
			Clauses: e.clauses((*ast.Policy)(p.AST())),
		}
		w.Lacking = w.lacking()
		if keep(&w) {
			all = append(all, w)
		}
	}
	slices.SortFunc(all, func(a, b Weighed) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.ID, b.ID))
	})
	return all
}

// lacking joins what the clauses lack: a permit needs all of them, a forbid ends with
// one.
func (w *Weighed) lacking() string {
	permit, word := w.Effect == "permit", orWord
	if permit {
		word = andWord
	}
	var all []lack
	for i := range w.Clauses {
		c := &w.Clauses[i]
		wanted := stateFalse
		if (c.Clause == "when") == permit {
			wanted = stateTrue
		}
		all = append(all, c.lacking(wanted))
	}
	return combined(all, word).text
}

// errs reports whether the policy could not be evaluated: the first clause that is not
// as the policy needs it errs.
func (w *Weighed) errs() bool {
	for i := range w.Clauses {
		c := &w.Clauses[i]
		switch c.State {
		case stateError:
			return true
		case stateTrue:
			if c.Clause == "unless" {
				return false
			}
		default:
			if c.Clause == "when" {
				return false
			}
		}
	}
	return false
}

// distance counts the parts of conditions that keep a permit from holding.
func (w *Weighed) distance() int {
	n := 0
	for i := range w.Clauses {
		c := &w.Clauses[i]
		wanted := stateTrue
		if c.Clause == "unless" {
			wanted = stateFalse
		}
		n += c.distance(wanted)
	}
	return n
}

// verb begins the line about a policy that decided.
func (w *Weighed) verb(allowed bool) string {
	line := "forbidden by policy "
	switch {
	case !w.Decided:
		line = "not to be evaluated, which denies: policy "
	case allowed:
		line = "permitted by policy "
	}
	line += fmt.Sprintf("%q (%s:%d)", w.ID, w.File, w.Line)
	if w.Why != "" {
		line += ": " + w.Why
	}
	return line
}

// add takes a policy up, under a line of its own.
func (e *Explanation) add(w Weighed, line string) {
	e.Policies = append(e.Policies, w)
	e.Lines = append(e.Lines, line)
	for i := range w.Clauses {
		e.Lines = w.Clauses[i].lines(e.Lines, "  "+w.Clauses[i].Clause+" ", "    ")
	}
	switch {
	case w.Lacking == "":
	case w.Effect == "permit":
		e.Lines = append(e.Lines, "  it would permit this with: "+w.Lacking)
	case w.Decided:
		e.Lines = append(e.Lines, "  it would not forbid this with: "+w.Lacking)
	}
}

// lines appends c to lines: its outcome, its text and its facts, or its parts one by one.
func (c *Condition) lines(lines []string, start, indent string) []string {
	if len(c.Parts) > 0 {
		of := "all of"
		if c.Join == "||" {
			of = "any of"
		}
		lines = append(lines, fmt.Sprintf("%s%s, %s:", start, c.State, of))
		for i := range c.Parts {
			lines = c.Parts[i].lines(lines, indent, indent+"  ")
		}
		return lines
	}
	line := start + c.State + ": " + c.Text
	if c.Error != "" {
		line += " (" + c.Error + ")"
	}
	if len(c.Facts) > 0 {
		line += " [" + strings.Join(c.Facts, ", ") + "]"
	}
	return append(lines, line)
}

// agentOf returns the agent whose run the principal is.
func agentOf(q *query) (types.EntityUID, bool) {
	run, _ := q.entities.Get(q.request.Principal)
	attr, _ := run.Attributes.Get("agent")
	agent, ok := attr.(types.EntityUID)
	return agent, ok && slices.Contains(q.principals, agent)
}

// inScope reports whether what the index left in the scope of p holds.
func inScope(p *cedarlang.Policy, q *query) bool {
	scope := (*ast.Policy)(p.AST())
	return covers(scope.Principal, q.request.Principal) &&
		covers(scope.Action, q.request.Action) &&
		covers(scope.Resource, q.request.Resource)
}

func covers(scope ast.IsScopeNode, u types.EntityUID) bool {
	switch s := scope.(type) {
	case ast.ScopeTypeEq:
		return s.Entity == u
	case ast.ScopeTypeIs:
		return s.Type == u.Type
	default:
		return true
	}
}
