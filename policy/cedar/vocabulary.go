package cedar

import (
	_ "embed"
	"fmt"
	"maps"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	schemaast "github.com/cedar-policy/cedar-go/x/exp/schema/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

// actionType is the type of actions and their groups.
const actionType types.EntityType = "Action"

//go:embed vespiary.cedarschema
var schemaText string

// Schema returns the fixed part of the schema that policies are checked against, in
// Cedar syntax, for people and for editors. Set.Schema has the actions of tools too.
func Schema() string { return schemaText }

// vocabulary is the schema in the forms that compiling and deciding need. It is
// never changed once built.
type vocabulary struct {
	schema    *resolved.Schema                      // what can be asked for
	validator *validate.Validator                   // of requests and entities
	checkable *resolved.Schema                      // the same with stand-ins, for policies
	actions   types.EntityMap                       // each with all groups it is in, directly or not
	lineage   map[types.EntityUID][]types.EntityUID // an action and all its groups
	families  map[types.EntityUID][]types.EntityUID // lineage, of stand-ins too
	generated map[types.EntityUID]bool              // those actions that are not of the fixed schema
	// representative are those of generated that stand for all in policies about no arguments.
	representative map[types.EntityUID]bool
	text           string // of the generated part of the schema
}

// newVocabulary is the fixed schema with actions. The text of a schema is given by
// tests alone; all others use vocabularyOf.
func newVocabulary(text string, actions ...Action) (*vocabulary, error) {
	var s schema.Schema
	s.SetFilename("vespiary.cedarschema")
	if err := s.UnmarshalCedar([]byte(text)); err != nil {
		return nil, fmt.Errorf("read the policy schema: %w", err)
	}
	added, err := generate(s.AST(), actions)
	if err != nil {
		return nil, err
	}
	all, err := withActions(s.AST(), added, standIns(s.AST(), added)).Resolve()
	if err != nil {
		return nil, fmt.Errorf("resolve the policy schema: %w", err)
	}
	asked := *all
	asked.Actions = maps.Clone(all.Actions)
	maps.DeleteFunc(asked.Actions, func(u types.EntityUID, _ resolved.Action) bool { return isStandIn(u) })
	v := &vocabulary{
		schema: &asked, validator: validate.New(&asked, validate.WithStrict()),
		checkable: all, actions: types.EntityMap{},
		lineage: map[types.EntityUID][]types.EntityUID{}, families: map[types.EntityUID][]types.EntityUID{},
		generated: map[types.EntityUID]bool{}, representative: map[types.EntityUID]bool{},
		text: generatedText(s.AST(), added),
	}
	for name := range added {
		v.generated[types.EntityUID{Type: actionType, ID: name}] = true
	}
	v.order()
	v.represent()
	return v, nil
}

// withActions is a schema with more actions, each list on top of the one before.
func withActions(fixed *schemaast.Schema, more ...schemaast.Actions) *schema.Schema {
	grown := *fixed
	grown.Actions = maps.Clone(fixed.Actions)
	for _, m := range more {
		maps.Copy(grown.Actions, m)
	}
	return schema.NewSchemaFromAST(&grown)
}

// order works out what each action is in.
func (v *vocabulary) order() {
	for u := range v.checkable.Actions {
		v.families[u] = append([]types.EntityUID{u}, v.groups(u, nil)...)
	}
	for u := range v.schema.Actions {
		v.lineage[u] = v.families[u]
		v.actions[u] = types.Entity{UID: u, Parents: types.NewEntityUIDSet(v.families[u][1:]...)}
	}
}

// groups appends to found the groups of an action, transitively: the validator
// accepts no less. Groups form no cycle in a resolved schema.
func (v *vocabulary) groups(action types.EntityUID, found []types.EntityUID) []types.EntityUID {
	for g := range v.checkable.Actions[action].Entity.Parents.All() {
		found = v.groups(g, append(found, g))
	}
	return found
}

// isGroup reports whether an action only groups others.
func (v *vocabulary) isGroup(action types.EntityUID) bool {
	a, ok := v.schema.Actions[action]
	return ok && a.AppliesTo == nil
}

// inherits reports whether entities of a type can have parents. Where such an
// entity is absent, what it is in cannot be known.
func (v *vocabulary) inherits(t types.EntityType) bool {
	return len(v.schema.Entities[t].ParentTypes) > 0
}
