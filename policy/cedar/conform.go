package cedar

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// conforms checks an entity against the schema. The validator decides; what it
// finds is said again in the words and with the path of the attribute.
func (v *vocabulary) conforms(e types.Entity) error {
	err := v.validator.Entity(e)
	if err == nil {
		return nil
	}
	declared, ok := v.schema.Entities[e.UID.Type]
	switch {
	case !ok && e.UID.Type == actionType:
		return fmt.Errorf("actions and their groups come from the schema alone (%w); leave it out", err)
	case !ok:
		return fmt.Errorf("the schema has no type %s; %s", e.UID.Type, nearest(string(e.UID.Type), v.typeNames()))
	}
	if m := recordMismatch("", e.Attributes, declared.Shape); m != "" {
		return errors.New(m)
	}
	if e.Tags.Len() > 0 && declared.Tags == nil {
		return fmt.Errorf("the schema gives %s no tags; leave them out", e.UID.Type)
	}
	return err
}

// refusals says why a request cannot be decided at all.
func (v *vocabulary) refusals(q *query) []string {
	faults := v.strangers(q)
	if err := v.validator.Request(q.request); err != nil {
		faults = append(faults, v.requestMismatch(q.request, err))
	}
	return append(faults, v.absent(q)...)
}

// strangers names those for whom the principal acts and who cannot ask for the action.
func (v *vocabulary) strangers(q *query) []string {
	var faults []string
	for _, l := range q.links[1:] {
		if applies := v.schema.Actions[q.request.Action].AppliesTo; applies != nil && !slices.Contains(applies.Principals, l.principal.Type) {
			faults = append(faults, fmt.Sprintf("%v cannot be in the chain of %v; those are of type %v", l.principal, q.request.Action, oneOf(applies.Principals)))
		}
	}
	return faults
}

// absent names the principals, the resource and the entities they inherit through
// that the request does not carry.
func (v *vocabulary) absent(q *query) []string {
	var faults []string
	for i := range q.links {
		faults = v.gaps(q, q.links[i].lineage, faults)
	}
	return v.gaps(q, q.objects, faults)
}

func (v *vocabulary) gaps(q *query, line []types.EntityUID, faults []string) []string {
	for i, u := range line {
		if q.entities.has(u) || i > 0 && !v.inherits(u.Type) {
			continue
		}
		faults = append(faults, fmt.Sprintf("%v is needed to decide about %v and is not among the entities of the request; add it", u, line[0]))
	}
	return faults
}

func (v *vocabulary) requestMismatch(r types.Request, err error) string {
	action, ok := v.schema.Actions[r.Action]
	if !ok {
		return fmt.Sprintf("the schema has no action %v; %s", r.Action, v.unknownAction(string(r.Action.ID)))
	}
	if action.AppliesTo == nil {
		return fmt.Sprintf("%v is a group of actions, not one that can be asked for", r.Action)
	}
	if !slices.Contains(action.AppliesTo.Principals, r.Principal.Type) {
		return fmt.Sprintf("%v cannot be the principal of %v; that is a %v", r.Principal, r.Action, oneOf(action.AppliesTo.Principals))
	}
	if !slices.Contains(action.AppliesTo.Resources, r.Resource.Type) {
		return fmt.Sprintf("%v cannot be the resource of %v; that is a %v", r.Resource, r.Action, oneOf(action.AppliesTo.Resources))
	}
	if m := recordMismatch("context", r.Context, action.AppliesTo.Context); m != "" {
		return fmt.Sprintf("%v: %s", r.Action, m)
	}
	return err.Error()
}

func oneOf(ts []types.EntityType) string {
	var names []string
	for _, t := range ts {
		names = append(names, string(t))
	}
	return strings.Join(names, " or ")
}

// recordMismatch says where a record first differs from its type, "" if nowhere.
// Attributes are visited in order, so that one fault always has one message.
func recordMismatch(path string, r types.Record, want resolved.RecordType) string {
	for _, name := range attributes(want) {
		attr := want[types.String(name)]
		got, ok := r.Get(types.String(name))
		switch {
		case !ok && !attr.Optional:
			return below(path, name) + " is missing"
		case ok:
			if m := mismatch(below(path, name), got, attr.Type); m != "" {
				return m
			}
		}
	}
	for _, name := range slices.Sorted(r.Keys()) {
		if _, ok := want[name]; !ok {
			return fmt.Sprintf("%s is not in the schema; leave it out, or use one of %s", below(path, string(name)), listed(attributes(want)))
		}
	}
	return ""
}

func mismatch(path string, got types.Value, want resolved.IsType) string {
	switch want := want.(type) {
	case resolved.RecordType:
		if r, ok := got.(types.Record); ok {
			return recordMismatch(path, r, want)
		}
	case resolved.SetType:
		if s, ok := got.(types.Set); ok {
			return setMismatch(path, s, want)
		}
	default: // scalars are compared by name below
	}
	if w, g := typeName(want), kindOf(got); w != g {
		return fmt.Sprintf("%s is a %s where the schema wants a %s", path, g, w)
	}
	return ""
}

func setMismatch(path string, s types.Set, want resolved.SetType) string {
	for e := range s.All() {
		if m := mismatch(path+"[]", e, want.Element); m != "" {
			return m
		}
	}
	return ""
}

func below(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func typeName(t resolved.IsType) string {
	switch t := t.(type) {
	case resolved.StringType:
		return "String"
	case resolved.LongType:
		return "Long"
	case resolved.BoolType:
		return "Bool"
	case resolved.EntityType:
		return string(t)
	case resolved.ExtensionType:
		return string(t)
	case resolved.SetType:
		return "Set"
	default:
		return "Record"
	}
}

func kindOf(v types.Value) string {
	switch v := v.(type) {
	case types.String:
		return "String"
	case types.Long:
		return "Long"
	case types.Boolean:
		return "Bool"
	case types.EntityUID:
		return string(v.Type)
	case types.IPAddr:
		return "ipaddr"
	case types.Datetime:
		return "datetime"
	case types.Decimal:
		return "decimal"
	case types.Set:
		return "Set"
	case types.Record:
		return "Record"
	default:
		return fmt.Sprintf("%T", v)
	}
}
