package prepare_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/vespiary/vespiary/host/internal/runtime/prepare"
	. "github.com/vespiary/vespiary/host/internal/runtime/wasm/wasmtest"
)

// metered prepares a module.
func metered(tb testing.TB, module []byte) []byte {
	tb.Helper()
	r, err := prepare.Prepare(module, prepare.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return r.Code
}

// start instantiates a module in an engine of its own.
func start(tb testing.TB, config wazero.RuntimeConfig, code []byte, yield func(m api.Module)) api.Module {
	tb.Helper()
	ctx := tb.Context()
	r := wazero.NewRuntimeWithConfig(ctx, config)
	tb.Cleanup(func() { _ = r.Close(context.Background()) })
	instantiateMeter(tb, r, yield)
	m, err := r.InstantiateWithConfig(ctx, code, wazero.NewModuleConfig().WithName("guest"))
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func compiler() wazero.RuntimeConfig { return wazero.NewRuntimeConfig().WithMemoryLimitPages(4096) }

var errFuel = errors.New("the fuel is used up")

func endFuel(api.Module) { panic(errFuel) }

// use calls a function with plenty of fuel and returns how much it took.
func use(tb testing.TB, m api.Module, f string, args ...uint64) int64 {
	tb.Helper()
	const plenty = 1 << 40
	setFuel(m, plenty)
	if _, err := m.ExportedFunction(f).Call(tb.Context(), args...); err != nil {
		tb.Fatal(err)
	}
	return plenty - fuelOf(m)
}

// function is a module with one function, exported as run.
func function(params []byte, code ...byte) []byte {
	return Assemble(
		Section(1, Vec(Type(params, nil))), Section(3, Vec([]byte{0})), Section(5, Vec([]byte{0, 1})),
		Section(7, Vec(Join(String("run"), []byte{0, 0}), Join(String("memory"), []byte{2, 0}))),
		Section(10, Vec(Body(code...))),
	)
}

// countdown loops as often as its parameter says, and n more times through code.
func countdown(code ...byte) []byte {
	return function([]byte{I32}, Join(
		[]byte{Loop, BlockVoid}, code,
		[]byte{0x20, 0, I32Const, 1, 0x6b, 0x22, 0, 0x0d, 0, End},
	)...)
}

// TestFuel pins what code costs, on both of the engine's back ends.
func TestFuel(t *testing.T) {
	nops := func(n int) []byte { return bytes.Repeat([]byte{0x01}, n) }
	fill := Join([]byte{I32Const, 0, I32Const, 0, I32Const}, S64(65536), []byte{0xfc, 11, 0})
	// Each round jumps over the place where a probe would be due on the straight path.
	var hops []byte
	for range 40 {
		hops = Join(hops, []byte{0x02, BlockVoid}, nops(900), []byte{I32Const, 1, 0x0d, 0}, nops(900), []byte{End})
	}
	// The long path reaches the end of a block by a branch, or from its first half.
	branches := bytes.Repeat(Join([]byte{0x02, BlockVoid}, nops(1000), []byte{I32Const, 1, 0x0d, 0, 0x00, End}), 20)
	halves := bytes.Repeat(Join([]byte{I32Const, 1, 0x04, BlockVoid}, nops(1000), []byte{0x05, End}), 20)
	tests := map[string]struct {
		module []byte
		arg    []uint64
		want   int64
	}{
		"branches":          {function(nil, branches...), nil, 1 + 20*1003/1024},
		"halves":            {function(nil, halves...), nil, 1 + 20*1003/1024},
		"leaf":              {function(nil, nops(20)...), nil, 0},
		"short":             {function(nil, nops(500)...), nil, 1},
		"straight":          {function(nil, nops(10_240)...), nil, 11}, // at the entry and once per 1,024, of 10,241
		"loop":              {countdown(), []uint64{1000}, 1001},
		"loop, long body":   {countdown(nops(1500)...), []uint64{100}, 1 + 2*100},
		"over the probes":   {function(nil, hops...), nil, 1 + 40*904/1024},
		"memory.fill":       {function(nil, fill...), nil, 1 + 64},
		"memory.grow":       {function(nil, I32Const, 1, 0x40, 0, Drop), nil, 1 + 2},
		"short memory.fill": {function(nil, I32Const, 0, I32Const, 0, I32Const, 63, 0xfc, 11, 0), nil, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			code := metered(t, test.module)
			for engine, config := range map[string]wazero.RuntimeConfig{"compiler": compiler(), "interpreter": wazero.NewRuntimeConfigInterpreter()} {
				m := start(t, config, code, endFuel)
				for range 2 {
					if got := use(t, m, "run", test.arg...); got < test.want || got > test.want+test.want/8 {
						t.Errorf("%s: took %d of fuel, want %d", engine, got, test.want)
					}
				}
			}
		})
	}
}

// TestFuelOfLeaves: a function without a probe counts where it is called.
func TestFuelOfLeaves(t *testing.T) {
	module := Assemble(
		Section(1, Vec(Type(nil, nil))), Section(3, Vec([]byte{0}, []byte{0})),
		Section(7, Vec(Join(String("run"), []byte{0, 0}))),
		Section(10, Vec(Body(bytes.Repeat([]byte{Call, 1}, 1000)...), Body(bytes.Repeat([]byte{0x01}, 20)...))),
	)
	m := start(t, compiler(), metered(t, module), endFuel)
	if got, want := use(t, m, "run"), int64(1+1000*22/1024); got != want {
		t.Errorf("took %d of fuel, want %d", got, want)
	}
}

// TestFuelOfTables: elements are charged by their number, if they were made.
func TestFuelOfTables(t *testing.T) {
	m := start(t, compiler(), metered(t, bulkModule()), endFuel)
	for _, step := range []struct {
		f    string
		args []uint64
		want int64
	}{{"tgrow", []uint64{12_800}, 101}, {"tgrow", []uint64{0x7fffffff}, 1}, {"tcopy", []uint64{0, 10, 12_800}, 101}, {"tfill", []uint64{0, 0, 1280}, 11}} {
		if got := use(t, m, step.f, step.args...); got != step.want {
			t.Errorf("%s%v took %d of fuel, want %d", step.f, step.args, got, step.want)
		}
	}
}

// TestManyTypes: the index of a block's type is a signed number, which 64 shows.
func TestManyTypes(t *testing.T) {
	types := bytes.Repeat(Type(nil, nil), 70)
	module := Assemble(
		Section(1, U32(70), types), Section(3, Vec([]byte{0})), Section(5, Vec([]byte{0, 1})),
		Section(7, Vec(Join(String("run"), []byte{0, 0}))),
		Section(10, Vec(Body(I32Const, 0, I32Const, 1, I32Const, 2, 0xfc, 11, 0))),
	)
	m := start(t, compiler(), metered(t, module), endFuel)
	if got := use(t, m, "run"); got != 1 {
		t.Errorf("took %d of fuel", got)
	}
}

// TestYield ends code that would run for ever or very long.
func TestYield(t *testing.T) {
	forever := function(nil, Spin...)
	recursive := function(nil, Call, 0)
	// 64 MiB at once, 100 times over, without a loop.
	big := Join([]byte{I32Const}, S64(1023), []byte{0x40, 0, Drop})
	for range 100 {
		big = Join(big, []byte{I32Const, 0, I32Const, 1, I32Const}, S64(64<<20), []byte{0xfc, 11, 0})
	}
	for name, module := range map[string][]byte{"spin": forever, "recursion": recursive, "fill": function(nil, big...)} {
		t.Run(name, func(t *testing.T) {
			m := start(t, compiler(), metered(t, module), endFuel)
			setFuel(m, 1000)
			if _, err := m.ExportedFunction("run").Call(t.Context()); !errors.Is(err, errFuel) {
				t.Errorf("ended with %v", err)
			}
			if got := fuelOf(m); got >= 0 || got < -64 {
				t.Errorf("%d of fuel is left, want little less than none", got)
			}
		})
	}
}

// TestFirstProbeYields: an instance begins without fuel.
func TestFirstProbeYields(t *testing.T) {
	yields := 0
	m := start(t, compiler(), metered(t, Guest{Code: Join(Spin[:2], []byte{End}), Start: true}.Bytes()), func(m api.Module) {
		yields++
		setFuel(m, 100)
	})
	if yields != 1 || fuelOf(m) != 99 {
		t.Errorf("%d yields, %d of fuel left", yields, fuelOf(m))
	}
}

const bulkSegment = 150 << 10

// bulkModule has a function for each instruction on ranges.
func bulkModule() []byte {
	three := Type([]byte{I32, I32, I32}, nil)
	pass := []byte{0x20, 0, 0x20, 1, 0x20, 2}
	body := func(op ...byte) []byte { return Body(Join(pass, []byte{0xfc}, op)...) }
	names := []string{"fill", "copy", "init", "drop", "tfill", "tcopy", "tinit", "edrop", "tgrow", "isnull", "tsize"}
	exports := [][]byte{Join(String("memory"), []byte{2, 0})}
	for i, n := range names {
		exports = append(exports, Join(String(n), []byte{0, byte(i)}))
	}
	segment := make([]byte, bulkSegment)
	for i := range segment {
		segment[i] = byte(i * i >> 8)
	}
	elems := bytes.Repeat([]byte{3}, 200)
	return Assemble(
		Section(1, Vec(three, Type(nil, nil), Type([]byte{I32}, []byte{I32}), Type(nil, []byte{I32}))),
		Section(3, Vec([]byte{0}, []byte{0}, []byte{0}, []byte{1}, []byte{0}, []byte{0}, []byte{0}, []byte{1}, []byte{2}, []byte{2}, []byte{3})),
		Section(4, Vec(Join([]byte{0x70, 0}, U32(300)))),
		Section(5, Vec([]byte{0, 5})),
		Section(7, Vec(exports...)),
		Section(9, Vec(Join([]byte{1, 0}, U32(uint32(len(elems))), elems))),
		Section(12, []byte{1}),
		Section(10, Vec(
			body(11, 0), body(10, 0, 0), body(8, 0, 0), Body(0xfc, 9, 0),
			Body(0x20, 0, 0xd2, 0, 0x20, 2, 0xfc, 17, 0), body(14, 0, 0), body(12, 0, 0), Body(0xfc, 13, 0),
			Body(0xd0, 0x70, 0x20, 0, 0xfc, 15, 0), Body(0x20, 0, 0x25, 0, 0xd1), Body(0xfc, 16, 0),
		)),
		Section(11, Vec(Join([]byte{1}, U32(bulkSegment), segment))),
	)
}

// TestBulkMeansTheSame runs random instructions on ranges, within bounds and not,
// overlapping and not, on a module as it is and as prepared.
func TestBulkMeansTheSame(t *testing.T) {
	module := bulkModule()
	yields := 0
	plain := start(t, compiler(), module, endFuel)
	other := start(t, compiler(), metered(t, module), func(m api.Module) { yields++; setFuel(m, 0) })
	rounds := 1500
	if testing.Short() {
		rounds = 300
	}
	traps := 0
	for seed := range rounds {
		f, args := randomBulk(rand.New(rand.NewPCG(uint64(seed), 1)))
		if seed < rounds*9/10 && (f == "drop" || f == "edrop") {
			continue
		}
		want, got := call(t, plain, f, args), call(t, other, f, args)
		if want != got {
			t.Fatalf("%s%v: %s, untouched %s", f, args, got, want)
		}
		if len(want) > 2 && want[0] == 'w' {
			traps++
		}
		a, _ := plain.Memory().Read(0, plain.Memory().Size())
		b, _ := other.Memory().Read(0, other.Memory().Size())
		if !bytes.Equal(a, b) {
			t.Fatalf("%s%v leaves another memory", f, args)
		}
		sameTable(t, plain, other)
	}
	if traps < rounds/10 || traps > rounds*9/10 || yields < rounds {
		t.Errorf("%d of %d trapped, %d yields: the ranges prove little", traps, rounds, yields)
	}
}

// randomBulk picks an instruction and a range, near the bounds and the sizes at
// which something changes.
func randomBulk(r *rand.Rand) (string, []uint64) {
	near := func(points ...int) uint64 {
		n := points[r.IntN(len(points))] + r.IntN(5) - 2
		if r.IntN(3) == 0 {
			n = r.IntN(max(points[len(points)-1], 1) + 1)
		}
		return uint64(uint32(max(n, 0)))
	}
	const memory, chunk = 5 << 16, 64 << 10
	switch f := []string{"fill", "copy", "copy", "copy", "init", "tfill", "tcopy", "tinit", "tgrow", "drop", "edrop"}[r.IntN(11)]; f {
	case "fill":
		return f, []uint64{near(0, memory/2, memory), near(0, 255), near(0, 1024, chunk, 2*chunk, memory, 1<<31)}
	case "copy":
		from := near(0, chunk, memory/2, memory)
		to := near(0, int(from), int(from)+3, int(from)+chunk, memory)
		return f, []uint64{to, from, near(0, 1024, chunk, 2*chunk, 3*chunk, memory)}
	case "init":
		return f, []uint64{near(0, memory/2, memory), near(0, bulkSegment/2, bulkSegment), near(0, 1024, chunk, bulkSegment, bulkSegment)}
	case "tgrow":
		return f, []uint64{near(0, 3, 10)}
	case "drop", "edrop":
		return f, nil
	default:
		return f, []uint64{near(0, 100, 300), near(0, 100, 200, 300), near(0, 50, 200, 300)}
	}
}

func call(t *testing.T, m api.Module, f string, args []uint64) string {
	t.Helper()
	results, err := m.ExportedFunction(f).Call(t.Context(), args...)
	if err != nil {
		return failure(err)
	}
	return fmt.Sprint(results)
}

func sameTable(t *testing.T, a, b api.Module) {
	t.Helper()
	size := call(t, a, "tsize", nil)
	if got := call(t, b, "tsize", nil); got != size {
		t.Fatalf("tables have the sizes %s and %s", size, got)
	}
	for i := uint64(0); i < 300; i += 7 {
		if call(t, a, "isnull", []uint64{i}) != call(t, b, "isnull", []uint64{i}) {
			t.Fatalf("the tables differ at %d", i)
		}
	}
}

// TestTableGrowIsBounded: a table grows by no more than it may.
func TestTableGrowIsBounded(t *testing.T) {
	r, err := prepare.Prepare(bulkModule(), prepare.Options{Table: 500})
	if err != nil {
		t.Fatal(err)
	}
	m := start(t, compiler(), r.Code, func(m api.Module) { setFuel(m, 1000) })
	for _, step := range []struct {
		by   uint64
		want string
	}{{0x7fffffff, "[4294967295]"}, {201, "[4294967295]"}, {200, "[300]"}, {1, "[4294967295]"}} {
		if got := call(t, m, "tgrow", []uint64{step.by}); got != step.want {
			t.Errorf("growing by %d gives %s, want %s", step.by, got, step.want)
		}
	}
}

// TestImage takes memory and globals of an instance to a new one and demands that it
// goes on as the first.
func TestImage(t *testing.T) {
	count := func(g byte) []byte { return []byte{0x23, g, I32Const, 1, 0x6a, 0x24, g} }
	module := Assemble(
		Section(1, Vec(Type(nil, nil), Type(nil, []byte{I32}))),
		Section(3, Vec([]byte{0}, []byte{1})),
		Section(5, Vec([]byte{0, 1})),
		Section(6, Vec([]byte{I32, 1, I32Const, 5, End}, []byte{I32, 1, I32Const, 0, End})),
		Section(7, Vec(Join(String("next"), []byte{0, 1}))),
		Section(8, []byte{0}),
		Section(10, Vec(
			Body(Join(count(1), []byte{I32Const, 0, I32Const, 0, 0x28, 2, 0, I32Const, 1, 0x6a, 0x36, 2, 0})...), // start: global 1 and memory 0 count it
			Body(Join(count(0), []byte{0x23, 0, 0x23, 1, 0x6a, I32Const, 0, 0x28, 2, 0, 0x6a})...),
		)),
		Section(11, Vec([]byte{0, I32Const, 0, End, 1, 100})),
	)
	r, err := prepare.Prepare(module, prepare.Options{Image: true})
	if err != nil {
		t.Fatal(err)
	}
	refill := func(m api.Module) { setFuel(m, 1000) }
	first := start(t, compiler(), r.Code, refill)
	if err := boot(t.Context(), first, r); err != nil {
		t.Fatal(err)
	}
	if got := call(t, first, "next", nil); got != "[108]" { // 6 + 1 + 101
		t.Fatalf("the first call gives %s", got)
	}
	second := start(t, compiler(), r.Code, refill)
	memory, _ := first.Memory().Read(0, first.Memory().Size())
	second.Memory().Write(0, memory)
	for _, name := range r.Globals {
		second.ExportedGlobal(name).(api.MutableGlobal).Set(first.ExportedGlobal(name).Get())
	}
	for _, want := range []string{"[109]", "[110]"} {
		if a, b := call(t, first, "next", nil), call(t, second, "next", nil); a != want || b != want {
			t.Errorf("the calls give %s and %s, want %s", a, b, want)
		}
	}
}

// TestImportedStart: the start function may be the host's.
func TestImportedStart(t *testing.T) {
	module := Assemble(
		Section(1, Vec(Type(nil, nil))), Section(2, Vec(Join(String("host"), String("f"), []byte{0, 0}))), Section(8, []byte{0}),
	)
	r, err := prepare.Prepare(module, prepare.Options{Image: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	rt := wazero.NewRuntimeWithConfig(ctx, compiler())
	defer func() { _ = rt.Close(ctx) }()
	called := 0
	if _, err := rt.NewHostModuleBuilder("host").NewFunctionBuilder().WithFunc(func() { called++ }).Export("f").Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	instantiateMeter(t, rt, func(api.Module) {})
	m, err := rt.Instantiate(ctx, r.Code)
	if err != nil {
		t.Fatal(err)
	}
	if err := boot(ctx, m, r); err != nil || called != 1 {
		t.Errorf("start was called %d times: %v", called, err)
	}
}
