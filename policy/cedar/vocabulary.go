package cedar

import (
	_ "embed"
	"fmt"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

// actionType is the type of actions and their groups.
const actionType types.EntityType = "Action"

//go:embed vespiary.cedarschema
var schemaText string

// Schema returns the schema that policies are checked against, in Cedar syntax,
// for people and for editors.
func Schema() string { return schemaText }

// vocabulary is the schema in the forms that compiling and deciding need. It is
// never changed once built.
type vocabulary struct {
	schema    *resolved.Schema
	validator *validate.Validator
	actions   types.EntityMap                       // each with all groups it is in, directly or not
	lineage   map[types.EntityUID][]types.EntityUID // an action and all its groups
}

func newVocabulary(text string) (*vocabulary, error) {
	var s schema.Schema
	s.SetFilename("vespiary.cedarschema")
	if err := s.UnmarshalCedar([]byte(text)); err != nil {
		return nil, fmt.Errorf("read the policy schema: %w", err)
	}
	res, err := s.Resolve()
	if err != nil {
		return nil, fmt.Errorf("resolve the policy schema: %w", err)
	}
	v := &vocabulary{
		schema: res, validator: validate.New(res, validate.WithStrict()),
		actions: types.EntityMap{}, lineage: map[types.EntityUID][]types.EntityUID{},
	}
	for uid := range res.Actions {
		groups := v.groups(uid, nil)
		v.actions[uid] = types.Entity{UID: uid, Parents: types.NewEntityUIDSet(groups...)}
		v.lineage[uid] = append([]types.EntityUID{uid}, groups...)
	}
	return v, nil
}

// groups appends to found the groups of an action, transitively: the validator
// accepts no less. Groups form no cycle in a resolved schema.
func (v *vocabulary) groups(action types.EntityUID, found []types.EntityUID) []types.EntityUID {
	for g := range v.schema.Actions[action].Entity.Parents.All() {
		found = v.groups(g, append(found, g))
	}
	return found
}

// inherits reports whether entities of a type can have parents. Where such an
// entity is absent, what it is in cannot be known.
func (v *vocabulary) inherits(t types.EntityType) bool {
	return len(v.schema.Entities[t].ParentTypes) > 0
}
