package audit

import (
	"bytes"
	"slices"

	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/internal/jcs"
)

// filter selects records by their content.
type filter struct {
	q       Query
	after   []byte   // the place that selected ones come after in the order of the query
	needles [][]byte // what the bytes of a selected record contain
}

func newFilter(q Query) filter {
	f := filter{q: q}
	for key, s := range map[string]string{
		`"session":`: q.Session, `"agent":`: q.Agent, `"user":`: q.User, `"call":`: q.Call, `"action":`: q.Action,
		`"type":`: q.Resource.Type, `"kind":`: string(q.Kind), `"id":`: q.Resource.ID,
	} {
		if s != "" {
			f.needles = append(f.needles, jcs.AppendString([]byte(key), s))
		}
	}
	return f
}

// match reads a record if it is selected. Most others are left out by their bytes alone,
// which costs a small part of reading them.
func (f *filter) match(canonical []byte) (r policy.Record, ok bool, err error) {
	for _, n := range f.needles {
		if !bytes.Contains(canonical, n) {
			return r, false, nil
		}
	}
	if r, err = decode(canonical); err != nil {
		return r, false, err
	}
	return r, f.selects(&r), nil
}

// Selects tells whether the query is for a record, but for After and Limit.
func (q Query) Selects(r *policy.Record) bool {
	f := filter{q: q}
	return f.selects(r)
}

func (f *filter) selects(r *policy.Record) bool {
	q := &f.q
	return is(q.Chain, r.Chain) && is(q.Session, r.Session) && is(q.Call, r.Call) && is(q.Action, r.Action) &&
		is(q.Resource.Type, r.Resource.Type) && is(q.Resource.ID, r.Resource.ID) && is(string(q.Kind), string(r.Kind)) &&
		f.inTime(r) && f.actors(r) && f.verdict(r.Decision)
}

// is reports whether a field is what the query wants it to be.
func is(want, have string) bool { return want == "" || want == have }

func (f *filter) inTime(r *policy.Record) bool {
	if !f.q.Since.IsZero() && r.Time.Before(f.q.Since) || !f.q.Until.IsZero() && !r.Time.Before(f.q.Until) {
		return false
	}
	if f.after == nil {
		return true
	}
	c := bytes.Compare(placeOf(r).append(nil), f.after)
	return c != 0 && (c < 0) == f.q.Reverse
}

func (f *filter) actors(r *policy.Record) bool {
	anyone := func(want string, of func(policy.Actor) string) bool {
		return want == "" || slices.ContainsFunc(r.Who, func(a policy.Actor) bool { return of(a) == want })
	}
	return anyone(f.q.Agent, func(a policy.Actor) string { return a.Agent }) &&
		anyone(f.q.User, func(a policy.Actor) string { return a.User }) &&
		(r.Chain == f.q.Task || anyone(f.q.Task, func(a policy.Actor) string { return a.Task }))
}

func (f *filter) verdict(d *policy.Decision) bool {
	switch f.q.Decision {
	case "":
		return true
	case Allowed:
		return d != nil && d.Allowed
	case Denied:
		return d != nil && !d.Allowed
	case Differs:
		return d != nil && d.Candidate != nil && d.Candidate.Allowed != d.Allowed
	}
	return false
}
