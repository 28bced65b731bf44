package wasm_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
	. "github.com/vespiary/vespiary/host/internal/runtime/wasm/wasmtest"
)

func read(t *testing.T, b []byte, err error) *wasm.Module {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	m, err := wasm.Read(b, wasm.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestStrip(t *testing.T) {
	names := Join([]byte{0}, U32(5), String("prog"), []byte{1}, U32(6), Vec(Join(U32(1), String("run"))))
	tests := map[string]struct {
		in   []byte
		want int // name sections left
	}{
		"nothing to strip": {Assemble(Section(1, Vec())), 0},
		"names":            {Assemble(Custom("a", nil), Section(1, Vec()), Custom("name", names), Custom("b", []byte("b"))), 1},
		"two name sections": {
			Assemble(Custom("name", names), Custom("name", names)), 1,
		},
		"names with a huge count": {Assemble(Custom("name", Join([]byte{1}, U32(5), U32(0xffffffff)))), 0},
		"names too short":         {Assemble(Custom("name", Join([]byte{1, 9, 1, 1}))), 0},
		"local names":             {Assemble(Custom("name", Join([]byte{2, 6}, Vec(Join(U32(0), Vec(Join(U32(0), String("x")))))))), 1},
		"broken local names":      {Assemble(Custom("name", Join([]byte{2, 2, 1, 0}))), 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			out, err := wasm.Strip(test.in)
			m := read(t, out, err)
			if got := len(m.Custom("name")); got != test.want {
				t.Errorf("%d name sections are left, want %d", got, test.want)
			}
			if len(m.Custom("a"))+len(m.Custom("b")) > 0 {
				t.Error("other custom sections are left")
			}
		})
	}
}

func TestStripIgnoresCustomSections(t *testing.T) {
	a, err := wasm.Strip(full())
	if err != nil {
		t.Fatal(err)
	}
	other, err := wasm.WithSection(full(), "vespiary.manifest", []byte(`{"name":"another"}`))
	if err != nil {
		t.Fatal(err)
	}
	b, err := wasm.Strip(other)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("modules that differ in their manifest strip to different bytes")
	}
}

func TestWithSection(t *testing.T) {
	in := Assemble(Custom("m", []byte("old")), Section(1, Vec()), Custom("m", []byte("older")), Custom("n", []byte("n")))
	out, err := wasm.WithSection(in, "m", []byte("new"))
	m := read(t, out, err)
	if diff := cmp.Diff([][]byte{[]byte("new")}, m.Custom("m")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([][]byte{[]byte("n")}, m.Custom("n")); diff != "" {
		t.Errorf("the other section (-want +got):\n%s", diff)
	}
	if again, err := wasm.WithSection(out, "m", []byte("new")); err != nil || !bytes.Equal(again, out) {
		t.Errorf("replacing by the same changed the module: %v", err)
	}
}

func TestRenameImport(t *testing.T) {
	out, err := wasm.RenameImport(full(), func(module, name string) (string, string) {
		if name == "store_u8" {
			return "a-much-longer-module-name", "put"
		}
		return module, name
	})
	before, after := read(t, full(), nil), read(t, out, err)
	before.Imports[0].Module, before.Imports[0].Name = "a-much-longer-module-name", "put"
	if diff := cmp.Diff(before.Imports, after.Imports); diff != "" {
		t.Errorf("imports (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before.Exports, after.Exports); diff != "" {
		t.Errorf("exports (-want +got):\n%s", diff)
	}
}

func TestClampTables(t *testing.T) {
	in := Assemble(Section(4, Vec([]byte{0x70, 0, 3}, []byte{0x6f, 1, 0, 200}, []byte{0x70, 1, 3, 5})))
	in = bytes.Replace(in, []byte{0x6f, 1, 0, 200}, []byte{0x6f, 1, 0, 200, 1}, 1)
	in[9]++ // the maximum 200 takes two bytes
	out, err := wasm.ClampTables(in, 10)
	want := []wasm.Range{{Min: 3, Max: 10, Bounded: true}, {Max: 10, Bounded: true}, {Min: 3, Max: 5, Bounded: true}}
	if diff := cmp.Diff(want, read(t, out, err).Tables); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRewriteRefusesBrokenModules(t *testing.T) {
	broken := map[string][]byte{
		"no module":   []byte("x"),
		"cut imports": Assemble(Section(2, U32(3), []byte{1, 'm'})),
		"cut tables":  Assemble(Section(4, U32(3), []byte{0x70, 0, 0})),
	}
	for name, b := range broken {
		_, strip := wasm.Strip(b)
		_, with := wasm.WithSection(b, "m", nil)
		_, rename := wasm.RenameImport(b, func(m, n string) (string, string) { return m, n })
		_, clamp := wasm.ClampTables(b, 1)
		if strip == nil && with == nil && rename == nil && clamp == nil {
			t.Errorf("%s was rewritten", name)
		}
	}
}
