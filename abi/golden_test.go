package abi_test

import (
	"bytes"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
)

// types are the messages of the contract, by name.
var types = func() map[string]reflect.Type {
	m := map[string]reflect.Type{}
	for _, v := range []any{
		abi.Result{},
		abi.Start{},
		abi.Started{},
		abi.WaitFor{},
		abi.Waited{},
		abi.Finished{},
		abi.AgentCall{},
		abi.AgentResult{},
		abi.AgentGrant{},
		abi.AgentResource{},
		abi.AgentBudget{},
		abi.DelegateToken{},
		abi.DelegatedToken{},
		abi.Emit{},
		abi.Progress{},
		abi.Await{},
		abi.SessionMemory{},
		abi.SessionMemoryResult{},
		abi.Content{},
		abi.Resource{},
		abi.Error{},
		abi.Event{},
		abi.Caller{},
		abi.Binding{},
		abi.Reply{},
		abi.Wait{},
		abi.Migration{},
		abi.FileRead{},
		abi.FileContent{},
		abi.FileWrite{},
		abi.FileList{},
		abi.FileListing{},
		abi.FileInfo{},
		abi.HTTPRequest{},
		abi.HTTPResponse{},
		abi.Label{},
		abi.Labels{},
		abi.Manifest{},
		abi.Message{},
		abi.ToolCall{},
		abi.ChatRequest{},
		abi.ChatResponse{},
		abi.Usage{},
		abi.EmbedRequest{},
		abi.EmbedResponse{},
		abi.Tool{},
		abi.ToolAnnotations{},
		abi.ToolList{},
		abi.ToolCallParams{},
		abi.ToolResult{},
	} {
		t := reflect.TypeOf(v)
		m[t.Name()] = t
	}
	return m
}()

type example struct {
	Name    string          `json:"name"`
	Type    string          `json:"type"`
	Message json.RawMessage `json:"message"`
}

func examples(tb testing.TB) []example {
	tb.Helper()
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no golden messages: %v", err)
	}
	var all []example
	for _, file := range files {
		if !strings.HasSuffix(file, "_refused.jsonl") {
			all = append(all, lines[example](tb, file)...)
		}
	}
	return all
}

func lines[T any](tb testing.TB, file string) []T {
	tb.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	var out []T
	for line := range bytes.Lines(b) {
		var v T
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&v); err != nil {
			tb.Fatalf("%s: %v in %s", file, err, line)
		}
		out = append(out, v)
	}
	return out
}

func strict(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// encode writes JSON without Go's escapes for HTML.
func encode(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(b.String())
}

func TestGolden(t *testing.T) {
	seen := map[string]bool{}
	for _, ex := range examples(t) {
		t.Run(ex.Name, func(t *testing.T) {
			typ, ok := types[ex.Type]
			if !ok || seen[ex.Name] {
				t.Fatalf("type %q is not of the contract, or the name is taken", ex.Type)
			}
			seen[ex.Name] = true
			v := reflect.New(typ).Interface()
			if err := strict(ex.Message, v); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(ex.Message), encode(t, v)); diff != "" {
				t.Errorf("encodes to something else (-golden +got):\n%s", diff)
			}
		})
	}
}

// TestGoldenIsWhole fails when a type or a member of the contract has no example.
func TestGoldenIsWhole(t *testing.T) {
	used := map[string]bool{}
	for _, ex := range examples(t) {
		used[ex.Type] = true
		mark(used, types[ex.Type], ex.Message)
	}
	for _, name := range structs(t) {
		typ, ok := types[name]
		if !ok {
			t.Errorf("%s is not among the types that the golden messages are run as", name)
			continue
		}
		if !used[name] {
			t.Errorf("%s has no golden message", name)
		}
		for member, f := range members(typ) {
			if promoted := len(f.Index) > 1; !promoted && !used[name+"."+member] {
				t.Errorf("no golden message has %s.%s", name, member)
			}
		}
	}
}

// mark records the members that a message of type typ has, in it and below.
func mark(used map[string]bool, typ reflect.Type, message json.RawMessage) {
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	switch {
	case typ.Kind() == reflect.Slice && typ.Elem().Kind() != reflect.Uint8:
		var items []json.RawMessage
		if json.Unmarshal(message, &items) == nil {
			for _, item := range items {
				mark(used, typ.Elem(), item)
			}
		}
	case typ.Kind() == reflect.Struct:
		var object map[string]json.RawMessage
		if json.Unmarshal(message, &object) != nil {
			return
		}
		all := members(typ)
		for name, value := range object {
			if f, ok := all[name]; ok {
				used[typ.Name()+"."+name] = true
				mark(used, f.Type, value)
			}
		}
	}
}

func members(typ reflect.Type) map[string]reflect.StructField {
	out := map[string]reflect.StructField{}
	if typ.Kind() != reflect.Struct {
		return out
	}
	for _, f := range reflect.VisibleFields(typ) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			out[name] = f
		}
	}
	return out
}

// structs lists the exported struct types of the package's source.
func structs(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.TypeSpec); ok && s.Name.IsExported() {
				if _, ok := s.Type.(*ast.StructType); ok {
					names = append(names, s.Name.Name)
				}
			}
			return true
		})
	}
	slices.Sort(names)
	return names
}
