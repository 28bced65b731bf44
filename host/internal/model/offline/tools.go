package offline

import (
	"encoding/json"
	"strings"
	"unicode"

	"github.com/vespiary/vespiary/abi"
)

// role is what a tool is for, as its own words tell.
type role int

const (
	roleOther role = iota
	roleSearch
	roleRead
	roleList
	roleWrite
)

// tool is an offered tool with what the plan needs to know of it.
type tool struct {
	name    string
	role    role
	args    []argument
	names   map[string]bool // stems of its name and title
	about   map[string]bool // stems of those and of its descriptions
	verb    string          // stem of the first word of its description
	harmful bool
}

// verbs tell a role by a word of the name or the first word of the description.
var verbs = []struct {
	role  role
	words map[string]bool
}{
	{roleSearch, set("search find query lookup grep recall retrieve")},
	{roleWrite, set("write save create append put store remember note edit")},
	{roleList, set("list ls browse dir tree glob")},
	{roleRead, set("read open cat load fetch get view show")},
}

func readTools(in []abi.Tool) []tool {
	out := make([]tool, len(in))
	for i, t := range in {
		out[i] = readTool(t)
	}
	return out
}

// readTool goes by the name before the description, whose first word may be any.
func readTool(t abi.Tool) tool {
	out := tool{name: t.Name, args: readSchema(t.InputSchema)}
	spaced := splitName(t.Name)
	title := t.Title
	if a := t.Annotations; a != nil {
		title += " " + a.Title
		out.harmful = a.DestructiveHint != nil && *a.DestructiveHint
	}
	out.names = stems(spaced + " " + title)
	about := []string{spaced, title, t.Description}
	for _, a := range out.args {
		about = append(about, a.name, a.about)
	}
	out.about = stems(strings.Join(about, " "))
	out.role = out.roleBy(strings.Fields(strings.ToLower(spaced)))
	if said := fields(strings.ToLower(t.Description)); len(said) > 0 {
		out.verb = stem(said[0])
		if out.role == roleOther {
			out.role = out.roleBy(said[:1])
		}
	}
	return out
}

// roleBy finds the role that one of the words names and whose arguments the tool
// has: get_weather has the verb of a reader, but nothing to read from.
func (t tool) roleBy(names []string) role {
	for _, v := range verbs {
		for _, name := range names {
			if v.words[strings.TrimSuffix(name, "s")] && t.suits(v.role) {
				return v.role
			}
		}
	}
	return roleOther
}

// suits reports whether a tool has the arguments that its role needs.
func (t tool) suits(r role) bool {
	switch r {
	case roleSearch:
		return t.has(kindQuery)
	case roleRead:
		return t.has(kindPlace) && !t.has(kindBody)
	case roleWrite:
		return t.has(kindBody)
	default:
		return true
	}
}

func (t tool) has(k kind) bool {
	for _, a := range t.args {
		if a.kind == k {
			return true
		}
	}
	return false
}

// needs reports whether an argument of the kind is required.
func (t tool) needs(k kind) bool {
	for _, a := range t.args {
		if a.kind == k && a.required {
			return true
		}
	}
	return false
}

// splitName turns files_list, github.searchIssues and get-time into words.
func splitName(name string) string {
	var b strings.Builder
	previous := ' '
	for _, r := range name {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			r = ' '
		case unicode.IsUpper(r) && unicode.IsLower(previous):
			b.WriteRune(' ')
		}
		b.WriteRune(r)
		previous = r
	}
	return b.String()
}

// kind is what an argument is for, as its name and type tell.
type kind int

const (
	kindText   kind = iota // any string
	kindQuery              // words to search for
	kindPlace              // a path or an address
	kindBody               // text to be kept
	kindNumber             // an integer or a number
	kindFlag               // a boolean
	kindList
	kindObject
)

var kindNames = map[kind]map[string]bool{
	kindQuery: set("query q search pattern keyword keywords term terms phrase question prompt input"),
	kindPlace: set("path file filename filepath dir directory folder uri url href location"),
	kindBody:  set("text content contents body data note markdown"),
}

// argument is one property of a tool's input schema.
type argument struct {
	name     string
	about    string
	kind     kind
	required bool
	fallback json.RawMessage   // default, const, or the first of examples
	choices  []json.RawMessage // enum
	least    json.RawMessage   // minimum
	integer  bool
	nested   []argument // of an object; one element of a list
}

// schema is the part of JSON Schema that filling in arguments needs.
type schema struct {
	Type        json.RawMessage   `json:"type"`
	Description string            `json:"description"`
	Properties  orderedProperties `json:"properties"`
	Required    []string          `json:"required"`
	Default     json.RawMessage   `json:"default"`
	Const       json.RawMessage   `json:"const"`
	Enum        []json.RawMessage `json:"enum"`
	Minimum     json.RawMessage   `json:"minimum"`
	Items       json.RawMessage   `json:"items"`
}

// readSchema returns the arguments in the order in which the schema has them. A
// schema that is not understood has none: the tool will say what it misses.
func readSchema(raw json.RawMessage) []argument { return readNested(raw, 0) }

// maxNesting bounds how deep a schema is read.
const maxNesting = 6

func readNested(raw json.RawMessage, depth int) []argument {
	var s schema
	if depth > maxNesting || json.Unmarshal(raw, &s) != nil {
		return nil
	}
	required := map[string]bool{}
	for _, name := range s.Required {
		required[name] = true
	}
	var out []argument
	for _, p := range s.Properties {
		a, ok := readArgument(p.name, p.schema, depth)
		if ok {
			a.required = required[p.name]
			out = append(out, a)
		}
	}
	return out
}

// readArgument classifies one property. What has no type is taken for text.
func readArgument(name string, raw json.RawMessage, depth int) (argument, bool) {
	var s schema
	if json.Unmarshal(raw, &s) != nil {
		return argument{}, false
	}
	a := argument{name: name, about: s.Description, choices: s.Enum, least: s.Minimum, fallback: s.Default}
	if len(s.Const) > 0 {
		a.fallback = s.Const
	}
	switch typeOf(s.Type) {
	case "integer":
		a.kind, a.integer = kindNumber, true
	case "number":
		a.kind = kindNumber
	case "boolean":
		a.kind = kindFlag
	case "array":
		a.kind = kindList
		if item, ok := readArgument(name, s.Items, depth+1); ok && depth < maxNesting {
			a.nested = []argument{item}
		}
	case "object":
		a.kind, a.nested = kindObject, readNested(raw, depth+1)
	default:
		a.kind = textKind(name)
	}
	return a, true
}

// textKind goes by the words of the name: file_path is a place, search_query is
// words to search for.
func textKind(name string) kind {
	parts := strings.Fields(strings.ToLower(splitName(name)))
	for _, k := range []kind{kindPlace, kindQuery, kindBody} {
		for _, p := range parts {
			if kindNames[k][p] {
				return k
			}
		}
	}
	return kindText
}

// typeOf returns the type, the first that is not null where there are several.
func typeOf(raw json.RawMessage) string {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return one
	}
	var many []string
	_ = json.Unmarshal(raw, &many)
	for _, t := range many {
		if t != "null" {
			return t
		}
	}
	return ""
}
