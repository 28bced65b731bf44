package offline

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// record is one piece of what a tool returned, found by the names of its fields
// and not by the tool.
type record struct {
	path    string
	line    int // of its first line, 0 if not known
	heading string
	text    string
}

// Names of fields by what they hold, best first.
var (
	textFields    = []string{"text", "snippet", "content", "contents", "excerpt", "passage", "quote", "body", "match", "summary", "value", "description"}
	pathFields    = []string{"path", "file", "filename", "file_path", "uri", "url", "source", "document", "link"}
	lineFields    = []string{"line", "line_number", "lineno", "start_line", "startline", "first_line"}
	headingFields = []string{"heading", "section", "title", "name"}
)

// records returns everything that a call returned.
func (o *outcome) records() []record {
	base := record{path: o.place()}
	var out []record
	for _, part := range o.parts {
		if value, ok := parseJSON(part); ok {
			walk(value, base, 0, &out)
		} else {
			out = append(out, plainRecords(part, base)...)
		}
	}
	return out
}

// place returns the path or address that the call was made with.
func (o *outcome) place() string {
	for _, name := range slices.Sorted(maps.Keys(o.args)) {
		if s, ok := o.args[name].(string); ok && textKind(name) == kindPlace && s != "" && s != "." {
			return s
		}
	}
	return ""
}

// parseJSON parses text that is a JSON object or array.
func parseJSON(text string) (any, bool) {
	text = strings.TrimSpace(text)
	if text == "" || text[0] != '{' && text[0] != '[' {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil || d.More() {
		return nil, false
	}
	return v, true
}

// maxDepth bounds how deep a result is searched for records.
const maxDepth = 12

// walk collects the records of a JSON value. Strings in a list are paths if they
// look like paths, as in a listing, and text if not.
func walk(v any, base record, depth int, out *[]record) {
	if depth > maxDepth {
		return
	}
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			walk(item, base, depth+1, out)
		}
	case map[string]any:
		walkObject(v, base, depth, out)
	case string:
		if isPath(v, true) && depth > 0 {
			*out = append(*out, record{path: v})
		} else {
			base.text = v
			*out = append(*out, base)
		}
	}
}

// walkObject takes an object as a record if it has text, or if it names a path of
// its own. What it says of path, line and heading holds for the objects inside.
func walkObject(v map[string]any, base record, depth int, out *[]record) {
	r, used := base, map[string]bool{}
	r.path = first(pick(v, pathFields, used), base.path)
	r.text = pick(v, textFields, used)
	r.heading = first(pick(v, headingFields, used), base.heading)
	r.line = pickLine(v, base.line)
	listed := r.path != base.path || depth == 0 && used["path"]
	if r.text != "" || listed {
		*out = append(*out, r)
	}
	r.text = ""
	for _, name := range slices.Sorted(maps.Keys(v)) {
		switch v[name].(type) {
		case map[string]any, []any:
			walk(v[name], r, depth+1, out)
		}
	}
}

// pick returns the first of the named fields that holds text.
func pick(v map[string]any, names []string, used map[string]bool) string {
	for _, name := range names {
		if s, ok := v[name].(string); ok && strings.TrimSpace(s) != "" {
			used[name] = true
			return s
		}
	}
	return ""
}

func pickLine(v map[string]any, otherwise int) int {
	for _, name := range lineFields {
		if n, ok := v[name].(json.Number); ok {
			if i, err := strconv.Atoi(n.String()); err == nil && i > 0 {
				return i
			}
		}
	}
	return otherwise
}

// hit is a line of a search result in the form of grep.
var hit = regexp.MustCompile(`^([\w./@+~-]+\.\w{1,8}):(\d{1,7}):\s?(.*)$`)

// plainRecords reads text that is not JSON: hits as grep prints them, or else one
// piece. A piece read from a file begins at its first line, unless the call asked
// for a part of it.
func plainRecords(text string, base record) []record {
	var out []record
	var rest []string
	for line := range strings.Lines(text) {
		m := hit.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if m == nil {
			rest = append(rest, line)
			continue
		}
		n, _ := strconv.Atoi(m[2])
		out = append(out, record{path: m[1], line: n, text: m[3]})
	}
	if body := strings.Join(rest, ""); strings.TrimSpace(body) != "" {
		base.text = body
		out = append(out, base)
	}
	return out
}

// whole returns what a call returned as it stands, JSON as lines "name: value".
func (o *outcome) whole() string {
	var out []string
	for _, part := range o.parts {
		text := strings.TrimSpace(part)
		if value, ok := parseJSON(part); ok {
			var lines []string
			flatten("", value, 0, &lines)
			text = strings.Join(lines, "\n")
		}
		if text != "" && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return strings.Join(out, "\n")
}

// flatten writes a value as lines; an object within a list is one line.
func flatten(name string, v any, depth int, out *[]string) {
	if depth > maxDepth {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for _, key := range telling(v) {
			flatten(key, v[key], depth+1, out)
		}
	case []any:
		for _, item := range v {
			var lines []string
			flatten("", item, depth+1, &lines)
			*out = append(*out, strings.Join(lines, ", "))
		}
	case nil:
	default:
		line := fmt.Sprint(v)
		if name != "" {
			line = name + ": " + line
		}
		*out = append(*out, line)
	}
}

// telling returns the names of an object's fields, the ones that say what it is
// before the others.
func telling(v map[string]any) []string {
	rank := func(name string) int {
		for i, names := range [][]string{pathFields, headingFields, textFields} {
			if slices.Contains(names, name) {
				return i
			}
		}
		return 3
	}
	return slices.SortedFunc(maps.Keys(v), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
}

// message returns the words in which a failed call says why.
func (o *outcome) message() string {
	text := strings.TrimSpace(strings.Join(o.parts, " "))
	value, ok := parseJSON(text)
	if object, isObject := value.(map[string]any); ok && isObject {
		if inner, nested := object["error"].(map[string]any); nested {
			object = inner
		}
		for _, name := range []string{"message", "error", "detail", "text"} {
			if s, found := object[name].(string); found && s != "" {
				text = s
				break
			}
		}
	}
	if text == "" {
		return "it gave no reason"
	}
	return strings.Join(strings.Fields(text), " ")
}
