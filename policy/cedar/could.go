package cedar

import (
	"context"
	"iter"
	"slices"

	cedarlang "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/vespiary/vespiary/policy"
)

// Could reports whether some context could make r allowed, an approval included. r's own
// Context is not looked at; everything else is taken as it is now, so that the answer
// must not be kept beyond a change of the task. It is for lists of what a run may use: a
// tool for which it is false is not shown.
//
// The answer is no where the request does not fit the schema or the grants, where a policy
// is sure to forbid or to fail, and where no permit is left. It may be yes where two
// policies contradict each other on the context, never no for what Authorize would allow.
func (e *Engine) Could(_ context.Context, r *policy.Request) (possible bool) {
	set := e.now().active
	if set == nil || r == nil {
		return false
	}
	defer func() {
		if recover() != nil {
			possible = false
		}
	}()
	q, faults := set.words.parts(r)
	if len(faults) > 0 || !set.words.fits(q) {
		return false
	}
	if _, _, short := q.uncovered(); short {
		return false
	}
	p := prospect{query: q, context: set.words.schema.Actions[q.request.Action].AppliesTo.Context, granted: q.covered()}
	for i := range q.links {
		if q.stand(i); !set.could(&p) {
			return false
		}
	}
	return true
}

// fits reports whether the request could be decided but for its context.
func (v *vocabulary) fits(q *query) bool {
	applies := v.schema.Actions[q.request.Action].AppliesTo
	return applies != nil && slices.Contains(applies.Principals, q.request.Principal.Type) &&
		slices.Contains(applies.Resources, q.request.Resource.Type) && len(v.strangers(q)) == 0 && len(v.absent(q)) == 0
}

func (s *Set) could(p *prospect) bool {
	permitted := false
	for e := range s.index.candidates(p.query).entries() {
		switch end := p.policy(e); {
		case end == fails, e.policy.Effect() == cedarlang.Forbid && end&no == 0:
			return false
		case e.policy.Effect() == cedarlang.Permit && end&yes != 0:
			permitted = true
		}
	}
	return permitted
}

// outcomes are how an expression may come out, as far as the context is not known.
type outcomes uint8

const (
	yes   outcomes = 1 << iota
	no             // false
	fails          // an error
)

func certainly(b bool) outcomes {
	if b {
		return yes
	}
	return no
}

func (o outcomes) negated() outcomes { return o&yes<<1 | o&no>>1 | o&fails }

// prospect evaluates policies without the values of the context, whose type it knows.
type prospect struct {
	query   *query
	context resolved.RecordType
	granted bool
}

// policy is how a policy may come out. Conditions are looked at in their order, up to the
// first that is not as it must be.
func (p *prospect) policy(e *entry) outcomes {
	if !inScope(e.policy, p.query) {
		return no
	}
	all := yes
	for _, t := range e.unsure.of(e.policy) {
		if all = all&^yes | p.of(t); all&yes == 0 {
			break
		}
	}
	return all
}

// of is how a test may come out.
func (p *prospect) of(t *test) outcomes {
	switch t.kind {
	case testNot:
		return p.of(t.parts[0]).negated()
	case testIf:
		return p.either(t)
	case testHas:
		attr, ok := p.context[t.name]
		if ok && attr.Optional {
			return yes | no
		}
		return certainly(ok)
	case testGranted:
		return certainly(p.granted)
	case testKnown:
		return p.known(t.known)
	default:
		return yes | no | fails
	}
}

func (p *prospect) either(t *test) outcomes {
	end := p.of(t.parts[0])
	out := end & fails
	if end&yes != 0 {
		out |= p.of(t.parts[1])
	}
	if end&no != 0 {
		out |= p.of(t.parts[2])
	}
	return out
}

// known evaluates a test that the context is not in.
func (p *prospect) known(one *cedarlang.Policy) outcomes {
	r := p.query.request
	r.Context = types.Record{}
	verdict, diag := cedarlang.Authorize(single{one}, &p.query.entities, r)
	if len(diag.Errors) > 0 {
		return fails
	}
	return certainly(verdict == cedarlang.Allow)
}

// single is one policy as a set.
type single struct{ policy *cedarlang.Policy }

func (s single) All() iter.Seq2[cedarlang.PolicyID, *cedarlang.Policy] {
	return func(yield func(cedarlang.PolicyID, *cedarlang.Policy) bool) { yield("", s.policy) }
}
