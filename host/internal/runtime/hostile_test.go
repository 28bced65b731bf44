package runtime

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	goruntime "runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/runtime/image"
	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
	. "github.com/vespiary/vespiary/host/internal/runtime/wasm/wasmtest"
)

type silentHost struct{}

func (silentHost) Call(context.Context, string, []byte) ([]byte, error) { return nil, nil }

func hostileConfig() Config {
	return Config{Host: silentHost{}, Clock: time.Now, Random: rand.Reader}
}

func hostileEngine(tb testing.TB) *native {
	tb.Helper()
	e, err := NewNative(Options{MemoryLimit: 8 << 20, Imports: []string{abi.CallToolCall, abi.CallHTTPFetch}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = e.Close(context.Background()) })
	return e.(*native)
}

// oneCall is a guest that makes one host call with constant arguments and drops
// what it returns.
func oneCall(namespace, name string, typ wasm.FuncType, args []int64) []byte {
	var code []byte
	for i, p := range typ.Params {
		op := byte(I64Const)
		if p == wasm.I32 {
			op, args[i] = I32Const, int64(int32(args[i]))
		}
		code = Join(code, []byte{op}, S64(args[i]))
	}
	code = append(code, Call, 0)
	for range typ.Results {
		code = append(code, Drop)
	}
	im := ImportFunc(namespace, name, typeBytes(typ.Params), typeBytes(typ.Results))
	return Guest{Imports: []Import{im}, Memory: []byte{0, 1}, Code: code}.Bytes()
}

func typeBytes(ts []wasm.ValueType) []byte {
	out := make([]byte, len(ts))
	for i, t := range ts {
		out[i] = byte(t)
	}
	return out
}

// harmless are the host functions that take any offset for none.
var harmless = []string{"alloc", "free", "length", "length_unsafe"}

// TestWildOffsets calls each host function with offsets beyond the only block,
// the input. All but the harmless ones must end the guest, and nothing may end
// the host.
func TestWildOffsets(t *testing.T) {
	e := hostileEngine(t)
	wild := []int64{40, 1 << 16, 8<<20 - 4, 1 << 31, 1 << 32, 1<<63 - 1, -1 << 63, -8, -1}
	try := func(t *testing.T, namespace, name string, typ wasm.FuncType) {
		t.Helper()
		for _, off := range wild {
			if typ.Params[0] == wasm.I32 && uint32(off) < wasm.PageSize {
				continue // an address, and one that the guest has
			}
			args := slices.Repeat([]int64{off}, len(typ.Params))
			err := runOnce(t, e, oneCall(namespace, name, typ, args))
			ended := errors.As(err, new(*TrapError))
			if want := !slices.Contains(harmless, name); ended != want {
				t.Errorf("%s(%d): %v, want an end: %v", name, off, err, want)
			}
		}
	}
	for namespace, types := range map[string]map[string]wasm.FuncType{
		abi.NamespaceEnv: envTypes, abi.NamespaceMem: bulkTypes, abi.NamespaceUser: {abi.CallToolCall: typeMap},
	} {
		for name, typ := range types {
			if len(typ.Params) > 0 {
				t.Run(name, func(t *testing.T) { try(t, namespace, name, typ) })
			}
		}
	}
	for name, typ := range gated {
		if len(typ.Params) > 0 {
			t.Run(name, func(t *testing.T) { try(t, abi.NamespaceEnv, name, typ) })
		}
	}
}

func runOnce(t *testing.T, e Engine, module []byte) error {
	t.Helper()
	m, err := e.Load(t.Context(), module)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close(t.Context()) }()
	i, err := m.Instantiate(t.Context(), hostileConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = i.Close(t.Context()) }()
	_, err = i.Call(t.Context(), "run", []byte("input"))
	return err
}

// TestNullOffsets calls the functions for which 0 stands for nothing.
func TestNullOffsets(t *testing.T) {
	e := hostileEngine(t)
	tests := map[string]wasm.FuncType{
		"output_set": typePut2, "error_set": typePut, "config_get": typeMap, "var_get": typeMap, "var_set": typePut2,
		"log_info": typePut, "free": typePut, "length": typeMap, "alloc": typeMap,
	}
	for name, typ := range tests {
		if err := runOnce(t, e, oneCall(abi.NamespaceEnv, name, typ, make([]int64, len(typ.Params)))); err != nil {
			t.Errorf("%s(0): %v", name, err)
		}
	}
}

// TestNoMemory uses the bulk functions from a guest that has no memory.
func TestNoMemory(t *testing.T) {
	im := ImportFunc(abi.NamespaceMem, "block_new", []byte{I32, I32}, []byte{I64})
	module := Guest{Imports: []Import{im}, Code: []byte{I32Const, 0, I32Const, 1, Call, 0, Drop}}.Bytes()
	if err := runOnce(t, hostileEngine(t), module); !errors.As(err, new(*TrapError)) {
		t.Errorf("got %v", err)
	}
}

// TestVarLimit fills the variables of an instance.
func TestVarLimit(t *testing.T) {
	v := vars{limit: 100}
	if err := v.set("a", make([]byte, 60)); err != nil {
		t.Fatal(err)
	}
	if err := v.set("b", make([]byte, 60)); err == nil || !strings.Contains(err.Error(), "store less") {
		t.Errorf("beyond the limit: %v", err)
	}
	if err := v.set("a", make([]byte, 99)); err != nil {
		t.Errorf("replacing: %v", err)
	}
	v.remove("a")
	v.remove("a")
	if err := v.set("b", make([]byte, 99)); err != nil || v.size != 100 {
		t.Errorf("after removing: %v, %d bytes", err, v.size)
	}
}

// TestTablesAgree: every function that is checked is there, and the other way
// round.
func TestTablesAgree(t *testing.T) {
	if diff := cmp.Diff(slices.Sorted(maps.Keys(envTypes)), slices.Sorted(maps.Keys(kernel))); diff != "" {
		t.Errorf("extism:host/env (-checked +there):\n%s", diff)
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(bulkTypes)), slices.Sorted(maps.Keys(bulk))); diff != "" {
		t.Errorf("vespiary:mem (-checked +there):\n%s", diff)
	}
}

// TestSharedCode: modules that differ in a custom section are compiled once, and
// the code goes with the last module and instance.
func TestSharedCode(t *testing.T) {
	e := hostileEngine(t)
	var modules []Module
	for n := range 3 {
		b, err := wasm.WithSection(Guest{Memory: []byte{0, 1}}.Bytes(), abi.ManifestSection, fmt.Appendf(nil, "%d", n))
		if err != nil {
			t.Fatal(err)
		}
		m, err := e.Load(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		modules = append(modules, m)
	}
	i, err := modules[0].Instantiate(t.Context(), hostileConfig())
	if err != nil {
		t.Fatal(err)
	}
	if len(e.codes) != 1 {
		t.Errorf("%d compiled codes, want 1", len(e.codes))
	}
	if modules[0].Info().Digest == modules[1].Info().Digest {
		t.Error("different modules have one digest")
	}
	for _, m := range modules {
		_ = m.Close(t.Context())
		_ = m.Close(t.Context())
	}
	if _, err := i.Call(t.Context(), "run", nil); err != nil {
		t.Errorf("an instance of closed modules: %v", err)
	}
	_ = i.Close(t.Context())
	if len(e.codes) != 0 {
		t.Error("the code outlived its modules and instances")
	}
}

// TestMemoryIsCounted: of a base image counts what instances were seen to change,
// and all of it as long as none was.
func TestMemoryIsCounted(t *testing.T) {
	e := hostileEngine(t)
	// It changes one of the four pages that it has, and then has one page more.
	code := []byte{I32Const, 0, I32Const, 1, 0x36, 2, 0, I32Const, 1, 0x40, 0, Drop}
	m, err := e.Load(t.Context(), Guest{Memory: []byte{0, 4}, Code: code}.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	changed := int64(4 << 16)
	if goruntime.GOOS == "linux" {
		changed = image.PageSize
	}
	for _, want := range [][2]int64{{4 << 16, 5 << 16}, {changed, changed + 1<<16}} {
		i, err := m.Instantiate(t.Context(), hostileConfig())
		if err != nil {
			t.Fatal(err)
		}
		before := e.Memory() - instanceCost
		if _, err := i.Call(t.Context(), "run", nil); err != nil {
			t.Fatal(err)
		}
		if got := [2]int64{before, e.Memory() - instanceCost}; got != want {
			t.Errorf("before and after a call an instance counts as %d bytes, want %d", got, want)
		}
		_ = i.Close(t.Context())
	}
	if sum := e.Memory(); sum != 0 {
		t.Errorf("%d bytes are still counted", sum)
	}
}

// TestMemoryIsFreed counts the mappings that failing and trapping guests leave.
func TestMemoryIsFreed(t *testing.T) {
	e := hostileEngine(t)
	outside := Join([]byte{0, I32Const}, S64(65535), []byte{End, 2, 'h', 'i'})
	for name, module := range map[string][]byte{
		"data":  Guest{Memory: []byte{0, 1}, Data: [][]byte{outside}}.Bytes(),
		"start": Guest{Memory: []byte{0, 1}, Code: []byte{0}, Start: true}.Bytes(),
		"call":  Guest{Memory: []byte{0, 1}, Code: []byte{0}}.Bytes(),
	} {
		m, err := e.Load(t.Context(), module)
		if err != nil {
			t.Fatal(err)
		}
		i, err := m.Instantiate(t.Context(), hostileConfig())
		if err == nil {
			if sum := e.Memory(); sum != 64<<10+instanceCost {
				t.Errorf("%s: an instance with a page counts as %d bytes", name, sum)
			}
			_, err = i.Call(t.Context(), "run", nil)
		}
		if !errors.As(err, new(*TrapError)) {
			t.Fatalf("%s: %v", name, err)
		}
		if got := m.(*nativeModule).code.refs; got != 1 {
			t.Errorf("%s: %d uses of the code are left, want the module's", name, got)
		}
		if sum := e.Memory(); sum != 0 {
			t.Errorf("%s: %d bytes of memory are still counted", name, sum)
		}
		if n, ok := i.(*nativeInstance); ok && len(n.bytes()) > 0 {
			t.Errorf("%s: the memory is still mapped", name)
		}
	}
}
