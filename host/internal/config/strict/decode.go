package strict

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// MaxSize is the largest file that is read, in bytes. Files that people write are
// a thousand times smaller.
const MaxSize = 1 << 20

// maxDepth bounds the nesting of collections, which the parser follows by recursion.
const maxDepth = 100

// Text is a value that is written as text and has a form of its own. Expected
// describes the form for people: `a size such as "512MiB"`. UnmarshalText is
// given text and numbers as they stand in the file; its errors are shown.
type Text interface {
	encoding.TextUnmarshaler
	Expected() string
}

// List is a list of text, for which one text may stand alone.
type List []string

// Decode reads one YAML document into the struct that into points to. Keys are
// the `yaml` tags of its fields, and `yaml:"name,required"` demands a key. Fields
// are strings, booleans, integers, float64, [time.Duration], [json.RawMessage]
// (any value, as JSON), List, types whose pointer is a Text, and structs, pointers,
// slices and maps by string of those. What could not be decoded keeps its zero
// value and is a problem of the Report. file names the source in problems.
func Decode(file string, data []byte, into any) *Report {
	r := &Report{file: file, at: map[string]position{"": {1, 1}}}
	body, err := parse(data)
	if err != nil {
		r.syntax(err)
		return r
	}
	d := decoder{r}
	if body == nil {
		body = &ast.MappingNode{}
	}
	d.value("", body, reflect.ValueOf(into).Elem())
	return r
}

// parse returns the root of the only document; nil if it is empty.
func parse(data []byte) (ast.Node, error) {
	switch {
	case len(data) > MaxSize:
		return nil, fmt.Errorf("the file is larger than %d bytes", MaxSize)
	case !utf8.Valid(data):
		return nil, errors.New("the file is not UTF-8 text")
	case deep(data):
		return nil, fmt.Errorf("collections are nested deeper than %d", maxDepth)
	}
	f, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, err
	}
	var body ast.Node
	for i, doc := range f.Docs {
		if i > 0 {
			return nil, errors.New("the file holds more than one document; remove all but one")
		}
		body = doc.Body
	}
	switch body.(type) {
	case *ast.NullNode, *ast.CommentGroupNode:
		return nil, nil
	}
	return body, nil
}

// deep errs on the side of refusing: it also counts brackets inside text.
func deep(data []byte) bool {
	depth, indent := 0, 0
	for line := range strings.Lines(string(data)) {
		rest := strings.TrimLeft(line, " -?:\t")
		indent = len(line) - len(rest)
		for _, c := range rest {
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth = max(depth-1, 0)
			}
			if depth > maxDepth {
				return true
			}
		}
		if indent > 4*maxDepth {
			return true
		}
	}
	return false
}

// syntax reports a parse error without the excerpt of the file that the parser's
// own text has: the file may hold a secret in the wrong place.
func (r *Report) syntax(err error) {
	e, ok := errors.AsType[yaml.Error](err)
	if !ok {
		r.add(position{}, "", err.Error())
		return
	}
	pos := position{1, 1}
	if t := e.GetToken(); t != nil && t.Position != nil {
		pos = position{t.Position.Line, t.Position.Column}
	}
	message, _, _ := strings.Cut(e.GetMessage(), "\n")
	r.add(pos, "", "not valid YAML: "+message)
}

type decoder struct{ *Report }

var (
	durationType = reflect.TypeFor[time.Duration]()
	anyType      = reflect.TypeFor[json.RawMessage]()
	listType     = reflect.TypeFor[List]()
)

func (d decoder) value(path string, n ast.Node, v reflect.Value) {
	d.place(path, n)
	switch n := n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		d.problem(path, n, "anchors, aliases and tags are not used here; write the value out")
		return
	}
	if t, ok := reflect.TypeAssert[Text](v.Addr()); ok {
		d.text(path, n, t)
		return
	}
	switch v.Type() {
	case durationType:
		d.text(path, n, (*duration)(v.Addr().Interface().(*time.Duration)))
		return
	case anyType:
		d.any(path, n, v)
		return
	}
	d.byKind(path, n, v)
}

func (d decoder) byKind(path string, n ast.Node, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(path, n, v.Elem())
	case reflect.Struct:
		d.structure(path, n, v)
	case reflect.Map:
		d.table(path, n, v)
	case reflect.Slice:
		d.list(path, n, v)
	default:
		d.scalar(path, n, v)
	}
}

func (d decoder) structure(path string, n ast.Node, v reflect.Value) {
	entries, ok := d.entries(path, n)
	if !ok {
		return
	}
	fields := fieldsOf(v.Type())
	seen := map[string]bool{}
	for _, e := range entries {
		i, known := fields.index[e.key]
		if !known {
			d.unknown(join(path, e.key), e.node, e.key, fields.names)
			continue
		}
		seen[e.key] = true
		d.value(join(path, e.key), e.value, v.Field(i))
	}
	for _, name := range fields.required {
		if !seen[name] {
			d.problem(join(path, name), n, "missing, and needed here")
		}
	}
}

func (d decoder) table(path string, n ast.Node, v reflect.Value) {
	entries, ok := d.entries(path, n)
	if !ok {
		return
	}
	m := reflect.MakeMapWithSize(v.Type(), len(entries))
	for _, e := range entries {
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(join(path, e.key), e.value, item)
		m.SetMapIndex(reflect.ValueOf(e.key), item)
	}
	v.Set(m)
}

func (d decoder) list(path string, n ast.Node, v reflect.Value) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.alone(path, n, v)
		return
	}
	s := reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values))
	for i, item := range seq.Values {
		d.value(fmt.Sprintf("%s.%d", path, i), item, s.Index(i))
	}
	v.Set(s)
}

// alone decodes what is no list where one may be left out.
func (d decoder) alone(path string, n ast.Node, v reflect.Value) {
	s, ok := textOf(n)
	switch {
	case v.Type() != listType:
		d.expected(path, n, "a list")
	case !ok:
		d.expected(path, n, "text or a list")
	default:
		v.Set(reflect.ValueOf(List{s}))
	}
}
