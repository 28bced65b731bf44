package runtime_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/runtime"
	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
	. "github.com/vespiary/vespiary/host/internal/runtime/wasm/wasmtest"
)

func importing(module, name string, params, results []byte) []byte {
	return Guest{Imports: []Import{ImportFunc(module, name, params, results)}}.Bytes()
}

func TestRefusedImports(t *testing.T) {
	twice, err := wasm.Strip(Assemble())
	if err != nil {
		t.Fatal(err)
	}
	manifest := Custom(abi.ManifestSection, []byte("{}"))
	tests := map[string]struct {
		module []byte
		want   string
	}{
		"capability":       {importing(abi.NamespaceUser, "agent_call", []byte{I64}, []byte{I64}), "asks for the capability agent_call and the host offers http_fetch, tool_call"},
		"capability type":  {importing(abi.NamespaceUser, "tool_call", []byte{I32}, []byte{I64}), "tool_call as (i32) -> i64 and it is (i64) -> i64"},
		"environment":      {importing(abi.NamespaceEnv, "fork", nil, nil), "imports fork from extism:host/env; the host offers alloc, "},
		"environment type": {importing(abi.NamespaceEnv, "alloc", nil, nil), "alloc as () -> () and it is (i64) -> i64"},
		"gated type":       {importing(abi.NamespaceEnv, "log_info", nil, nil), "log_info as () -> () and it is (i64) -> ()"},
		"gate itself":      {importing("vespiary:gate", "http_request", []byte{I64, I64}, []byte{I64}), "imports http_request from vespiary:gate; the host offers extism:host/env"},
		"namespace":        {importing("env", "abort", nil, nil), "imports abort from env; the host offers"},
		"wasi function":    {importing("wasi_snapshot_preview1", "fork", nil, nil), "imports fork from wasi_snapshot_preview1; the host offers args_get, "},
		"wasi type":        {importing("wasi_snapshot_preview1", "sched_yield", nil, nil), "sched_yield as () -> () and it is () -> i32"},
		"memory":           {Assemble(Section(2, Vec(Join(String("env"), String("memory"), []byte{2, 0, 1})))), "imports the memory env.memory"},
		"two manifests":    {append(append(twice, manifest...), manifest...), "carries 2 manifests"},
		"component":        {[]byte("\x00asm\x0d\x00\x01\x00"), "component"},
		"not well typed":   {Guest{Code: []byte{Drop}}.Bytes(), "drop"},
		"import bomb":      {Assemble(Section(2, U32(0xffffffff))), "exceed the limit"},
		"memory at once":   {Guest{Memory: Join([]byte{0}, U32(1025))}.Bytes(), "64 MiB of memory at once"},
	}
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		for name, test := range tests {
			_, err := e.Load(t.Context(), test.module)
			if !errors.Is(err, runtime.ErrRefused) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: got %v, want a refusal with …%s…", name, err, test.want)
			}
		}
	})
}

func TestBulkNeedsNative(t *testing.T) {
	module := importing(abi.NamespaceMem, "block_new", []byte{I32, I32}, []byte{I64})
	load(t, newEngine(t, runtime.NewNative, options(t)), module)
	_, err := newEngine(t, runtime.NewExtism, options(t)).Load(t.Context(), module)
	if !errors.Is(err, runtime.ErrRefused) || !strings.Contains(err.Error(), "build the plugin without bulk copies") {
		t.Errorf("got %v", err)
	}
}

func TestHTTPIsACapability(t *testing.T) {
	module := importing(abi.NamespaceEnv, "http_request", []byte{I64, I64}, []byte{I64})
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		m := load(t, e, module)
		if diff := cmp.Diff([]string{abi.CallHTTPFetch}, m.Info().Capabilities); diff != "" {
			t.Errorf("capabilities (-want +got):\n%s", diff)
		}
	})
	o := options(t)
	o.Imports = nil
	for _, e := range engines {
		if _, err := newEngine(t, e.make, o).Load(t.Context(), module); !errors.Is(err, runtime.ErrRefused) {
			t.Errorf("%s: http_request without http_fetch: %v", e.name, err)
		}
	}
}

func TestInfo(t *testing.T) {
	module, err := wasm.WithSection(wasmOf(t, "c"), abi.ManifestSection, []byte(`{"name":"c"}`))
	if err != nil {
		t.Fatal(err)
	}
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		info := load(t, e, module).Info()
		if string(info.Manifest) != `{"name":"c"}` || info.Size != int64(len(module)) || info.Memory.Min == 0 {
			t.Errorf("info is %+v", info)
		}
		if !strings.HasPrefix(info.Digest, "sha256:") || len(info.Digest) != 71 {
			t.Errorf("digest is %q", info.Digest)
		}
		if diff := cmp.Diff([]string{abi.CallHTTPFetch, abi.CallToolCall}, info.Capabilities); diff != "" {
			t.Errorf("capabilities (-want +got):\n%s", diff)
		}
		if !slices.ContainsFunc(info.Imports, func(i wasm.Import) bool { return i.Module == abi.NamespaceEnv && i.Name == "http_request" }) {
			t.Error("the imports are not those of the module as it was given")
		}
	})
}

func TestExportsThatCannotBeCalled(t *testing.T) {
	module := Assemble(
		Section(1, Vec(Type([]byte{I32}, nil), Type(nil, []byte{I64}), Type(nil, nil))),
		Section(3, Vec([]byte{0}, []byte{1}, []byte{2})),
		Section(5, Vec([]byte{0, 1})),
		Section(7, Vec(Join(String("param"), []byte{0, 0}), Join(String("long"), []byte{0, 1}), Join(String("void"), []byte{0, 2}), Join(String("memory"), []byte{2, 0}))),
		Section(10, Vec(Body(), Body(I64Const, 1), Body())))
	tests := map[string]string{
		"missing": "plugin has no function missing; it has void",
		"memory":  "plugin has no function memory; it has void",
		"param":   "plugin function param is (i32) -> (); it must be () -> i32 or () -> ()",
		"long":    "plugin function long is () -> i64",
	}
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		i := instantiate(t, load(t, e, module), config())
		for export, want := range tests {
			if _, err := i.Call(t.Context(), export, nil); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %s", export, err, want)
			}
		}
		must(t, i, "void", nil)
	})
}

// TestCommand runs modules whose initialisation is not a reactor's.
func TestCommand(t *testing.T) {
	sets := func(name string) []byte { // name sets a global; run traps unless it is set
		return Assemble(
			Section(1, Vec(Type(nil, nil))), Section(3, Vec([]byte{0}, []byte{0})),
			Section(6, Vec([]byte{I32, 1, I32Const, 0, End})),
			Section(7, Vec(Join(String(name), []byte{0, 0}), Join(String("run"), []byte{0, 1}))),
			Section(10, Vec(Body(I32Const, 1, 0x24, 0), Body(0x23, 0, 0x45, 0x04, 0x40, 0x00, End))))
	}
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		for _, name := range []string{"_initialize", "__wasm_call_ctors"} {
			must(t, instantiate(t, load(t, e, sets(name)), config()), "run", nil)
		}
		i := instantiate(t, load(t, e, sets("_start")), config())
		must(t, i, "_start", nil)
		must(t, i, "run", nil)
		i = instantiate(t, load(t, e, sets("_start")), config())
		_, err := i.Call(t.Context(), "run", nil)
		wantTrap(t, err, "unreachable", nil) // nobody started it
	})
}

func TestConfigIsChecked(t *testing.T) {
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		m := load(t, e, wasmOf(t, "c"))
		for want, change := range map[string]func(*runtime.Config){
			"Config.Clock is missing":                       func(c *runtime.Config) { c.Clock = nil },
			"Config.Random is missing":                      func(c *runtime.Config) { c.Random = nil },
			"imports http_fetch and Config.Host is missing": func(c *runtime.Config) { c.Host = nil },
		} {
			c := config()
			change(&c)
			if _, err := m.Instantiate(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		}
	})
}

// TestDamagedCache loads a module whose compiled code was overwritten, and one
// when the cache is not a directory.
func TestDamagedCache(t *testing.T) {
	o := options(t)
	o.CacheDir = t.TempDir()
	var warnings bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&warnings, nil))
	whole := Guest{ // traps unless its data is there
		Memory: []byte{0, 1},
		Data:   [][]byte{{0, I32Const, 1, End, 1, 'x'}},
		Code:   []byte{I32Const, 1, 0x2d, 0, 0, 0x45, 0x04, 0x40, 0x00, End},
	}.Bytes()
	run := func() {
		t.Helper()
		i := instantiate(t, load(t, newEngine(t, runtime.NewNative, o), whole), config())
		must(t, i, "run", nil)
	}
	run()
	if warnings.Len() > 0 {
		t.Fatalf("a good cache warned: %s", &warnings)
	}
	files, err := filepath.Glob(filepath.Join(o.CacheDir, "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the cache holds %v, %v", files, err)
	}
	if err := os.WriteFile(files[0], []byte("WAZEVO and then some that is no code"), 0o600); err != nil {
		t.Fatal(err)
	}
	run()
	o.CacheDir = files[0]
	run()
	if got := strings.Count(warnings.String(), "without the cache"); got == 0 {
		t.Errorf("no warning: %s", &warnings)
	}
}

func TestLoadHonoursContext(t *testing.T) {
	module := wasmOf(t, "go")
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		m, err := e.Load(ctx, module) // may come from the cache all the same
		if err == nil {
			err = m.Close(ctx)
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		load(t, e, module) // the failure is not remembered
	})
}
