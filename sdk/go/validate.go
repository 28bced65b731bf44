package vespiary

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// decode checks arguments and decodes them into the struct that the schema was
// made from. Its errors are for the model that wrote the arguments.
func (s *schema) decode(arguments json.RawMessage, into any) error {
	d := json.NewDecoder(bytes.NewReader(arguments))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return fmt.Errorf("the arguments are not JSON: %w", err)
	}
	if d.More() {
		return errors.New("the arguments are more than one JSON value")
	}
	if err := s.check("the arguments", v); err != nil {
		return err
	}
	if err := json.Unmarshal(arguments, into); err != nil {
		return fmt.Errorf("the arguments do not decode: %w", err)
	}
	return nil
}

// check reports the first thing about v, which is called at, that breaks s.
func (s *schema) check(at string, v any) error {
	if len(s.Type) > 0 && !slices.ContainsFunc(s.Type, func(t string) bool { return isType(t, v) }) {
		return fmt.Errorf("%s must be of type %s", at, strings.Join(s.Type, " or "))
	}
	if err := s.checkEnum(at, v); err != nil {
		return err
	}
	switch v := v.(type) {
	case map[string]any:
		return s.checkObject(at, v)
	case []any:
		if s.Items == nil {
			return nil
		}
		for i, item := range v {
			if err := s.Items.check(at+"["+strconv.Itoa(i)+"]", item); err != nil {
				return err
			}
		}
	}
	return nil
}

func isType(t string, v any) bool {
	switch v := v.(type) {
	case nil:
		return t == "null"
	case bool:
		return t == "boolean"
	case string:
		return t == "string"
	case json.Number:
		return t == "number" || t == "integer" && !strings.ContainsAny(v.String(), ".eE")
	case []any:
		return t == "array"
	}
	return t == "object"
}

func (s *schema) checkEnum(at string, v any) error {
	if len(s.Enum) == 0 {
		return nil
	}
	b, err := json.Marshal(v)
	if err == nil && slices.ContainsFunc(s.Enum, func(e json.RawMessage) bool { return bytes.Equal(e, b) }) {
		return nil
	}
	return fmt.Errorf("%s must be one of %s", at, bytes.Join(slices.Collect(bytesOf(s.Enum)), []byte(", ")))
}

func bytesOf(messages []json.RawMessage) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for _, m := range messages {
			if !yield(m) {
				return
			}
		}
	}
}

// checkObject takes a null for an optional property as its absence, for models
// write one.
func (s *schema) checkObject(at string, object map[string]any) error {
	for _, name := range s.Required {
		if _, ok := object[name]; !ok {
			return fmt.Errorf("%s must have %q", at, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		p := s.Properties.byName[name]
		if p == nil {
			p = s.Values
		}
		value := object[name]
		switch {
		case p == nil, value == nil && !slices.Contains(s.Required, name):
			continue
		case p.None:
			return fmt.Errorf("%s must not have %q; there are: %s", at, name, strings.Join(s.Properties.names, ", "))
		}
		if err := p.check(strconv.Quote(name), value); err != nil {
			return err
		}
	}
	return nil
}
