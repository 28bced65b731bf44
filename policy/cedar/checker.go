package cedar

import (
	"fmt"
	"slices"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

// maxCheckers bounds how many validators one compilation keeps.
const maxCheckers = 1_000

// checkers are validators of policies. The validator looks at every action of its schema
// for every policy, of which a host with many tools has thousands. So a policy gets one
// that knows the actions it can be about, which finds in it what one that knows all
// actions finds; policies with one scope share it. Not safe for concurrent use.
type checkers struct {
	words *vocabulary
	kept  map[string]*validate.Validator
}

func newCheckers(v *vocabulary) *checkers {
	return &checkers{words: v, kept: map[string]*validate.Validator{}}
}

// of is a validator for a policy.
func (c *checkers) of(p *ast.Policy) *validate.Validator {
	m := relevant(p)
	_, all := p.Action.(ast.ScopeTypeAll)
	key := fmt.Sprint(all, named(p.Action), m)
	if v, ok := c.kept[key]; ok {
		return v
	}
	v := c.words.narrowed(func(u types.EntityUID) bool {
		switch {
		case slices.Contains(m.actions, u):
			return true
		case !m.input && c.words.generated[u] && !slices.Contains(named(p.Action), u) && !c.words.representative[u]:
			return false
		default:
			return all || meet(named(p.Action), c.words.families[u])
		}
	})
	if len(c.kept) < maxCheckers {
		c.kept[key] = v
	}
	return v
}

// relevance is what the conditions of a policy look at.
type relevance struct {
	actions []types.EntityUID // those they name
	input   bool              // they may look at context.input
}

func relevant(p *ast.Policy) relevance {
	var m relevance
	for _, c := range p.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			switch n := n.(type) {
			case ast.NodeValue:
				m.value(n.Value)
			case ast.NodeTypeAccess:
				m.input = m.input || n.Value == "input"
				return !isContext(n.Arg)
			case ast.NodeTypeHas:
				m.input = m.input || n.Value == "input"
				return !isContext(n.Arg)
			case ast.NodeTypeVariable:
				m.input = m.input || isContext(n) // the context as a whole
			default: // what they consist of comes next
			}
			return true
		})
	}
	return m
}

func (m *relevance) value(v types.Value) {
	if u, ok := v.(types.EntityUID); ok && u.Type == actionType && !slices.Contains(m.actions, u) {
		m.actions = append(m.actions, u)
	}
}

// represent picks generated actions so that each other one differs from one of them in its
// name and its input at most.
func (v *vocabulary) represent() {
	first := map[string]types.EntityUID{}
	for u := range v.generated {
		applies := v.schema.Actions[u].AppliesTo
		groups := v.schema.Actions[u].Entity.Parents.Slice()
		slices.SortFunc(groups, compareUID)
		like := fmt.Sprint(groups, applies.Principals, applies.Resources)
		if other, ok := first[like]; !ok || compareUID(u, other) < 0 {
			first[like] = u
		}
	}
	for _, u := range first {
		v.representative[u] = true
	}
}

// narrowed is a validator that knows all groups, and those actions that are wanted.
func (v *vocabulary) narrowed(wanted func(types.EntityUID) bool) *validate.Validator {
	schema := *v.checkable
	schema.Actions = map[types.EntityUID]resolved.Action{}
	for u, a := range v.checkable.Actions {
		if a.AppliesTo == nil || wanted(u) {
			schema.Actions[u] = a
		}
	}
	return validate.New(&schema, validate.WithStrict())
}

// mayBe reports whether something of one of these types can be in the scope.
func (v *vocabulary) mayBe(scope ast.IsScopeNode, of []types.EntityType) bool {
	switch s := scope.(type) {
	case ast.ScopeTypeEq:
		return slices.Contains(of, s.Entity.Type)
	case ast.ScopeTypeIs:
		return slices.Contains(of, s.Type)
	case ast.ScopeTypeIn:
		return v.mayBeIn(of, s.Entity.Type)
	case ast.ScopeTypeIsIn:
		return slices.Contains(of, s.Type) && v.mayBeIn([]types.EntityType{s.Type}, s.Entity.Type)
	default:
		return true
	}
}

// mayBeIn reports whether entities of one of these types can be of a type or in one of it.
func (v *vocabulary) mayBeIn(of []types.EntityType, ancestor types.EntityType) bool {
	seen := slices.Clone(of)
	for i := 0; i < len(seen); i++ {
		if seen[i] == ancestor {
			return true
		}
		for _, p := range v.schema.Entities[seen[i]].ParentTypes {
			if !slices.Contains(seen, p) {
				seen = append(seen, p)
			}
		}
	}
	return false
}
