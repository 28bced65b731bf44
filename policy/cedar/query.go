package cedar

import (
	"fmt"
	"slices"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/vespiary/vespiary/policy"
)

// query is a request in Cedar's types, with what its parts are in. It stands at one link
// of its chain: principals and the principal of request are that link's.
type query struct {
	request                      types.Request
	entities                     entities
	links                        []link
	principals, actions, objects []types.EntityUID // each begins with the part itself
	one                          [1]link
	room                         [24]types.EntityUID
}

// link is one hop of a chain of delegation.
type link struct {
	principal types.EntityUID
	lineage   []types.EntityUID // the principal and all that it is in
	grants    *taskGrants       // nil: not narrowed
}

// stand makes the query that of the principal of link i.
func (q *query) stand(i int) {
	q.request.Principal, q.principals = q.links[i].principal, q.links[i].lineage
}

// covered reports whether every link has grants and each allows what is asked.
func (q *query) covered() bool {
	_, _, short := q.uncovered()
	return !short && !slices.ContainsFunc(q.links, func(l link) bool { return l.grants == nil })
}

// uncovered finds the first link whose grants do not allow what is asked.
func (q *query) uncovered() (i int, task string, short bool) {
	for i := range q.links {
		if g := q.links[i].grants; g != nil && !g.cover(q.actions, q.objects) {
			return i, g.task, true
		}
	}
	return 0, "", false
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

// trace fills in what principals, action and resource are in. A query without links gets
// its principal as the only one.
func (q *query) trace(v *vocabulary) {
	if len(q.links) == 0 {
		q.one[0] = link{principal: q.request.Principal}
		q.links = q.one[:]
	}
	q.actions = v.lineage[q.request.Action]
	q.objects = closure(&q.entities, q.request.Resource, q.room[:0])
	room := q.objects[len(q.objects):]
	for i := range q.links {
		l := &q.links[i]
		l.lineage = closure(&q.entities, l.principal, room)
		room = l.lineage[len(l.lineage):]
	}
	q.stand(0)
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

// maxChain is how many links a chain may have.
const maxChain = 64

// query converts a request. The faults are sentences; any one makes a denial.
func (v *vocabulary) query(r *policy.Request) (*query, []string) {
	q, faults := v.parts(r)
	if context, err := v.context(q, r.Context); err != nil {
		faults = append(faults, fmt.Sprintf("the context's %v", err))
	} else {
		q.request.Context = context
		faults = append(faults, v.refusals(q)...)
	}
	return q, faults
}

// parts converts all of a request but its context.
func (v *vocabulary) parts(r *policy.Request) (*query, []string) {
	shared := v.known(r.Known)
	own, faults := v.own(r.Entities)
	q := &query{
		request:  types.Request{Principal: uid(r.Principal), Action: uid(r.Action), Resource: uid(r.Resource)},
		entities: entities{own: own, shared: shared.entities, actions: v.actions},
	}
	faults = append(append(faults, shared.faults...), q.follow(r.Chain)...)
	q.trace(v)
	return q, faults
}

// follow takes over the chain of a request.
func (q *query) follow(chain []policy.Hop) []string {
	switch {
	case len(chain) == 0:
		return nil
	case len(chain) > maxChain:
		return []string{fmt.Sprintf("the chain has %d links, more than %d", len(chain), maxChain)}
	case uid(chain[0].Principal) != q.request.Principal:
		return []string{fmt.Sprintf("the chain begins with %v and not with the principal %v; put that first", uid(chain[0].Principal), q.request.Principal)}
	}
	q.links = q.one[:0]
	for _, h := range chain {
		q.links = append(q.links, link{principal: uid(h.Principal), grants: grantsOf(h.Grants)})
	}
	return nil
}

// grantedAttr is the attribute of the context that the engine finds out itself.
const grantedAttr = "granted"

// context converts a context and says in it whether the request is granted, where the
// action's context has that.
func (v *vocabulary) context(q *query, fields map[string]any) (types.Record, error) {
	if _, has := fields[grantedAttr]; has {
		return types.Record{}, fmt.Errorf("%q is there already, which only the grants of the chain can say; leave it out", grantedAttr)
	}
	values, err := recordMap(fields, 0)
	if err != nil {
		return types.Record{}, err
	}
	if v.tellsGranted(q.request.Action) {
		values[grantedAttr] = types.Boolean(q.covered())
	}
	return types.NewRecord(values), nil
}

func (v *vocabulary) tellsGranted(action types.EntityUID) bool {
	applies := v.schema.Actions[action].AppliesTo
	if applies == nil {
		return false
	}
	_, ok := applies.Context[grantedAttr]
	return ok
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
	return types.Entity{UID: uid(e.UID), Parents: types.NewEntityUIDSet(parents...), Attributes: attrs, Tags: tags(e.Tags)}, nil
}

func tags(list map[string][]string) types.Record {
	if len(list) == 0 {
		return types.Record{}
	}
	m := make(types.RecordMap, len(list))
	for name, values := range list {
		all := make([]types.Value, len(values))
		for i, v := range values {
			all[i] = types.String(v)
		}
		m[types.String(name)] = types.NewSet(all...)
	}
	return types.NewRecord(m)
}
