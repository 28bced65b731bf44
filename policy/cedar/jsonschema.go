package cedar

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go/types"
	schemaast "github.com/cedar-policy/cedar-go/x/exp/schema/ast"
)

// Limits of the type that is made of a JSON Schema. What exceeds them is left out.
const (
	maxInputSchema  = 1 << 20 // bytes
	maxInputDepth   = 5       // records and sets in one another
	maxProperties   = 200     // of one action, those of nested records included
	maxPropertyName = 256     // bytes
	maxVisits       = 10_000  // subschemas looked at, however often references lead to them
	maxReferences   = 16      // one behind the other
)

// inputType is the type of context.input of a tool whose arguments have the JSON Schema
// src. It has those properties that Cedar has a type for and is never nil: a JSON Schema
// without any, and bytes that are none, give the empty record.
func inputType(src []byte) schemaast.RecordType {
	root, ok := parseSchema(src)
	if !ok {
		return schemaast.RecordType{}
	}
	t := &typer{root: root, properties: maxProperties, visits: maxVisits}
	if record, ok := t.typeOf(root, place{}).is.(schemaast.RecordType); ok {
		return record
	}
	return schemaast.RecordType{}
}

func parseSchema(src []byte) (any, bool) {
	if len(src) > maxInputSchema || !json.Valid(src) {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	var root any
	err := d.Decode(&root)
	return root, err == nil
}

// typer makes types of one JSON Schema.
type typer struct {
	root               any
	properties, visits int // that may still come
}

// place is where in the type a subschema stands.
type place struct{ depth, references int }

// typed is a Cedar type, nil where there is none that holds all and only what the
// subschema allows.
type typed struct {
	is       schemaast.IsType
	nullable bool // null is allowed besides, and stands for absence
}

// typeOf reads only keywords that say what type a value has. All others narrow it
// further, so that a value which the schema allows has the type in any case.
func (t *typer) typeOf(node any, at place) typed {
	s, ok := node.(map[string]any)
	t.visits--
	if !ok || t.visits < 0 || at.references > maxReferences {
		return typed{}
	}
	if ref, ok := s["$ref"].(string); ok {
		at.references++
		return t.typeOf(t.resolve(ref), at)
	}
	kind, nullable, ok := kindOfSchema(s)
	if !ok {
		return typed{}
	}
	nullable = nullable || s["nullable"] == true // as OpenAPI 3.0 says it
	switch kind {
	case "string":
		return typed{schemaast.String(), nullable}
	case "integer":
		return typed{schemaast.Long(), nullable}
	case "number":
		return typed{schemaast.Decimal(), nullable}
	case "boolean":
		return typed{schemaast.Bool(), nullable}
	case "array":
		return typed{t.setOf(s, at), nullable}
	case "object":
		return typed{t.recordOf(s, at), nullable}
	default:
		return t.only(s, at)
	}
}

// only follows the keywords that pass a type on: allOf with one member, and anyOf or
// oneOf of one member and null.
func (t *typer) only(s map[string]any, at place) typed {
	if all, ok := s["allOf"].([]any); ok && len(all) == 1 {
		at.references++
		return t.typeOf(all[0], at)
	}
	for _, keyword := range []string{"anyOf", "oneOf"} {
		any, ok := s[keyword].([]any)
		if !ok {
			continue
		}
		rest := slices.DeleteFunc(slices.Clone(any), isNull)
		if len(rest) != 1 {
			return typed{}
		}
		at.references++
		found := t.typeOf(rest[0], at)
		found.nullable = found.nullable || len(rest) < len(any)
		return found
	}
	return typed{}
}

func isNull(node any) bool {
	s, ok := node.(map[string]any)
	return ok && s["type"] == "null"
}

// resolve finds what a reference within the schema leads to.
func (t *typer) resolve(ref string) any {
	if ref == "#" {
		return t.root
	}
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	at := t.root
	for step := range strings.SplitSeq(path, "/") {
		s, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = s[strings.NewReplacer("~1", "/", "~0", "~").Replace(step)]
	}
	return at
}

// kindOfSchema is the one JSON type that values have, "" where the schema leaves it to
// others. It is not ok where there may be several.
func kindOfSchema(s map[string]any) (kind string, nullable, ok bool) {
	switch declared := s["type"].(type) {
	case string:
		return declared, false, declared != "null"
	case []any:
		return kindOfList(declared)
	}
	if _, has := s["type"]; has {
		return "", false, false
	}
	if _, has := s["properties"]; has {
		return "object", false, true
	}
	if values, has := s["enum"].([]any); has {
		return kindOfValues(values)
	}
	if value, has := s["const"]; has {
		return kindOfValues([]any{value})
	}
	return "", false, true
}

func kindOfList(list []any) (kind string, nullable, ok bool) {
	for _, x := range list {
		name, isName := x.(string)
		switch {
		case !isName:
			return "", false, false
		case name == "null":
			nullable = true
		case kind == "" || kind == "integer" && name == "number":
			kind = name
		case kind == name || kind == "number" && name == "integer":
		default:
			return "", false, false
		}
	}
	return kind, nullable, kind != ""
}

func kindOfValues(values []any) (kind string, nullable, ok bool) {
	names := make([]any, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case string:
			names[i] = "string"
		case bool:
			names[i] = "boolean"
		case nil:
			names[i] = "null"
		case json.Number:
			names[i] = "number"
			if _, err := exactly(v.String(), 0); err == nil {
				names[i] = "integer"
			}
		default:
			return "", false, false
		}
	}
	return kindOfList(names)
}

// setOf is the type of a list, nil where elements may differ in type or be null.
func (t *typer) setOf(s map[string]any, at place) schemaast.IsType {
	at.depth++
	if _, tuple := s["prefixItems"]; tuple || at.depth > maxInputDepth {
		return nil
	}
	element := t.typeOf(s["items"], at)
	if element.is == nil || element.nullable {
		return nil
	}
	return schemaast.Set(element.is)
}

// recordOf is the type of an object, nil where none of its properties has a type: such an
// object may have any.
func (t *typer) recordOf(s map[string]any, at place) schemaast.IsType {
	properties, _ := s["properties"].(map[string]any)
	at.depth++
	if at.depth > maxInputDepth {
		return nil
	}
	required := map[string]bool{}
	list, _ := s["required"].([]any)
	for _, name := range list {
		if name, ok := name.(string); ok {
			required[name] = true
		}
	}
	record := schemaast.RecordType{}
	for _, name := range usable(properties) {
		found := t.typeOf(properties[name], at)
		if found.is == nil || t.properties == 0 {
			continue
		}
		t.properties--
		record[types.String(name)] = schemaast.Attribute{Type: found.is, Optional: found.nullable || !required[name]}
	}
	if len(record) == 0 {
		return nil
	}
	return record
}

// usable are the names that an attribute can have, in order. Those that differ only in
// case are left out, because programs do not agree on whether they are one.
func usable(properties map[string]any) []string {
	folded := map[string]int{}
	for name := range properties {
		folded[fold(name)]++
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		if name != "" && len(name) <= maxPropertyName && !strings.ContainsRune(name, utf8.RuneError) && folded[fold(name)] == 1 {
			names = append(names, name)
		}
	}
	return names
}

// fold maps names that differ only in case to one.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, name)
}
