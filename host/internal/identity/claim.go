package identity

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4/json"
)

// Bounds on what is taken over from a token. What is over them is refused, not cut: a
// policy that forbids something to a group must not miss it.
const (
	maxName   = 255 // bytes; of subjects by OpenID Connect Core, section 2
	maxValues = 256 // of one claim
)

// isName reports whether s can be shown and compared: no control characters, none that
// change the direction or hide.
func isName(s string) bool {
	return s != "" && len(s) <= maxName && utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// values returns a claim as a set of text: a text, number or boolean is a set of one.
// nil: the token does not have it.
func (c claims) values(name string) ([]string, error) {
	raw, ok := c[name]
	if !ok {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.SetNumberType(json.UnmarshalJSONNumber)
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("the claim %s: %w", name, err)
	}
	items, many := v.([]any)
	switch {
	case v == nil:
		return nil, nil
	case !many:
		items = single(name, v)
	}
	if len(items) > maxValues {
		return nil, fmt.Errorf("the claim %s has %d values, more than %d", name, len(items), maxValues)
	}
	out := make([]string, len(items))
	for i, item := range items {
		s, err := scalar(item)
		if err != nil {
			return nil, fmt.Errorf("the claim %s: %w", name, err)
		}
		out[i] = s
	}
	return out, nil
}

// single is the list of one value, or of the parts of one: scopes are written in one
// text with spaces (RFC 8693, section 4.2).
func single(name string, v any) []any {
	s, ok := v.(string)
	if !ok || name != "scope" && name != "scp" {
		return []any{v}
	}
	var items []any
	for scope := range strings.FieldsSeq(s) {
		items = append(items, scope)
	}
	return items
}

func scalar(v any) (string, error) {
	switch v := v.(type) {
	case string:
		if !isName(v) {
			return "", fmt.Errorf("a value is empty, over %d bytes, or not printable", maxName)
		}
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case json.Number:
		if len(v) > maxName {
			return "", fmt.Errorf("a number has over %d digits", maxName)
		}
		return v.String(), nil
	}
	return "", errors.New("a value is neither text, number nor boolean")
}
