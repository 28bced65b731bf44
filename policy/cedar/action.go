package cedar

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go/types"
	schemaast "github.com/cedar-policy/cedar-go/x/exp/schema/ast"
)

// Limits of what actions a schema is given.
const (
	maxActions    = 2_000
	maxActionName = 256 // bytes
)

// Action is an action that the schema gets besides its own, such as the use of one tool.
type Action struct {
	Name      string   // "hello.greet"; any text, without control characters
	Groups    []string // those of the schema's groups that it is in: "invokeReadTool"
	Principal string   // type; "" means Run
	Resource  string   // type: "Tool"
	// Input is the JSON Schema of the arguments, from which the type of context.input is
	// made. What Cedar has no type for is left out of that: see Set.Input.
	Input json.RawMessage
}

// openGroups are the groups whose members come from outside, with the type of their
// resources.
var openGroups = map[types.String]schemaast.EntityTypeRef{
	"invokeReadTool": "Tool", "invokeWriteTool": "Tool",
	"connectorRead": "ConnectorScope", "connectorCreate": "ConnectorScope", "connectorUpdate": "ConnectorScope",
	"connectorDelete": "ConnectorScope", "connectorSend": "ConnectorScope",
}

// standInPrefix begins the names of stand-ins. An open group without members gets one, so
// that policies about the group can be checked before there is a tool. Nothing can ask
// for it.
const standInPrefix = "any "

func isStandIn(u types.EntityUID) bool { return strings.HasPrefix(string(u.ID), standInPrefix) }

// generate makes the declarations of actions. The error joins what is wrong with each.
func generate(fixed *schemaast.Schema, actions []Action) (schemaast.Actions, error) {
	if len(actions) > maxActions {
		return nil, fmt.Errorf("the policy schema is to have %d actions of tools and connectors, more than %d; offer fewer", len(actions), maxActions)
	}
	added := make(schemaast.Actions, len(actions))
	var errs []error
	for i := range actions {
		a := &actions[i]
		name := types.String(a.Name)
		fault := a.fault(fixed)
		if _, dup := added[name]; dup && fault == "" {
			fault = "is given twice; keep one"
		}
		if fault != "" {
			errs = append(errs, fmt.Errorf("action %q of the policy schema %s", a.Name, fault))
			continue
		}
		added[name] = a.declare(fixed)
	}
	return added, errors.Join(errs...)
}

// fault says why the schema cannot have the action.
func (a *Action) fault(fixed *schemaast.Schema) string {
	_, taken := fixed.Actions[types.String(a.Name)]
	_, resource := fixed.Entities[schemaast.Ident(a.Resource)]
	_, principal := fixed.Entities[schemaast.Ident(a.principal())]
	switch {
	case a.Name == "" || len(a.Name) > maxActionName:
		return fmt.Sprintf("has a name of %d bytes; give it one of 1 to %d", len(a.Name), maxActionName)
	case !utf8.ValidString(a.Name) || strings.ContainsFunc(a.Name, unicode.IsControl):
		return "has a name with a control character or of no valid text; rename it"
	case taken || strings.HasPrefix(a.Name, standInPrefix):
		return "has the name of one that the schema has; rename it"
	case !resource:
		return fmt.Sprintf("has a resource of type %q, which the schema does not have", a.Resource)
	case !principal:
		return fmt.Sprintf("has a principal of type %q, which the schema does not have", a.principal())
	}
	for _, g := range a.Groups {
		if group, ok := fixed.Actions[types.String(g)]; !ok || group.AppliesTo != nil {
			return fmt.Sprintf("is to be in %q, which is no group of the schema", g)
		}
	}
	return ""
}

func (a *Action) principal() string {
	if a.Principal == "" {
		return "Run"
	}
	return a.Principal
}

func (a *Action) declare(fixed *schemaast.Schema) schemaast.Action {
	groups := slices.Clone(a.Groups)
	slices.Sort(groups)
	return declaration(fixed, slices.Compact(groups), schemaast.EntityTypeRef(a.principal()), schemaast.EntityTypeRef(a.Resource), inputType(a.Input))
}

// declaration is an action whose context is that of all calls, with input.
func declaration(fixed *schemaast.Schema, groups []string, principal, resource schemaast.EntityTypeRef, input schemaast.RecordType) schemaast.Action {
	context := schemaast.RecordType{}
	if base, ok := fixed.CommonTypes["Base"].Type.(schemaast.RecordType); ok {
		context = maps.Clone(base)
	}
	context["input"] = schemaast.Attribute{Type: input}
	declared := schemaast.Action{AppliesTo: &schemaast.AppliesTo{
		Principals: []schemaast.EntityTypeRef{principal}, Resources: []schemaast.EntityTypeRef{resource}, Context: context,
	}}
	for _, g := range groups {
		declared.Parents = append(declared.Parents, schemaast.ParentRefFromID(types.String(g)))
	}
	return declared
}

// standIns are for the open groups that none of added is in.
func standIns(fixed *schemaast.Schema, added schemaast.Actions) schemaast.Actions {
	filled := map[types.String]bool{}
	for _, a := range added {
		for _, p := range a.Parents {
			filled[p.ID] = true
		}
	}
	out := schemaast.Actions{}
	for group, resource := range openGroups {
		if _, known := fixed.Actions[group]; known && !filled[group] {
			out[standInPrefix+group] = declaration(fixed, []string{string(group)}, "Run", resource, schemaast.RecordType{})
		}
	}
	return out
}

const (
	generatedNote = "\n// ---- of the tools and connectors that are configured ----\n"
	standInNote   = "\n// ---- for groups that have no action yet, so that policies about them can be checked ----\n"
)

// generatedText writes declarations in Cedar syntax, in the order of their names.
func generatedText(fixed *schemaast.Schema, added schemaast.Actions) string {
	var b strings.Builder
	for _, part := range []struct {
		note    string
		actions schemaast.Actions
	}{{generatedNote, added}, {standInNote, standIns(fixed, added)}} {
		if len(part.actions) > 0 {
			b.WriteString(part.note)
			b.WriteString(schemaSource(part.actions))
		}
	}
	return b.String()
}
