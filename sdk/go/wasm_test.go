//go:build !wasip1

package vespiary_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
)

// both are the SDK's two ways to memory.
var both = map[string][]string{"bulk": nil, "nobulk": {"-tags", "nobulk"}}

// TestWasmGolden runs the golden messages of the contract in Wasm.
func TestWasmGolden(t *testing.T) {
	h := newWasmHost(t, build(t, "testdata/guest"), nil)
	files, err := filepath.Glob("../../abi/testdata/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden messages: %v", err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_refused.jsonl") {
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(b) {
			var ex struct {
				Name    string          `json:"name"`
				Type    string          `json:"type"`
				Message json.RawMessage `json:"message"`
			}
			if err := json.Unmarshal(line, &ex); err != nil {
				t.Fatal(err)
			}
			t.Run(ex.Name, func(t *testing.T) {
				arguments, _ := json.Marshal(map[string]any{"type": ex.Type, "message": ex.Message})
				got := callTool(t, h, "roundtrip", arguments)
				if got.IsError {
					t.Fatal(abi.TextOf(got.Content))
				}
				if diff := cmp.Diff(value(t, ex.Message), value(t, got.StructuredContent)); diff != "" {
					t.Errorf("-golden +got:\n%s", diff)
				}
			})
		}
	}
}

func callTool(t *testing.T, h *wasmHost, name string, arguments json.RawMessage) abi.ToolResult {
	t.Helper()
	in, err := json.Marshal(abi.ToolCallParams{Name: name, Arguments: arguments})
	if err != nil {
		t.Fatal(err)
	}
	out, err := h.call(t, "call", in)
	if err != nil {
		t.Fatal(err)
	}
	var r abi.ToolResult
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func value(t *testing.T, b []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// files is a host of two-step files: a file holds its own name in upper case.
func files(started map[int][]byte) func(name string, request []byte) []byte {
	read := func(request []byte) []byte {
		var r abi.FileRead
		if err := json.Unmarshal(request, &r); err != nil || r.Path == "secret" {
			return []byte(`{"error":{"code":"denied","message":"no","policy":"p"}}`)
		}
		b, _ := json.Marshal(abi.FileContent{FileInfo: abi.FileInfo{Path: r.Path}, Text: strings.ToUpper(r.Path) + "!", EOF: true})
		return []byte(`{"ok":` + string(b) + `}`)
	}
	return func(name string, request []byte) []byte {
		switch name {
		case abi.CallFileRead:
			return read(request)
		case abi.CallStart:
			var s abi.Start
			if err := json.Unmarshal(request, &s); err != nil {
				return nil
			}
			id := len(started) + 1
			started[id] = read(s.Request)
			b, _ := json.Marshal(abi.Started{ID: id})
			return []byte(`{"ok":` + string(b) + `}`)
		case abi.CallWait:
			var w abi.WaitFor
			if err := json.Unmarshal(request, &w); err != nil {
				return nil
			}
			id := slices.Max(w.IDs) // the newest first
			b, _ := json.Marshal(id)
			return []byte(`{"ok":{"done":[{"id":` + string(b) + `,"result":` + string(started[id]) + `}]}}`)
		}
		return nil
	}
}

func TestWasmAgent(t *testing.T) {
	done := func(s string) abi.Reply {
		return abi.Reply{Status: abi.StatusDone, Content: []abi.Content{abi.Text(s)}}
	}
	tests := []struct {
		event string
		want  abi.Reply
	}{
		{"large", done(strings.Repeat("P", 10_003) + "!")},
		{"denied", abi.Reply{Status: abi.StatusFailed, Error: "denied: no (policy p)", Code: abi.CodeDenied}},
		{"parallel", done("A!! B!! C!!")},
		{"config", done("kmtrue")},
		{"panic", abi.Reply{Status: abi.StatusFailed, Error: "internal: the plugin panicked: runtime error: invalid memory address or nil pointer dereference", Code: abi.CodeInternal}},
		{"absent", abi.Reply{Status: abi.StatusFailed, Error: `no event "absent"`}},
	}
	for variant, arguments := range both {
		t.Run(variant, func(t *testing.T) {
			h := newWasmHost(t, build(t, "testdata/guest", arguments...), files(map[int][]byte{}))
			h.config["unit"] = "km"
			for _, test := range tests { // in one instance: a panic must leave it usable
				in, err := json.Marshal(abi.Event{Type: abi.EventSignal, Name: test.event})
				if err != nil {
					t.Fatal(err)
				}
				out, err := h.call(t, "handle", in)
				if err != nil {
					t.Fatalf("%s: %v", test.event, err)
				}
				var got abi.Reply
				if err := json.Unmarshal(out, &got); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("%s: -want +got:\n%s", test.event, diff)
				}
			}
			if !slices.Contains(h.logs, "unit is km") || !slices.ContainsFunc(h.logs, func(l string) bool { return strings.HasPrefix(l, "panic: ") }) {
				t.Errorf("logged %q", h.logs)
			}
		})
	}
}

func TestWasmRefusesBadInput(t *testing.T) {
	h := newWasmHost(t, build(t, "testdata/guest"), nil)
	for _, export := range []string{"handle", "call"} {
		if _, err := h.call(t, export, []byte("{")); err == nil || !strings.Contains(err.Error(), "does not decode") && !strings.Contains(err.Error(), "do not decode") {
			t.Errorf("%s of half an object: %v", export, err)
		}
	}
	if _, err := newWasmHost(t, build(t, "../../examples/hello"), nil).call(t, "handle", []byte("{}")); err == nil || !strings.Contains(err.Error(), "registers no agent") {
		t.Errorf("the agent of a tool: %v", err)
	}
}

// TestWasmImports checks that each plugin and example of this repository asks for
// what its manifest says and nothing else.
func TestWasmImports(t *testing.T) {
	manifests, err := filepath.Glob("../../*/*/plugin.yaml")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("../../plugins/*/*/plugin.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(manifests, more...) {
		folder := filepath.Dir(file)
		if _, err := os.Stat(filepath.Join(folder, "main.go")); errors.Is(err, os.ErrNotExist) {
			continue // in another language
		}
		t.Run(filepath.Base(folder), func(t *testing.T) {
			got := slices.Sorted(slices.Values(importsOf(t, build(t, folder))[abi.NamespaceUser]))
			if diff := cmp.Diff(needs(t, file), got); diff != "" {
				t.Errorf("-needs +imports:\n%s", diff)
			}
		})
	}
}

func TestWasmVariants(t *testing.T) {
	for variant, arguments := range both {
		bulk := importsOf(t, build(t, "testdata/guest", arguments...))[abi.NamespaceMem]
		if len(bulk) > 0 != (variant == "bulk") {
			t.Errorf("%s imports %v of %s", variant, bulk, abi.NamespaceMem)
		}
	}
}

// needs reads the list of that name; the SDK takes no YAML reader for it.
func needs(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`(?m)^needs:( \[\]|(?:\n  - .*)+)$`).FindStringSubmatch(string(b))
	if list == nil {
		t.Fatalf("%s has no list of needs", file)
	}
	var names []string
	for _, item := range regexp.MustCompile(`  - (\w+)`).FindAllStringSubmatch(list[1], -1) {
		names = append(names, item[1])
	}
	slices.Sort(names)
	return names
}
