package offline

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
)

// invocation is a call the stand-in makes or has made.
type invocation struct {
	tool string
	args map[string]any
}

// raw returns the arguments as JSON with sorted keys.
func (c invocation) raw() json.RawMessage {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(c.args); err != nil || c.args == nil {
		return json.RawMessage("{}")
	}
	return bytes.TrimSpace(buf.Bytes())
}

func (c invocation) same(d invocation) bool {
	return c.tool == d.tool && string(c.raw()) == string(d.raw())
}

// filling is what a question offers for a tool's arguments.
type filling struct {
	query   string   // words to search for
	place   string   // a path or an address
	body    string   // text to be kept
	text    string   // what is left of the clause for any other string
	whole   string   // the clause as it stands, to choose among enum values
	numbers []string // in the order of the clause; used up one by one
	spent   bool     // the words go into a query: other strings take their defaults
}

// fill returns a call with the required arguments, and the optional place and text
// to keep if the question offers them. It reports false where a required argument has
// no value.
func (f *filling) fill(t tool) (invocation, bool) {
	args := map[string]any{}
	f.spent = f.spent || t.has(kindQuery)
	for _, a := range t.args {
		if !a.required && !f.offers(a) {
			continue
		}
		value, ok := f.value(a)
		if !ok {
			return invocation{}, false
		}
		args[a.name] = value
	}
	return invocation{t.name, args}, true
}

// offers tells whether the question has something for an argument that may be left
// out.
func (f *filling) offers(a argument) bool {
	return a.kind == kindPlace && f.place != "" || a.kind == kindBody && f.body != ""
}

// value goes from the surest source to the weakest: what the schema allows, what
// the question says, what the schema falls back to, and the neutral value of a type.
func (f *filling) value(a argument) (any, bool) {
	if v, ok := f.choose(a); ok {
		return v, true
	}
	if f.spent && a.kind == kindText && len(a.fallback) > 0 {
		return a.fallback, true
	}
	if v, ok := f.fromQuestion(a); ok {
		return v, true
	}
	if len(a.fallback) > 0 {
		return a.fallback, true
	}
	switch {
	case a.kind == kindFlag:
		return false, true
	case a.kind == kindNumber && len(a.least) > 0:
		return a.least, true
	case a.kind == kindNumber:
		return 1, true
	default:
		return nil, false
	}
}

// choose takes the enum value that the clause names, or else the default or the
// first.
func (f *filling) choose(a argument) (any, bool) {
	if len(a.choices) == 0 {
		return nil, false
	}
	for _, raw := range a.choices {
		var s string
		if json.Unmarshal(raw, &s) == nil && s != "" && containsWord(f.whole, s) {
			return s, true
		}
	}
	if len(a.fallback) > 0 {
		return a.fallback, true
	}
	return a.choices[0], true
}

// containsWord compares whole words, so that "all" is not found in "small".
func containsWord(text, word string) bool {
	return strings.Contains(" "+strings.ToLower(strings.Join(fields(text), " "))+" ",
		" "+strings.ToLower(strings.Join(fields(word), " "))+" ")
}

// fromQuestion gives each kind of argument its part of the question.
func (f *filling) fromQuestion(a argument) (any, bool) {
	switch a.kind {
	case kindQuery:
		return f.query, f.query != ""
	case kindPlace:
		return f.place, f.place != ""
	case kindBody:
		text := first(f.body, f.text)
		return text, text != ""
	case kindText:
		return f.text, f.text != ""
	case kindNumber:
		return f.number(a)
	case kindList:
		return f.list(a)
	case kindObject:
		c, ok := f.fill(tool{args: a.nested})
		return c.args, ok
	default:
		return nil, false
	}
}

// number takes the next numeral that the type allows, so that "add 2 and 3" fills
// two arguments in their order.
func (f *filling) number(a argument) (any, bool) {
	for i, n := range f.numbers {
		if a.integer && strings.Contains(n, ".") {
			continue
		}
		f.numbers = append(f.numbers[:i:i], f.numbers[i+1:]...)
		return json.Number(n), true
	}
	return nil, false
}

// list makes a list of one: more would be a guess.
func (f *filling) list(a argument) (any, bool) {
	if len(a.nested) == 0 {
		return []any{}, true
	}
	if v, ok := f.value(a.nested[0]); ok {
		return []any{v}, true
	}
	return nil, false
}

var numeral = regexp.MustCompile(`(?:^|[\s(=$€])(-?(?:0|[1-9]\d{0,14})(?:\.\d{1,9})?)\b`)

func numbers(text string) []string {
	var out []string
	for _, m := range numeral.FindAllStringSubmatch(text, -1) {
		out = append(out, m[1])
	}
	return out
}

func first(options ...string) string {
	for _, s := range options {
		if s != "" {
			return s
		}
	}
	return ""
}
