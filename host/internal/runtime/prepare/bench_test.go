package prepare_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/vespiary/vespiary/host/internal/runtime/prepare"
)

// workload is an export of a module, and a number of rounds.
type workload struct {
	name string
	n    uint64
}

var workloadsC = []workload{
	{"arithmetic", 2_000_000},
	{"sieve", 8},
	{"matrix", 20},
	{"recursion", 27},
	{"calls", 1_000_000},
	{"hostcalls", 50_000},
	{"copyshort", 500_000},
	{"copylong", 200},
}

var workloadsGo = []workload{
	{"arithmetic", 1_000_000},
	{"sieve", 4},
	{"recursion", 20},
	{"hostcalls", 20_000},
	{"json", 100},
}

// BenchmarkMetering measures what metering costs. Both variants take turns, so that
// what else the machine does falls on both; the figures are the quotient of the
// fastest rounds, which were disturbed least, and the fuel per millisecond of one.
func BenchmarkMetering(b *testing.B) {
	b.Run("c", func(b *testing.B) { compareSpeed(b, compiledC(b, "bench.c"), workloadsC) })
	b.Run("go", func(b *testing.B) {
		compareSpeed(b, compiledGo(b, "./testdata/gobench", "-buildmode=c-shared"), workloadsGo)
	})
}

func compareSpeed(b *testing.B, module []byte, workloads []workload) {
	b.Helper()
	plain, other := benchInstance(b, module), benchInstance(b, metered(b, module))
	for _, w := range workloads {
		b.Run(w.name, func(b *testing.B) {
			var times [2][]time.Duration
			var used int64
			for b.Loop() {
				times[0] = append(times[0], timed(b, plain, w))
				before := fuelOf(other)
				times[1] = append(times[1], timed(b, other, w))
				used = before - fuelOf(other)
			}
			a, m := slices.Min(times[0]), slices.Min(times[1])
			b.ReportMetric(float64(m)/float64(a), "metered/plain")
			b.ReportMetric(float64(used)/(float64(m)/float64(time.Millisecond)), "fuel/ms")
		})
	}
}

func timed(b *testing.B, m api.Module, w workload) time.Duration {
	b.Helper()
	from := time.Now()
	if _, err := m.ExportedFunction(w.name).Call(b.Context(), w.n); err != nil {
		b.Fatal(err)
	}
	return time.Since(from)
}

// benchInstance returns an instance with fuel that does not end.
func benchInstance(tb testing.TB, code []byte) api.Module {
	tb.Helper()
	ctx := tb.Context()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig())
	tb.Cleanup(func() { _ = r.Close(context.Background()) })
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	instantiateMeter(tb, r, func(m api.Module) { setFuel(m, 1<<60) })
	_, err := r.NewHostModuleBuilder("host").NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(func(context.Context, api.Module, []uint64) {}), []api.ValueType{api.ValueTypeI64}, []api.ValueType{api.ValueTypeI64}).
		Export("noop").Instantiate(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	m, err := r.InstantiateWithConfig(ctx, code, wazero.NewModuleConfig().WithStartFunctions("_initialize"))
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func fuelOf(m api.Module) int64 {
	g := m.ExportedGlobal(prepare.ExportFuel)
	if g == nil {
		return 0
	}
	return int64(g.Get())
}

// compiledC builds a module from a file of testdata.
func compiledC(tb testing.TB, file string) []byte {
	tb.Helper()
	for _, tool := range []string{"clang", "wasm-ld"} {
		if _, err := exec.LookPath(tool); err != nil {
			tb.Skipf("%s is not installed; install it to run this", tool)
		}
	}
	out := filepath.Join(tb.TempDir(), "module.wasm")
	script := `clang --target=wasm32-unknown-unknown -O2 -ffreestanding -mbulk-memory -c -o "$2.o" "$1" && wasm-ld --no-entry --strip-debug -o "$2" "$2.o"`
	if log, err := exec.CommandContext(tb.Context(), "sh", "-ec", script, "sh", filepath.Join("testdata", file), out).CombinedOutput(); err != nil {
		tb.Fatalf("build %s: %v\n%s", file, err, log)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}
