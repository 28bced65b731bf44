package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tetratelabs/wazero"

	"github.com/vespiary/vespiary/host/internal/runtime"
	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
	. "github.com/vespiary/vespiary/host/internal/runtime/wasm/wasmtest"
)

// moduleDir is where the go command keeps the source of a dependency.
func moduleDir(tb testing.TB, path string) string {
	tb.Helper()
	out, err := exec.CommandContext(tb.Context(), "go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	if err != nil || len(strings.TrimSpace(string(out))) == 0 {
		if os.Getenv("CI") == "true" {
			tb.Fatalf("the source of %s is not here: %v", path, err)
		}
		tb.Skipf("the source of %s is not here; download it with go mod download", path)
	}
	return strings.TrimSpace(string(out))
}

// TestForeignPlugins runs the plugins that Extism tests its own SDK with, which
// were built with its PDKs for Go, Rust, Haskell and others. Whatever they do,
// they must do the same on both engines.
func TestForeignPlugins(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(moduleDir(t, "github.com/extism/go-sdk"), "wasm", "*.wasm"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no plugins: %v", err)
	}
	worked := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".wasm")
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if name == "alloc" { // Extism's kernel takes a minute for it
				runForeign(t, runtime.NewNative, b)
				return
			}
			var outcomes [2][]string
			for n, e := range engines {
				outcomes[n] = runForeign(t, e.make, b)
			}
			if diff := cmp.Diff(outcomes[1], outcomes[0]); diff != "" {
				t.Errorf("(-Extism's SDK +native):\n%s", diff)
			}
			worked += strings.Count(strings.Join(outcomes[0], "\n"), "returned")
		})
	}
	if worked < 20 {
		t.Errorf("only %d exports worked", worked)
	}
}

// runForeign calls every export of a plugin on an instance of its own and tells
// what came of it.
func runForeign(t *testing.T, start func(runtime.Options) (runtime.Engine, error), b []byte) []string {
	t.Helper()
	o := options(t)
	m, err := newEngine(t, start, o).Load(t.Context(), b)
	if err != nil {
		return []string{err.Error()}
	}
	defer closed(t, m)
	var outcomes []string
	for _, e := range m.Info().Exports {
		if e.Kind != wasm.Func || len(e.Type.Params) > 0 || strings.HasPrefix(e.Name, "_") {
			continue
		}
		for _, input := range []string{"", "hello, world", `{"url":"https://a.example/x","method":"GET"}`} {
			outcomes = append(outcomes, e.Name+"("+input+") "+outcome(t, m, e.Name, input))
		}
	}
	return outcomes
}

func outcome(t *testing.T, m runtime.Module, export, input string) string {
	t.Helper()
	var logged records
	c := config()
	c.Host, c.Log, c.Vars = webHost, logged.log, map[string]string{"thing": "a thing"}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	i, err := m.Instantiate(ctx, c)
	var out []byte
	if err == nil {
		out, err = i.Call(ctx, export, []byte(input))
		defer closed(t, i)
	}
	var trap *runtime.TrapError
	switch {
	case errors.As(err, &trap):
		return fmt.Sprintf("ended: %s, %q", trap.Reason, logged.lines)
	case err != nil:
		return fmt.Sprintf("failed: %v, %q", err, logged.lines)
	}
	return fmt.Sprintf("returned %q, %q", out, logged.lines)
}

// TestSpecification reads the modules of the WebAssembly specification's own
// tests. A module that wazero takes must be taken, unless it needs something that
// no plugin gets: a large memory or table.
func TestSpecification(t *testing.T) {
	root := filepath.Join(moduleDir(t, "github.com/tetratelabs/wazero"), "internal", "integration_test", "spectest")
	var files []string
	for _, version := range []string{"v1", "v2"} {
		found, err := filepath.Glob(filepath.Join(root, version, "testdata", "*.wasm"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 1000 {
		t.Fatalf("%d modules in %s", len(files), root)
	}
	ctx := t.Context()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer closed(t, r)
	taken := 0
	for n, file := range files {
		if testing.Short() && n%10 > 0 {
			continue
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, readErr := wasm.Read(b, wasm.Limits{}); readErr == nil {
			taken++
			checkRewritten(t, r, file, b)
		} else if m, err := r.CompileModule(ctx, b); err == nil {
			if !strings.Contains(readErr.Error(), "demands a table") {
				t.Errorf("%s: %v", filepath.Base(file), readErr)
			}
			closed(t, m)
		}
	}
	t.Logf("%d of %d modules were read", taken, len(files))
}

// checkRewritten demands that wazero says the same about a module and what was
// made of it.
func checkRewritten(t *testing.T, r wazero.Runtime, file string, b []byte) {
	t.Helper()
	out, err := wasm.Strip(b)
	if err == nil {
		out, err = wasm.RenameImport(out, func(m, n string) (string, string) {
			if m == "" {
				return m, n
			}
			return m + "x", n
		})
	}
	if err == nil {
		out, err = wasm.ClampTables(out, 1_000_000)
	}
	if err != nil {
		t.Errorf("%s: rewriting: %v", filepath.Base(file), err)
		return
	}
	before, errBefore := r.CompileModule(t.Context(), b)
	after, errAfter := r.CompileModule(t.Context(), out)
	if (errBefore == nil) != (errAfter == nil) {
		t.Errorf("%s: %v before and %v after rewriting", filepath.Base(file), errBefore, errAfter)
	}
	if errBefore == nil {
		closed(t, before)
	}
	if errAfter == nil {
		closed(t, after)
	}
}

// FuzzCompile gives to wazero what the reader took: whatever it says of it, it
// must survive it.
func FuzzCompile(f *testing.F) {
	f.Add(recursive())
	f.Add(callsThenSpins())
	f.Add(Guest{Memory: []byte{1, 1, 2}, Table: []byte{0, 9}, Data: [][]byte{{0, I32Const, 0, End, 1, 'x'}}, Start: true}.Bytes())
	f.Add(Guest{Code: []byte{I32Const, 0, 0x0e, 1, 0, 0, 0xd0, 0x70, I32Const, 1, 0xfc, 15, 0, Drop}, Table: []byte{0, 1}}.Bytes())
	r := wazero.NewRuntimeWithConfig(f.Context(), wazero.NewRuntimeConfigInterpreter().WithMemoryLimitPages(1024))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := wasm.Read(b, wasm.Limits{Pages: 1024, Table: 1000}); err != nil {
			return
		}
		if m, err := r.CompileModule(t.Context(), b); err == nil {
			closed(t, m)
		}
	})
}
