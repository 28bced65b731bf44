package cedar

import (
	"fmt"
	"slices"
	"strings"

	cedarlang "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/vespiary/vespiary/policy"
)

// Explain says in sentences, one a line, why d is the answer to r: the policies
// that permitted or forbade it with file and line, what could not be evaluated, that
// nothing permits it and which policies came near, and whether a person may approve
// it. d must come from this set.
func (s *Set) Explain(r *policy.Request, d policy.Decision) string {
	var lines []string
	verb := "forbidden"
	if d.Allowed {
		verb = "permitted"
	}
	for _, c := range d.Policies {
		lines = append(lines, s.sentence(verb+" by policy ", c.ID))
	}
	lines = append(lines, d.Errors...)
	lines = append(lines, s.remedy(d)...)
	if r != nil && len(d.Errors) == 0 && (len(d.Policies) == 0 || s.unasked(d)) {
		lines = append(lines, s.unpermitted(r)...)
	}
	return strings.Join(lines, "\n")
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

// sentence names a policy and gives its @why, if it has one.
func (s *Set) sentence(start, id string) string {
	line := start + s.where(id)
	if p, ok := s.Policy(id); ok && p.Annotations["why"] != "" {
		line += ": " + p.Annotations["why"]
	}
	return line
}

// unpermitted explains a denial by default.
func (s *Set) unpermitted(r *policy.Request) []string {
	q, faults := s.words.query(r)
	if len(faults) > 0 {
		return faults
	}
	actor, ok := agentOf(q)
	if !ok {
		actor = q.request.Principal
	}
	lines := []string{fmt.Sprintf("no policy permits %v to %s %v", actor, r.Action.ID, q.request.Resource)}
	for id, p := range s.index.candidates(q).All() {
		if p.Effect() == cedarlang.Permit && inScope(p, q) {
			lines = append(lines, fmt.Sprintf("policy %s is about this, but its conditions do not hold", s.where(string(id))))
		}
	}
	slices.Sort(lines[1:])
	return lines
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
