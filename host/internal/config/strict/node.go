package strict

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// entry is one key of a mapping with its value.
type entry struct {
	key   string
	node  ast.Node // of the key
	value ast.Node
}

// entries returns the keys of a mapping in the order of the file; ok is false if
// n is something else, which is then a problem.
func (d decoder) entries(path string, n ast.Node) (out []entry, ok bool) {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		d.expected(path, n, "keys and values")
		return nil, false
	}
	for _, v := range m.Values {
		key, ok := keyText(v.Key)
		if !ok {
			d.problem(path, v.Key, "keys are plain text; merge keys and composed keys are not used here")
			continue
		}
		out = append(out, entry{key, v.Key, v.Value})
	}
	return out, true
}

func keyText(k ast.MapKeyNode) (string, bool) {
	switch k := k.(type) {
	case *ast.StringNode:
		return k.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return k.GetToken().Value, true
	}
	return "", false
}

// text decodes a value that is written as text or as a number.
func (d decoder) text(path string, n ast.Node, t Text) {
	s, ok := textOf(n)
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		s, ok = n.GetToken().Value, true
	}
	if !ok {
		d.expected(path, n, t.Expected())
		return
	}
	if err := t.UnmarshalText([]byte(s)); err != nil {
		d.problem(path, n, fmt.Sprintf("expected %s: %v", t.Expected(), err))
	}
}

func textOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}

func (d decoder) scalar(path string, n ast.Node, v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if s, ok := textOf(n); ok {
			v.SetString(s)
		} else {
			d.expected(path, n, "text")
		}
	case reflect.Bool:
		if b, ok := n.(*ast.BoolNode); ok {
			v.SetBool(b.Value)
		} else {
			d.expected(path, n, "true or false")
		}
	case reflect.Int, reflect.Int64:
		d.whole(path, n, v)
	case reflect.Float64:
		if f, ok := number(n); ok {
			v.SetFloat(f)
		} else {
			d.expected(path, n, "a number")
		}
	default:
		panic("strict: a field of type " + v.Type().String() + " cannot be decoded")
	}
}

func (d decoder) whole(path string, n ast.Node, v reflect.Value) {
	i, ok := integer(n)
	if _, written := n.(*ast.IntegerNode); written && (!ok || v.OverflowInt(i)) {
		d.problem(path, n, "the number is too large")
		return
	}
	if !ok {
		d.expected(path, n, "a whole number")
		return
	}
	v.SetInt(i)
}

func integer(n ast.Node) (int64, bool) {
	i, ok := n.(*ast.IntegerNode)
	if !ok {
		return 0, false
	}
	// The parser gives numbers that are not negative as uint64.
	if u, ok := i.Value.(uint64); ok && u <= math.MaxInt64 {
		return int64(u), true
	}
	n64, ok := i.Value.(int64)
	return n64, ok
}

func number(n ast.Node) (float64, bool) {
	if f, ok := n.(*ast.FloatNode); ok {
		return f.Value, !math.IsInf(f.Value, 0) && !math.IsNaN(f.Value)
	}
	i, ok := integer(n)
	return float64(i), ok
}

// any turns a value of any shape into JSON.
func (d decoder) any(path string, n ast.Node, v reflect.Value) {
	plain := d.plain(path, n)
	b, err := json.Marshal(plain)
	if err != nil {
		d.problem(path, n, err.Error())
		return
	}
	v.SetBytes(b)
}

func (d decoder) plain(path string, n ast.Node) any {
	d.place(path, n)
	if s, ok := textOf(n); ok {
		return s
	}
	switch n := n.(type) {
	case *ast.NullNode:
		return nil
	case *ast.BoolNode:
		return n.Value
	case *ast.IntegerNode:
		return n.Value
	case *ast.FloatNode:
		return n.Value
	case *ast.SequenceNode:
		list := make([]any, len(n.Values))
		for i, item := range n.Values {
			list[i] = d.plain(fmt.Sprintf("%s.%d", path, i), item)
		}
		return list
	case *ast.MappingNode:
		return d.plainMap(path, n)
	}
	d.problem(path, n, "expected text, a number, true or false, a list, or keys and values")
	return nil
}

func (d decoder) plainMap(path string, n *ast.MappingNode) map[string]any {
	entries, _ := d.entries(path, n)
	m := make(map[string]any, len(entries))
	for _, e := range entries {
		m[e.key] = d.plain(join(path, e.key), e.value)
	}
	return m
}

// place remembers where path stands. A mapping begins at its first key: the
// parser gives its own position as that of the first colon.
func (d decoder) place(path string, n ast.Node) { d.at[path] = d.where(path, n) }

func (d decoder) where(path string, n ast.Node) position {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return d.where(path, m.Values[0].Key)
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return position{t.Position.Line, t.Position.Column}
	}
	return d.find(path)
}

func (d decoder) problem(path string, n ast.Node, message string) {
	d.add(d.where(path, n), path, message)
}

func (d decoder) expected(path string, n ast.Node, what string) {
	d.problem(path, n, "expected "+what+", found "+kindOf(n))
}

func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.IntegerNode:
		return "a whole number"
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a decimal number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.NullNode:
		return "nothing"
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode:
		return "keys and values"
	}
	return "something else"
}

func (d decoder) unknown(path string, n ast.Node, key string, known []string) {
	if near := nearest(key, known); near != "" {
		d.problem(path, n, fmt.Sprintf("unknown key; did you mean %q?", near))
		return
	}
	d.problem(path, n, "unknown key; known here: "+strings.Join(known, ", "))
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
