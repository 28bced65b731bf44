package cedar

import (
	"iter"
	"slices"

	cedarlang "github.com/cedar-policy/cedar-go"
	plainast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// index files policies by what their scopes name: a principal, an action and a
// resource, each a uid or anything. A request then meets only the policies filed
// under its principal, action and resource or what these are in. All others are
// false by their scope, before any condition is evaluated, so that leaving them out
// changes neither decision, reasons nor errors.
//
// Uids are numbered, because most that a request is in are named by no policy and
// drop out before buckets are tried.
type index struct {
	numbers map[types.EntityUID]int
	buckets map[bucket][]entry
	size    int
}

// bucket is a scope by the numbers of its uids; 0 is anything.
type bucket struct{ principal, action, resource int }

type entry struct {
	id     cedarlang.PolicyID
	policy *cedarlang.Policy
	seq    int
	unsure *unsure // the same without its context
	shared bool    // filed in several buckets
}

func newIndex() *index {
	return &index{numbers: map[types.EntityUID]int{}, buckets: map[bucket][]entry{}}
}

func (ix *index) add(id cedarlang.PolicyID, p *cedarlang.Policy) {
	scope := (*ast.Policy)(p.AST())
	principal, resource := ix.number(named(scope.Principal)), ix.number(named(scope.Resource))
	actions := ix.number(named(scope.Action))
	e := entry{id: id, policy: unscoped(scope), unsure: &unsure{}, seq: ix.size, shared: len(actions) > 1}
	for _, a := range actions {
		b := bucket{principal[0], a, resource[0]}
		ix.buckets[b] = append(ix.buckets[b], e)
	}
	ix.size++
}

// unscoped compiles a policy without the parts of its scope that hold whenever its
// bucket is met, so that evaluation does not walk the same entities again. "==" and
// "is" stay, as the bucket says only that the request is in the entity.
func unscoped(p *ast.Policy) *cedarlang.Policy {
	q := *p
	if in, ok := q.Principal.(ast.ScopeTypeIsIn); ok {
		q.Principal = ast.Scope{}.Is(in.Type)
	} else if _, ok := q.Principal.(ast.ScopeTypeIn); ok {
		q.Principal = ast.Scope{}.All()
	}
	if _, eq := q.Action.(ast.ScopeTypeEq); !eq && len(named(q.Action)) > 0 {
		q.Action = ast.Scope{}.All()
	}
	if in, ok := q.Resource.(ast.ScopeTypeIsIn); ok {
		q.Resource = ast.Scope{}.Is(in.Type)
	} else if _, ok := q.Resource.(ast.ScopeTypeIn); ok {
		q.Resource = ast.Scope{}.All()
	}
	return cedarlang.NewPolicyFromAST((*plainast.Policy)(&q))
}

// named returns the uids a scope names, nil if it names none. "is" alone is left to
// evaluation, and so is an empty list of actions, which matches nothing.
func named(scope ast.IsScopeNode) []types.EntityUID {
	switch s := scope.(type) {
	case ast.ScopeTypeEq:
		return []types.EntityUID{s.Entity}
	case ast.ScopeTypeIn:
		return []types.EntityUID{s.Entity}
	case ast.ScopeTypeIsIn:
		return []types.EntityUID{s.Entity}
	case ast.ScopeTypeInSet:
		return s.Entities
	default:
		return nil
	}
}

func (ix *index) number(uids []types.EntityUID) []int {
	if len(uids) == 0 {
		return []int{0}
	}
	var ns []int
	for _, u := range uids {
		n, ok := ix.numbers[u]
		if !ok {
			n = len(ix.numbers) + 1
			ix.numbers[u] = n
		}
		if !slices.Contains(ns, n) {
			ns = append(ns, n)
		}
	}
	return ns
}

// candidates are the policies that can apply to one request.
type candidates struct {
	index                         *index
	principals, actions, resource []int
	room                          [16]int
}

func (ix *index) candidates(q *query) *candidates {
	c := &candidates{index: ix}
	room := c.room[:0]
	c.principals, room = ix.numbered(q.principals, room)
	c.actions, room = ix.numbered(q.actions, room)
	c.resource, _ = ix.numbered(q.objects, room)
	return c
}

// numbered returns the numbers of those uids that policies name, and 0. It takes
// them from the empty room and returns what is left of that.
func (ix *index) numbered(uids []types.EntityUID, room []int) (numbers, rest []int) {
	room = append(room, 0)
	for _, u := range uids {
		if n, ok := ix.numbers[u]; ok {
			room = append(room, n)
		}
	}
	return room, room[len(room):]
}

// All implements cedarlang.PolicyIterator. Each policy comes once.
func (c *candidates) All() iter.Seq2[cedarlang.PolicyID, *cedarlang.Policy] {
	return func(yield func(cedarlang.PolicyID, *cedarlang.Policy) bool) {
		var seen []int
		for e := range c.entries() {
			if e.shared {
				if slices.Contains(seen, e.seq) {
					continue
				}
				seen = append(seen, e.seq)
			}
			if !yield(e.id, e.policy) {
				return
			}
		}
	}
}

func (c *candidates) entries() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for _, p := range c.principals {
			for _, a := range c.actions {
				for _, r := range c.resource {
					es := c.index.buckets[bucket{p, a, r}]
					for i := range es {
						if !yield(&es[i]) {
							return
						}
					}
				}
			}
		}
	}
}
