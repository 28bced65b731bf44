package cedar

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/vespiary/vespiary/policy"
)

// caseValues turns what a case says into values of the types that the schema has.
type caseValues struct {
	now  time.Time
	zero func(types.EntityType) policy.UID // an entity for an attribute that a case does not give
}

// record fills a record: with what the case says, else with what is given, else with
// something of the type for what must be there.
func (c *caseValues) record(path string, want resolved.RecordType, said map[string]json.RawMessage, given map[string]any) (map[string]any, error) {
	for _, name := range slices.Sorted(maps.Keys(said)) {
		if _, ok := want[types.String(name)]; !ok {
			return nil, fmt.Errorf("%s is not in the schema; use one of %s", below(path, name), listed(attributes(want)))
		}
	}
	out := make(map[string]any, len(want))
	for _, name := range attributes(want) {
		attr := want[types.String(name)]
		value, has := given[name]
		raw, told := said[name]
		var err error
		switch {
		case told && string(raw) == "null": // taken away
			continue
		case told:
			value, err = c.value(below(path, name), attr.Type, raw, value)
		case !has && attr.Optional:
			continue
		case !has:
			value = c.blank(attr.Type)
		}
		if err != nil {
			return nil, err
		}
		out[name] = value
	}
	return out, nil
}

func (c *caseValues) value(path string, want resolved.IsType, raw json.RawMessage, given any) (any, error) {
	switch want := want.(type) {
	case resolved.RecordType:
		var said map[string]json.RawMessage
		if err := json.Unmarshal(raw, &said); err != nil {
			return nil, fmt.Errorf("%s is a record of %s; write it as such", path, listed(attributes(want)))
		}
		fields, _ := given.(map[string]any)
		return c.record(path, want, said, fields)
	case resolved.SetType:
		return c.set(path, want, raw)
	default:
		v, err := c.scalar(want, raw)
		if err != nil {
			return nil, fmt.Errorf("%s is %s, but %w", path, oneLine(string(raw)), err)
		}
		return v, nil
	}
}

func (c *caseValues) set(path string, want resolved.SetType, raw json.RawMessage) (any, error) {
	var elements []json.RawMessage
	if err := json.Unmarshal(raw, &elements); err != nil {
		return nil, fmt.Errorf("%s is a list; write it as such", path)
	}
	out := make([]any, len(elements))
	for i, e := range elements {
		v, err := c.value(fmt.Sprintf("%s[%d]", path, i), want.Element, e, nil)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

func (c *caseValues) scalar(want resolved.IsType, raw json.RawMessage) (any, error) {
	switch want := want.(type) {
	case resolved.StringType:
		return decoded[string](raw, "a text")
	case resolved.BoolType:
		return decoded[bool](raw, "true or false")
	case resolved.LongType:
		return decoded[int64](raw, "a whole number")
	case resolved.EntityType:
		text, err := decoded[string](raw, "the name of a "+string(want))
		if err != nil {
			return nil, err
		}
		return entityName(text, types.EntityType(want))
	case resolved.ExtensionType:
		return c.extension(string(want), raw)
	default:
		return nil, fmt.Errorf("the schema wants a %s there, which a case cannot give", typeName(want))
	}
}

func decoded[T any](raw json.RawMessage, what string) (T, error) {
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return v, fmt.Errorf("%s is needed", what)
	}
	return v, nil
}

func (c *caseValues) extension(kind string, raw json.RawMessage) (any, error) {
	text, err := decoded[string](raw, "a text")
	if kind == "decimal" && err != nil {
		text, err = string(bytes.TrimSpace(raw)), nil
	}
	if err != nil {
		return nil, err
	}
	switch kind {
	case "datetime":
		return c.moment(text)
	case "ipaddr":
		a, err := netip.ParseAddr(text)
		if err != nil {
			return nil, errors.New("an address such as 93.184.216.34 is needed")
		}
		return a, nil
	case "decimal":
		return decimalOf(text)
	default:
		return nil, fmt.Errorf("the schema wants a %s there, which a case cannot give", kind)
	}
}

// moment reads a time, or a span from now.
func (c *caseValues) moment(text string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return time.Time{}, fmt.Errorf(`a time such as 2026-01-01T12:00:00Z is needed, or a span from now such as "1h" or "-1m"`)
	}
	return c.now.Add(d), nil
}

// decimalOf gives a number the point that Cedar's form has.
func decimalOf(text string) (policy.Decimal, error) {
	if _, err := strconv.ParseInt(text, 10, 64); err == nil {
		text += ".0"
	}
	if _, err := types.ParseDecimal(text); err != nil {
		return "", errors.New("a number with up to four digits after the point is needed")
	}
	return policy.Decimal(text), nil
}

// typeWord is what the name of a type looks like; the host [::1] does not.
var typeWord = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)

// entityName reads "Type::id", `Type::"id"` or the id alone, of an entity of a type; ""
// is any type, which the name must give.
func entityName(text string, want types.EntityType) (policy.UID, error) {
	kind, id, typed := strings.Cut(text, "::")
	if !typed || !typeWord.MatchString(kind) {
		kind, id = string(want), text
	}
	if quoted, err := strconv.Unquote(id); err == nil {
		id = quoted
	}
	switch {
	case kind == "":
		return policy.UID{}, fmt.Errorf("%q needs its type; write Type::%s", text, text)
	case want != "" && kind != string(want):
		return policy.UID{}, fmt.Errorf("the name of a %s is needed", want)
	default:
		return policy.UID{Type: kind, ID: id}, nil
	}
}

// blank is a value of a type for what a case does not speak of.
func (c *caseValues) blank(want resolved.IsType) any {
	switch want := want.(type) {
	case resolved.BoolType:
		return false
	case resolved.LongType:
		return int64(0)
	case resolved.SetType:
		return []any{}
	case resolved.EntityType:
		return c.zero(types.EntityType(want))
	case resolved.RecordType:
		out, _ := c.record("", want, nil, nil) // without anything said nothing can be wrong
		return out
	case resolved.ExtensionType:
		return c.blankExtension(string(want))
	default:
		return ""
	}
}

func (c *caseValues) blankExtension(kind string) any {
	switch kind {
	case "datetime":
		return c.now
	case "ipaddr":
		return netip.AddrFrom4([4]byte{93, 184, 216, 34}) // on the public internet
	case "decimal":
		return policy.Decimal("0.0")
	default:
		return nil
	}
}
