package cedar

import (
	"fmt"
	"slices"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/vespiary/vespiary/policy"
)

// query is a request in Cedar's types, with what its parts are in.
type query struct {
	request                      types.Request
	entities                     entities
	principals, actions, objects []types.EntityUID // each begins with the part itself
	room                         [24]types.EntityUID
}

// entities looks an entity up in the request's own, which are few, then in those it
// shares with others. Actions come from the schema alone.
type entities struct {
	own             []types.Entity
	shared, actions types.EntityMap
}

func (e *entities) Get(u types.EntityUID) (types.Entity, bool) {
	if u.Type == actionType {
		found, ok := e.actions[u]
		return found, ok
	}
	for i := range e.own {
		if e.own[i].UID == u {
			return e.own[i], true
		}
	}
	found, ok := e.shared[u]
	return found, ok
}

func (e *entities) has(u types.EntityUID) bool {
	_, ok := e.Get(u)
	return ok
}

// trace fills in what principal, action and resource are in.
func (q *query) trace(v *vocabulary) {
	room := q.room[:0]
	q.principals = closure(&q.entities, q.request.Principal, room)
	q.objects = closure(&q.entities, q.request.Resource, q.principals[len(q.principals):])
	q.actions = v.lineage[q.request.Action]
}

// closure appends to the empty buf u and everything u is in.
func closure(eg types.EntityGetter, u types.EntityUID, buf []types.EntityUID) []types.EntityUID {
	buf = append(buf, u)
	for i := 0; i < len(buf); i++ {
		e, ok := eg.Get(buf[i])
		if !ok {
			continue
		}
		for p := range e.Parents.All() {
			if !slices.Contains(buf, p) {
				buf = append(buf, p)
			}
		}
	}
	return buf
}

// prepared is what policy.Known.Prepared keeps.
type prepared struct {
	entities types.EntityMap
	faults   []string
}

// maxOwn is how many entities of its own a request may bring: they are searched
// one by one, and what is shared belongs in policy.Known.
const maxOwn = 64

// query converts a request. The faults are sentences; any one makes a denial.
func (v *vocabulary) query(r *policy.Request) (*query, []string) {
	shared := v.known(r.Known)
	own, faults := v.own(r.Entities)
	faults = append(faults, shared.faults...)
	context, err := record(r.Context, 0)
	if err != nil {
		return nil, append(faults, fmt.Sprintf("the context's %v", err))
	}
	q := &query{
		request:  types.Request{Principal: uid(r.Principal), Action: uid(r.Action), Resource: uid(r.Resource), Context: context},
		entities: entities{own: own, shared: shared.entities, actions: v.actions},
	}
	q.trace(v)
	return q, append(faults, v.refusals(q)...)
}

// known converts shared entities once. A value that some other Authorizer left in
// Prepared is not ours to use, so then it converts every time.
func (v *vocabulary) known(k *policy.Known) *prepared {
	if k == nil {
		return &prepared{}
	}
	convert := func() any {
		list, faults := v.entities(k.Entities)
		m := make(types.EntityMap, len(list))
		for _, e := range list {
			m[e.UID] = e
		}
		if len(m) < len(list) {
			faults = append(faults, "an entity is twice among the known ones; keep one")
		}
		return &prepared{entities: m, faults: faults}
	}
	if p, ok := k.Prepared.Get(convert).(*prepared); ok {
		return p
	}
	return convert().(*prepared)
}

// own converts the entities of one request.
func (v *vocabulary) own(list []policy.Entity) ([]types.Entity, []string) {
	if len(list) > maxOwn {
		return nil, []string{fmt.Sprintf("the request brings %d entities, more than %d; put shared ones into Known", len(list), maxOwn)}
	}
	own, faults := v.entities(list)
	for i := range own {
		if (&entities{own: own[:i]}).has(own[i].UID) {
			faults = append(faults, fmt.Sprintf("entity %v is given twice; keep one", own[i].UID))
		}
	}
	return own, faults
}

func (v *vocabulary) entities(list []policy.Entity) ([]types.Entity, []string) {
	var faults []string
	all := make([]types.Entity, 0, len(list))
	for i := range list {
		e, err := entity(&list[i])
		if err == nil {
			err = v.conforms(e)
		}
		if err != nil {
			faults = append(faults, fmt.Sprintf("entity %v: %v", uid(list[i].UID), err))
			continue
		}
		all = append(all, e)
	}
	return all, faults
}

func entity(e *policy.Entity) (types.Entity, error) {
	attrs, err := record(e.Attrs, 0)
	if err != nil {
		return types.Entity{}, fmt.Errorf("attribute %w", err)
	}
	parents := make([]types.EntityUID, len(e.Parents))
	for i, p := range e.Parents {
		parents[i] = uid(p)
	}
	return types.Entity{UID: uid(e.UID), Parents: types.NewEntityUIDSet(parents...), Attributes: attrs}, nil
}
