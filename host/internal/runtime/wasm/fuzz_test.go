package wasm_test

import (
	"bytes"
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
	. "github.com/vespiary/vespiary/host/internal/runtime/wasm/wasmtest"
)

func seeds(f *testing.F) {
	f.Helper()
	f.Add(full())
	f.Add([]byte(nil))
	f.Add([]byte("\x00asm\x0d\x00\x01\x00"))
	f.Add(Assemble(Section(2, U32(0xffffffff))))
	f.Add(Guest{Code: Spin, Memory: []byte{0, 1}, Table: []byte{0, 1}, Start: true}.Bytes())
	f.Add(Assemble(Custom("name", Join([]byte{1}, U32(5), U32(0xffffffff)))))
}

// FuzzRead: any bytes are either read or refused with an *Error that points into
// them, and what is read can be rewritten.
func FuzzRead(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		m, err := wasm.Read(b, wasm.Limits{Pages: 1024, Table: 1000})
		if !bytes.Equal(b, before) {
			t.Fatal("reading changed the module")
		}
		if err != nil {
			var e *wasm.Error
			if !errors.As(err, &e) || e.Offset < 0 || e.Offset > len(b) {
				t.Fatalf("%v of %d bytes", err, len(b))
			}
			return
		}
		if got := len(m.Imports) + len(m.Exports) + len(m.Tables) + m.Functions; got > len(b) {
			t.Fatalf("%d things in %d bytes", got, len(b))
		}
		rewriteAll(t, b, m)
	})
}

func rewriteAll(t *testing.T, b []byte, before *wasm.Module) {
	t.Helper()
	out, err := wasm.Strip(b)
	if err == nil {
		out, err = wasm.RenameImport(out, func(m, n string) (string, string) { return m, n })
	}
	if err == nil {
		out, err = wasm.ClampTables(out, 1000)
	}
	if err != nil {
		t.Fatal(err)
	}
	after, err := wasm.Read(out, wasm.Limits{Pages: 1024, Table: 1000})
	if err != nil {
		t.Fatalf("a rewritten module is refused: %v", err)
	}
	if diff := cmp.Diff(before, after, cmpopts.IgnoreUnexported(wasm.Module{}), cmpopts.IgnoreFields(wasm.Module{}, "Tables")); diff != "" {
		t.Fatalf("rewriting changed the module (-before +after):\n%s", diff)
	}
	for _, table := range after.Tables {
		if !table.Bounded || table.Max > 1000 {
			t.Fatalf("table %+v is not bounded", table)
		}
	}
}

// FuzzSections: whatever a module's sections, one that is put in is found again,
// leaves the others alone, and is gone after Strip.
func FuzzSections(f *testing.F) {
	f.Add(full(), "vespiary.manifest", []byte("{}"))
	f.Add(Assemble(), "", []byte(nil))
	f.Fuzz(func(t *testing.T, b []byte, name string, payload []byte) {
		plain, err := wasm.Strip(b)
		if err != nil {
			return
		}
		with, err := wasm.WithSection(b, name, payload)
		if (err == nil) != utf8.ValidString(name) {
			t.Fatal(err)
		}
		if err != nil {
			return
		}
		if m, err := wasm.Read(with, wasm.Limits{}); err == nil {
			if got := m.Custom(name); len(got) != 1 || !bytes.Equal(got[0], payload) {
				t.Fatalf("section holds %q, want %q", got, payload)
			}
		}
		stripped, err := wasm.Strip(with)
		if name == "name" {
			return // may stay, or push out another
		}
		if err != nil || !bytes.Equal(stripped, plain) {
			t.Fatal("a custom section changed what is compiled")
		}
		if again, err := wasm.Strip(plain); err != nil || !bytes.Equal(again, plain) {
			t.Fatalf("stripping twice differs: %v", err)
		}
	})
}
