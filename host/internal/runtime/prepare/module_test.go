package prepare_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/vespiary/vespiary/host/internal/runtime/prepare"
)

// TestGoProgram demands that a program does the same as it is, metered, and as a
// metered image, and takes the same fuel both times.
func TestGoProgram(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("compiling a Go program takes long; run without -short and -race")
	}
	module := compiledGo(t, "./testdata/go")
	var want string
	var fuel int64
	for _, v := range variants {
		out, used := runProgram(t, v, module)
		switch {
		case want == "":
			want = out
		case out != want || len(out) < 40:
			t.Errorf("%s prints %q, untouched %q", v.name, out, want)
		case fuel == 0:
			fuel = used
		case used != fuel:
			t.Errorf("%s takes %d of fuel, metered alone %d", v.name, used, fuel)
		}
	}
	if fuel < 100_000 {
		t.Errorf("took %d of fuel", fuel)
	}
}

// runProgram returns the output and the fuel it took.
func runProgram(t *testing.T, v variant, module []byte) (string, int64) {
	t.Helper()
	ctx := t.Context()
	code, result, err := v.make(module)
	if err != nil {
		t.Fatal(err)
	}
	if result != nil && len(result.Blocked) > 0 {
		t.Fatalf("blocked: %q", result.Blocked)
	}
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig())
	defer func() { _ = r.Close(context.Background()) }()
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	const slice = 10_000
	used := int64(0)
	instantiateMeter(t, r, func(m api.Module) {
		used += slice
		setFuel(m, fuelOf(m)+slice)
	})
	var out bytes.Buffer
	m, err := r.InstantiateWithConfig(ctx, code, wazero.NewModuleConfig().WithStdout(&out).WithStderr(&out).WithStartFunctions())
	if err != nil {
		t.Fatal(err)
	}
	if result != nil {
		if err := boot(ctx, m, result); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = m.ExportedFunction("_start").Call(ctx) // ends by proc_exit
	left := int64(0)
	if g := m.ExportedGlobal(prepare.ExportFuel); g != nil {
		left = int64(g.Get())
	}
	return out.String(), used - left
}

// compiledGo builds a module from a folder of testdata.
func compiledGo(tb testing.TB, dir string, flags ...string) []byte {
	tb.Helper()
	out := filepath.Join(tb.TempDir(), "go.wasm")
	args := append([]string{"build", "-trimpath", "-o", out}, flags...)
	cmd := exec.CommandContext(tb.Context(), "go", append(args, dir)...)
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if log, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("build: %v\n%s", err, log)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// built returns the plugins and guests that other builds left behind.
func built(tb testing.TB) map[string][]byte {
	tb.Helper()
	found := map[string][]byte{}
	for _, pattern := range []string{"plugins/dist/*.wasm", ".cache/guests/*.wasm"} {
		files, err := filepath.Glob(filepath.Join("..", "..", "..", "..", filepath.FromSlash(pattern)))
		if err != nil {
			tb.Fatal(err)
		}
		for _, file := range files {
			if b, err := os.ReadFile(file); err == nil {
				found[filepath.Base(file)] = b
			}
		}
	}
	if len(found) == 0 {
		tb.Skip("no plugin is built; run make plugins")
	}
	return found
}

// TestBuiltModules prepares every plugin and guest for images. The engine must take
// the outcome, and nothing must stand in the way of an image.
func TestBuiltModules(t *testing.T) {
	r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter())
	defer func() { _ = r.Close(context.Background()) }()
	for name, b := range built(t) {
		p, err := prepare.Prepare(b, prepare.Options{Image: true})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(p.Blocked) > 0 || len(p.Globals) == 0 {
			t.Errorf("%s: blocked by %q, globals %q", name, p.Blocked, p.Globals)
		}
		if testing.Short() || raceDetector {
			continue
		}
		if err := compiles(t, r, p.Code); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func BenchmarkPrepare(b *testing.B) {
	for name, module := range built(b) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(module)))
			b.ReportAllocs()
			var p *prepare.Result
			for b.Loop() {
				var err error
				if p, err = prepare.Prepare(module, prepare.Options{Image: true}); err != nil {
					b.Fatal(err)
				}
			}
			data := 0
			for _, d := range p.Data {
				data += len(d.Data)
			}
			b.ReportMetric(float64(len(p.Data)), "segments")
			b.ReportMetric(float64(len(p.Code)+data)/float64(len(module)), "size/size")
		})
	}
}
