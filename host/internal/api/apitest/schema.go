package apitest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
)

// Validate checks a JSON document against a schema. It knows the keywords that
// openapi.json uses: $ref, type, const, enum, oneOf, properties, required,
// additionalProperties and items.
func (s *Spec) Validate(schema map[string]any, doc []byte) error {
	var v any
	if err := json.Unmarshal(doc, &v); err != nil {
		return fmt.Errorf("%w in %q", err, doc)
	}
	return s.validate(schema, v, "")
}

func (s *Spec) validate(schema map[string]any, v any, at string) error {
	schema = s.resolve(schema)
	if want, ok := schema["const"]; ok && !reflect.DeepEqual(want, v) {
		return fmt.Errorf("%s is %v, not %v", at, v, want)
	}
	if list, ok := schema["enum"].([]any); ok && !slices.Contains(list, v) {
		return fmt.Errorf("%s is %v, not one of %v", at, v, list)
	}
	if kind, ok := schema["type"]; ok && !hasType(kind, v) {
		return fmt.Errorf("%s is %T, not %v", at, v, kind)
	}
	if one, ok := schema["oneOf"].([]any); ok {
		return s.oneOf(one, v, at)
	}
	switch v := v.(type) {
	case map[string]any:
		return s.object(schema, v, at)
	case []any:
		items, _ := schema["items"].(map[string]any)
		for i, e := range v {
			if err := s.validate(items, e, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// oneOf wants exactly one of the schemas to fit.
func (s *Spec) oneOf(list []any, v any, at string) error {
	n := 0
	for _, one := range list {
		if s.validate(one.(map[string]any), v, at) == nil {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("%s fits %d of %d schemas", at, n, len(list))
	}
	return nil
}

// object checks the fields. Schemas are closed where they say so, so that a field that
// is not described is found.
func (s *Spec) object(schema, v map[string]any, at string) error {
	required, _ := schema["required"].([]any)
	for _, name := range required {
		if _, ok := v[name.(string)]; !ok {
			return fmt.Errorf("%s.%s is missing", at, name)
		}
	}
	properties, _ := schema["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(v)) {
		p, ok := properties[name].(map[string]any)
		if !ok {
			if schema["additionalProperties"] == false {
				return fmt.Errorf("%s.%s is not described", at, name)
			}
			continue
		}
		if err := s.validate(p, v[name], at+"."+name); err != nil {
			return err
		}
	}
	return nil
}

// hasType knows a type or a list of types by name.
func hasType(kind, v any) bool {
	if list, ok := kind.([]any); ok {
		return slices.ContainsFunc(list, func(k any) bool { return hasType(k, v) })
	}
	switch v := v.(type) {
	case nil:
		return kind == "null"
	case bool:
		return kind == "boolean"
	case string:
		return kind == "string"
	case float64:
		return kind == "number" || kind == "integer" && v == math.Trunc(v)
	case []any:
		return kind == "array"
	}
	return kind == "object"
}
