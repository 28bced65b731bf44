package cedar

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	cedarlang "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/vespiary/vespiary/policy"
)

const (
	// needsApproval is the annotation of a forbid that a person may lift for one call.
	needsApproval = "needs_approval"
	// unnamedApproval stands for an annotation without a text.
	unnamedApproval = "approval"
)

// approval is what policy.Decision.Approval says about a denial by causes. It is ""
// too where no permit holds: an approval lifts a forbid and permits nothing, so a
// person would be asked for a call that stays denied.
func (s *Set) approval(q *query, causes []policy.Cause) string {
	if !s.liftable(causes) || !s.permits(q) {
		return ""
	}
	first := slices.MinFunc(causes, func(a, b policy.Cause) int { return cmp.Compare(a.ID, b.ID) })
	p, _ := s.Policy(first.ID)
	return cmp.Or(oneLine(p.Annotations[needsApproval]), unnamedApproval)
}

// liftable reports whether there are causes and an approval could lift each.
func (s *Set) liftable(causes []policy.Cause) bool {
	for _, c := range causes {
		p, _ := s.Policy(c.ID)
		if _, ok := p.Annotations[needsApproval]; !ok {
			return false
		}
	}
	return len(causes) > 0
}

// permits reports whether some permit holds, whatever is forbidden.
func (s *Set) permits(q *query) bool {
	verdict, _ := cedarlang.Authorize(permitting{s.index.candidates(q)}, &q.entities, q.request)
	return verdict == cedarlang.Allow
}

// permitting are those candidates that permit.
type permitting struct{ *candidates }

func (c permitting) All() iter.Seq2[cedarlang.PolicyID, *cedarlang.Policy] {
	return func(yield func(cedarlang.PolicyID, *cedarlang.Policy) bool) {
		for id, p := range c.candidates.All() {
			if p.Effect() == cedarlang.Permit && !yield(id, p) {
				return
			}
		}
	}
}

// checkApproval checks that what a policy promises by @needs_approval can come true.
func (v *vocabulary) checkApproval(info *Policy, p *ast.Policy) []*Problem {
	if _, ok := info.Annotations[needsApproval]; !ok {
		return nil
	}
	if p.Effect == ast.EffectPermit {
		return []*Problem{{
			What: "@needs_approval is on a permit, where it means nothing: a person can lift what is forbidden",
			Fix:  "leave it out here, and write a second policy with it that forbids the same unless { " + approvedCall + " }",
		}}
	}
	var problems []*Problem
	if !mentionsApproval(p) {
		problems = append(problems, &Problem{
			What: "it has @needs_approval, but no approval can lift it, because it does not look at context.approval",
			Fix:  "end it with unless { " + approvedCall + " }, or leave @needs_approval out",
		})
	}
	if stuck := v.withoutApproval(p); len(stuck) > 0 {
		problems = append(problems, &Problem{
			What: fmt.Sprintf("it has @needs_approval and covers %s, which no approval is given for", strings.Join(stuck, ", ")),
			Fix:  "name in the scope the actions that are meant, or write principal is Run there",
		})
	}
	return problems
}

// approvedCall is the condition that a person approved exactly this call.
const approvedCall = "context has approval && context.approval.digest == context.argsDigest"

func mentionsApproval(p *ast.Policy) bool {
	found := false
	for _, c := range p.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			found = found || isApproval(n)
			return !found
		})
	}
	return found
}

// isApproval recognises "context.approval" and "context has approval".
func isApproval(n ast.IsNode) bool {
	var of ast.StrOpNode
	switch n := n.(type) {
	case ast.NodeTypeAccess:
		of = n.StrOpNode
	case ast.NodeTypeHas:
		of = n.StrOpNode
	default:
		return false
	}
	variable, ok := of.Arg.(ast.NodeTypeVariable)
	return ok && variable.Name == "context" && of.Value == "approval"
}

// withoutApproval names the actions that a policy covers and whose context can hold
// no approval.
func (v *vocabulary) withoutApproval(p *ast.Policy) []string {
	var out []string
	for u, action := range v.schema.Actions {
		if action.AppliesTo == nil {
			continue
		}
		if _, has := action.AppliesTo.Context["approval"]; !has && v.applies(p, u) {
			out = append(out, string(u.ID))
		}
	}
	return v.summed(out)
}

// applies reports whether the scope of a policy leaves room for an action.
func (v *vocabulary) applies(p *ast.Policy, action types.EntityUID) bool {
	if _, all := p.Action.(ast.ScopeTypeAll); !all && !meet(named(p.Action), v.lineage[action]) {
		return false
	}
	to := v.schema.Actions[action].AppliesTo
	return v.mayBe(p.Principal, to.Principals) && v.mayBe(p.Resource, to.Resources)
}
