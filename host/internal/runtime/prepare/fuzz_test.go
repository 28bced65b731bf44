package prepare_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/vespiary/vespiary/host/internal/runtime/prepare"
	"github.com/vespiary/vespiary/host/internal/runtime/wasm/format"
	. "github.com/vespiary/vespiary/host/internal/runtime/wasm/wasmtest"
)

// FuzzPrepare: whatever the bytes, Prepare neither panics nor changes what is valid,
// and it does not allocate out of proportion.
func FuzzPrepare(f *testing.F) {
	f.Add(tiny())
	f.Add(bulkModule())
	f.Add(function(nil, Spin...))
	f.Add(Assemble(Section(2, U32(0xffffffff))))
	root := specification(f)
	files, err := filepath.Glob(filepath.Join(root, "v2", "testdata", "*.0.wasm"))
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && len(b) < 4096 {
			f.Add(b)
		}
	}
	r := wazero.NewRuntimeWithConfig(f.Context(), wazero.NewRuntimeConfigInterpreter().WithMemoryLimitPages(1024))
	f.Fuzz(func(t *testing.T, module []byte) {
		before := bytes.Clone(module)
		for _, o := range []prepare.Options{{Table: 1000}, {Table: 1000, Image: true}} {
			p, err := prepare.Prepare(module, o)
			if !bytes.Equal(module, before) {
				t.Fatal("the module was changed")
			}
			if err != nil {
				continue
			}
			if len(p.Code) > 16*len(module)+4096 {
				t.Fatalf("%d bytes become %d", len(module), len(p.Code))
			}
			was, is := compiles(t, r, withoutCustom(t, module)), compiles(t, r, p.Code)
			if (was == nil) != (is == nil) {
				t.Fatalf("image %v: untouched %v, prepared %v", o.Image, was, is)
			}
		}
	})
}

// withoutCustom drops the custom sections, of which a damaged one must not matter.
func withoutCustom(t *testing.T, module []byte) []byte {
	t.Helper()
	all, err := format.Split(module)
	if err != nil {
		t.Fatal(err)
	}
	return format.Join(slices.DeleteFunc(all, func(s format.Section) bool { return s.ID == format.SectionCustom }))
}

func compiles(t *testing.T, r wazero.Runtime, code []byte) error {
	t.Helper()
	m, err := r.CompileModule(t.Context(), code)
	if err == nil {
		err = m.Close(t.Context())
	}
	return err
}

// FuzzBody puts the bytes into a function among memory, tables, globals and
// segments. What the engine takes is run as it is and as prepared, unless it takes
// too much fuel, and must do the same.
func FuzzBody(f *testing.F) {
	f.Add([]byte{0x20, 0, 0x20, 1, 0x6a})
	f.Add([]byte{I32Const, 0, I32Const, 7, I32Const, 0xff, 0xff, 3, 0xfc, 11, 0, I32Const, 3, 0x28, 2, 0})
	f.Add(Join([]byte{Loop, BlockVoid, 0x20, 0, I32Const, 1, 0x6b, 0x22, 0, 0x0d, 0, End}, []byte{0x20, 0}))
	f.Add([]byte{I32Const, 0, 0x28, 2, 0, 0x04, I32, Call, 1, 0x05, I32Const, 2, End})
	f.Add([]byte{0x20, 0, 0xd2, 1, 0x20, 1, 0xfc, 17, 0, 0xd0, 0x70, 0x20, 1, 0xfc, 15, 0})
	f.Add([]byte{I32Const, 1, 0x24, 0, I32Const, 0, I32Const, 0, 0x20, 0, 0xfc, 8, 0, 0, 0x23, 0, 0xfc, 9, 0})
	f.Add([]byte{0x02, BlockVoid, 0x20, 0, 0x0e, 2, 0, 1, 0, End, I32Const, 0, 0x11, 1, 0, Call, 2})
	f.Fuzz(func(t *testing.T, code []byte) {
		module := around(code)
		p, err := prepare.Prepare(module, prepare.Options{Table: 1000})
		if err != nil {
			return
		}
		r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter().WithMemoryLimitPages(16))
		defer func() { _ = r.Close(t.Context()) }()
		if was, is := compiles(t, r, module), compiles(t, r, p.Code); (was == nil) != (is == nil) {
			t.Fatalf("untouched %v, prepared %v", was, is)
		} else if was != nil {
			return
		}
		left := 2000
		instantiateMeter(t, r, func(m api.Module) {
			if left--; left < 0 {
				panic(errFuel)
			}
			setFuel(m, 0)
		})
		got, ended := effect(t, r, p.Code)
		if !ended {
			return
		}
		if want, _ := effect(t, r, module); got != want {
			t.Fatalf("prepared %s, untouched %s", got, want)
		}
	})
}

// around is a module whose function 0, exported as run, has the code.
func around(code []byte) []byte {
	leaf := []byte{4, 0, I32Const, 9, End}
	body := Join([]byte{0}, code, []byte{End})
	return Assemble(
		Section(1, Vec(Type([]byte{I32, I32}, []byte{I32}), Type(nil, []byte{I32}), Type(nil, nil))),
		Section(3, Vec([]byte{0}, []byte{1}, []byte{2})),
		Section(4, Vec(Join([]byte{0x70, 0}, U32(200)))),
		Section(5, Vec([]byte{0, 4})),
		Section(6, Vec([]byte{I32, 1, I32Const, 4, End}, []byte{I64, 1, I64Const, 4, End})),
		Section(7, Vec(
			Join(String("run"), []byte{0, 0}), Join(String("memory"), []byte{2, 0}),
			Join(String("g0"), []byte{3, 0}), Join(String("g1"), []byte{3, 1}),
		)),
		Section(9, Vec([]byte{0, I32Const, 0, End, 3, 1, 1, 2}, Join([]byte{1, 0}, U32(150), bytes.Repeat([]byte{1}, 150)))),
		Section(12, []byte{1}),
		Section(10, Vec(Join(U32(uint32(len(body))), body), leaf, Body(Call, 2))),
		Section(11, Vec(Join([]byte{1}, U32(2000), make([]byte, 2000)))),
	)
}

// effect runs the module and returns its result, globals and memory; false if the
// fuel ended.
func effect(t *testing.T, r wazero.Runtime, code []byte) (string, bool) {
	t.Helper()
	ctx := t.Context()
	m, err := r.InstantiateWithConfig(ctx, code, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close(ctx) }()
	results, err := m.ExportedFunction("run").Call(ctx, 70_000, 3)
	if errors.Is(err, errFuel) {
		return "", false
	}
	memory, _ := m.Memory().Read(0, m.Memory().Size())
	return fmt.Sprint(results, failureOf(err), m.ExportedGlobal("g0").Get(), m.ExportedGlobal("g1").Get(), len(memory), crc32.ChecksumIEEE(memory)), true
}

// failureOf is failure, but for the depth of the stack, which helpers share.
func failureOf(err error) string {
	if err != nil && strings.Contains(err.Error(), "stack overflow") {
		return "stack overflow"
	}
	return failure(err)
}
