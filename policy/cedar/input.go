package cedar

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// Input is the context.input of a call of one of the set's own actions with arguments, a
// JSON object or nothing. It has those arguments that the action's type of input names;
// null stands for absence, and a list becomes a set.
//
// Policies must not decide about other arguments than those that the tool will see, so
// there is an error for what two programs could read differently: a name that is there
// twice or differs from a known one in case only, a string that is no valid text, and a
// number that Cedar cannot hold exactly.
func (s *Set) Input(action string, arguments json.RawMessage) (map[string]any, error) {
	declared, ok := s.words.input(action)
	if !ok {
		return nil, fmt.Errorf("the policy schema has no action %q of a tool or connector; %s", action, nearest(action, s.words.generatedNames()))
	}
	if trimmed := bytes.TrimSpace(arguments); len(trimmed) == 0 || string(trimmed) == "null" {
		arguments = json.RawMessage("{}")
	}
	if !json.Valid(arguments) {
		return nil, fmt.Errorf("the arguments of %q are no JSON; send a JSON object", action)
	}
	input, err := inputRecord(arguments, declared)
	if err != nil {
		return nil, fmt.Errorf("the arguments of %q cannot be decided about: input%w", action, err)
	}
	return input, nil
}

// input is the type of context.input of a generated action.
func (v *vocabulary) input(action string) (resolved.RecordType, bool) {
	u := types.EntityUID{Type: actionType, ID: types.String(action)}
	if !v.generated[u] {
		return nil, false
	}
	declared, ok := v.schema.Actions[u].AppliesTo.Context["input"].Type.(resolved.RecordType)
	return declared, ok
}

func (v *vocabulary) generatedNames() []string {
	var names []string
	for u := range v.generated {
		names = append(names, string(u.ID))
	}
	return names
}

var (
	errTwice   = errors.New(" is there twice; send it once")
	errMissing = errors.New(" is missing")
	errText    = errors.New(" is no valid text; send Unicode without lone surrogates")
)

// inputRecord reads a JSON object. The errors begin with the path of what is wrong.
func inputRecord(raw json.RawMessage, want resolved.RecordType) (map[string]any, error) {
	members, err := members(raw)
	if err != nil {
		return nil, err
	}
	folded := map[string]string{}
	for name := range want {
		folded[fold(string(name))] = string(name)
	}
	for name := range members {
		if known, ok := folded[fold(name)]; ok && known != name {
			return nil, fmt.Errorf(".%s differs from %q in case only; write it like that", name, known)
		}
	}
	out := make(map[string]any, len(want))
	for _, name := range attributes(want) {
		attr := want[types.String(name)]
		value, has := members[name]
		if !has || string(value) == "null" {
			if !attr.Optional {
				return nil, fmt.Errorf(".%s%w", name, errMissing)
			}
			continue
		}
		if out[name], err = inputValue(value, attr.Type); err != nil {
			return nil, fmt.Errorf(".%s%w", name, err)
		}
	}
	return out, nil
}

// members are the values of a JSON object by name, each name once.
func members(raw json.RawMessage) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, errors.New(" is no object where the tool's schema wants one")
	}
	out := map[string]json.RawMessage{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf(" cannot be read: %w", err)
		}
		name, _ := key.(string)
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf(".%s%w", name, errTwice)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, fmt.Errorf(".%s cannot be read: %w", name, err)
		}
		out[name] = value
	}
	return out, nil
}

func inputValue(raw json.RawMessage, want resolved.IsType) (any, error) {
	switch want := want.(type) {
	case resolved.RecordType:
		return inputRecord(raw, want)
	case resolved.SetType:
		return inputSet(raw, want)
	case resolved.StringType:
		return inputString(raw)
	case resolved.BoolType:
		var b bool
		if raw[0] == 'n' || json.Unmarshal(raw, &b) != nil {
			return nil, unlike(raw, "boolean")
		}
		return b, nil
	default:
		return inputNumber(raw, want)
	}
}

func inputSet(raw json.RawMessage, want resolved.SetType) (any, error) {
	var list []json.RawMessage
	if raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
		return nil, unlike(raw, "array")
	}
	out := make([]any, len(list))
	for i, element := range list {
		v, err := inputValue(element, want.Element)
		if err != nil {
			return nil, fmt.Errorf("[%d]%w", i, err)
		}
		out[i] = v
	}
	return out, nil
}

// inputString refuses what decoding replaced, since others may replace it otherwise.
func inputString(raw json.RawMessage) (any, error) {
	var s string
	if raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return nil, unlike(raw, "string")
	}
	if !utf8.Valid(raw) || strings.Count(s, "\uFFFD") != replacementsIn(string(raw)) {
		return nil, errText
	}
	return s, nil
}

// replacementsIn counts the replacement characters that a JSON string has itself,
// written out or escaped.
func replacementsIn(raw string) int {
	n := strings.Count(raw, "\uFFFD")
	for i := 0; i+1 < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		i++
		if raw[i] == 'u' && strings.EqualFold(raw[i+1:min(i+5, len(raw))], "fffd") {
			n++
		}
	}
	return n
}

func inputNumber(raw json.RawMessage, want resolved.IsType) (any, error) {
	var n json.Number
	if raw[0] == '"' || raw[0] == 'n' || json.Unmarshal(raw, &n) != nil {
		return nil, unlike(raw, "number")
	}
	var out any
	var err error
	switch want {
	case resolved.LongType{}:
		out, err = exactly(n.String(), 0)
	case resolved.ExtensionType("decimal"):
		out, err = decimal(n.String())
	default:
		err = fmt.Errorf("has the type %s, which no argument has", typeName(want))
	}
	if err != nil {
		return nil, fmt.Errorf(" %w", err)
	}
	return out, nil
}

// unlike says what a value is instead of what the tool's schema has.
func unlike(raw json.RawMessage, want string) error {
	kind := "number"
	switch raw[0] {
	case '{':
		kind = "object"
	case '[':
		kind = "array"
	case '"':
		kind = "string"
	case 't', 'f':
		kind = "boolean"
	case 'n':
		kind = "null"
	}
	return fmt.Errorf(" is a JSON %s where the tool's schema wants a %s", kind, want)
}
