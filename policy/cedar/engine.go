package cedar

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	cedarlang "github.com/cedar-policy/cedar-go"

	"github.com/vespiary/vespiary/policy"
)

var _ policy.Authorizer = (*Engine)(nil)

// Engine decides requests by the Set it holds; without one it denies all. All
// methods are safe for concurrent use.
type Engine struct{ set atomic.Pointer[Set] }

// New returns an Engine that decides by set.
func New(set *Set) *Engine {
	e := &Engine{}
	e.Replace(set)
	return e
}

// Replace makes set the one that decides. Requests under way finish with the set
// they began with.
func (e *Engine) Replace(set *Set) { e.set.Store(set) }

// Set returns the set that decides now.
func (e *Engine) Set() *Set { return e.set.Load() }

// Authorize implements policy.Authorizer. It does no I/O and ignores ctx. A
// request that does not fit the schema, an error in evaluation and a panic
// provoked by the request are denials whose Errors say what happened.
func (e *Engine) Authorize(_ context.Context, r *policy.Request) (d policy.Decision) {
	set := e.set.Load()
	if set == nil {
		return policy.Decision{Errors: []string{"no policy set is loaded, which denies all; load one"}}
	}
	defer func() {
		if fault := recover(); fault != nil {
			d = set.refuse(fmt.Sprintf("the request cannot be decided: %v", fault))
		}
	}()
	if r == nil {
		return set.refuse("there is no request to decide")
	}
	q, faults := set.words.query(r)
	if len(faults) > 0 {
		return set.refuse(faults...)
	}
	return set.decide(q)
}

// refuse denies a request that policies were not asked about.
func (s *Set) refuse(faults ...string) policy.Decision {
	return policy.Decision{Errors: faults, Set: s.digest}
}

func (s *Set) decide(q *query) policy.Decision {
	verdict, diag := cedarlang.Authorize(s.index.candidates(q), &q.entities, q.request)
	d := policy.Decision{Allowed: verdict == cedarlang.Allow && len(diag.Errors) == 0, Set: s.digest}
	for _, e := range diag.Errors {
		d.Errors = append(d.Errors, fmt.Sprintf("policy %s could not be evaluated, which denies: %s", s.where(string(e.PolicyID)), e.Message))
	}
	slices.Sort(d.Errors)
	if d.Allowed || verdict == cedarlang.Deny {
		d.Policies = s.causes(diag.Reasons)
	}
	if !d.Allowed && len(d.Errors) == 0 {
		d.Approval = s.approval(q, d.Policies)
	}
	return d
}

// causes names the policies that decided, in the order of files and lines.
func (s *Set) causes(reasons []cedarlang.DiagnosticReason) []policy.Cause {
	if len(reasons) == 0 {
		return nil
	}
	causes := make([]policy.Cause, len(reasons))
	for i, r := range reasons {
		p := &s.policies[s.byID[string(r.PolicyID)]]
		causes[i] = policy.Cause{ID: p.ID, File: p.File, Line: p.Line}
	}
	slices.SortFunc(causes, func(a, b policy.Cause) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.ID, b.ID))
	})
	return causes
}
