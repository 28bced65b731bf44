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

// Engine decides requests by the Set it holds; without one it denies all. Beside it
// there may be a candidate: a Set that decides the same requests, so that what it would
// change shows before it counts. All methods are safe for concurrent use.
type Engine struct{ sets atomic.Pointer[sets] }

type sets struct{ active, candidate *Set }

// New returns an Engine that decides by active.
func New(active *Set) *Engine {
	e := &Engine{}
	e.Replace(active, nil)
	return e
}

// Replace makes active the set that decides, and candidate the one that is evaluated
// beside it, nil for none. Requests under way finish with the sets they began with.
func (e *Engine) Replace(active, candidate *Set) { e.sets.Store(&sets{active, candidate}) }

// Set returns the set that decides now.
func (e *Engine) Set() *Set { return e.now().active }

// Candidate returns the set that is evaluated beside the one that decides, nil if none is.
func (e *Engine) Candidate() *Set { return e.now().candidate }

func (e *Engine) now() sets {
	if s := e.sets.Load(); s != nil {
		return *s
	}
	return sets{}
}

// Authorize implements policy.Authorizer. It does no I/O and ignores ctx. A
// request that does not fit the schema, an error in evaluation and a panic
// provoked by the request are denials whose Errors say what happened.
//
// Every link of the chain is decided, the principal first: all by the grants of their
// tasks, then all by the policies. The first link that is denied for good makes the
// denial. If there is none, the first does that is denied until a person approves.
func (e *Engine) Authorize(_ context.Context, r *policy.Request) policy.Decision {
	now := e.now()
	if now.active == nil {
		return policy.Decision{Errors: []string{"no policy set is loaded, which denies all; load one"}}
	}
	d, q := now.active.authorize(r, nil)
	if now.candidate != nil {
		if now.candidate.words != now.active.words {
			q = nil
		}
		candidate, _ := now.candidate.authorize(r, q)
		d.Candidate = &candidate
	}
	return d
}

// authorize decides r. The query it returns is r converted by the set's vocabulary, for
// another set with the same one; nil where r cannot be decided.
func (s *Set) authorize(r *policy.Request, converted *query) (d policy.Decision, q *query) {
	defer func() {
		if fault := recover(); fault != nil {
			d, q = s.refuse(fmt.Sprintf("the request cannot be decided: %v", fault)), nil
		}
	}()
	if r == nil {
		return s.refuse("there is no request to decide"), nil
	}
	if converted == nil {
		var faults []string
		if converted, faults = s.words.query(r); len(faults) > 0 {
			return s.refuse(faults...), nil
		}
	}
	return s.decide(converted), converted
}

// refuse denies a request that policies were not asked about.
func (s *Set) refuse(faults ...string) policy.Decision {
	return policy.Decision{Errors: faults, Set: s.digest}
}

// decide decides every link of the query's chain. The query then stands at the link that
// the decision is about.
func (s *Set) decide(q *query) policy.Decision {
	if i, task, short := q.uncovered(); short {
		q.stand(i)
		return policy.Decision{Policies: []policy.Cause{{ID: uncoveredCause + task}}, Set: s.digest, Hop: i}
	}
	var all, liftable policy.Decision
	for i := range q.links {
		q.stand(i)
		d := s.decideLink(q)
		d.Hop = i
		switch {
		case !d.Allowed && d.Approval == "":
			return d
		case !d.Allowed && liftable.Approval == "":
			liftable = d
		case i == 0:
			all = d
		default:
			all.Policies = append(all.Policies, d.Policies...)
		}
	}
	if liftable.Approval != "" {
		q.stand(liftable.Hop)
		return liftable
	}
	if len(q.links) > 1 {
		all.Policies = ordered(all.Policies)
	}
	all.Policies = appendGrants(all.Policies, q.links)
	return all
}

// decideLink decides for the principal at which the query stands.
func (s *Set) decideLink(q *query) policy.Decision {
	d := policy.Decision{Set: s.digest}
	verdict, diag := cedarlang.Authorize(s.index.candidates(q), &q.entities, q.request)
	d.Allowed = verdict == cedarlang.Allow && len(diag.Errors) == 0
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

// appendGrants names the tasks whose grants cover what is allowed.
func appendGrants(causes []policy.Cause, links []link) []policy.Cause {
	for i := range links {
		g := links[i].grants
		if g == nil {
			continue
		}
		if c := (policy.Cause{ID: coveredCause + g.task}); !slices.Contains(causes, c) {
			causes = append(causes, c)
		}
	}
	return causes
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
	return ordered(causes)
}

// ordered sorts causes by file and line and names each once.
func ordered(causes []policy.Cause) []policy.Cause {
	slices.SortFunc(causes, func(a, b policy.Cause) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.ID, b.ID))
	})
	return slices.Compact(causes)
}
