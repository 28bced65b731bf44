package runtime_test

import (
	"context"
	"errors"
	"log/slog"
	goruntime "runtime"
	"sync"
	"testing"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/runtime"
	. "github.com/vespiary/vespiary/host/internal/runtime/wasm/wasmtest"
)

// budget is an account of a number of units.
type budget struct {
	mu    sync.Mutex
	left  int64
	draws int
}

var errBroke = errors.New("the budget is used up")

func (b *budget) Draw(used int64) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.draws++
	if b.left -= used; b.left <= 0 {
		return 0, errBroke
	}
	return b.left, nil
}

// TestBudgetIsExact ends a guest at the same point each time, wherever its calls
// begin, and never books more than there is.
func TestBudgetIsExact(t *testing.T) {
	counts := Guest{Memory: []byte{0, 1}, Code: []byte{ // counts its turns at address 0
		Loop, BlockVoid, I32Const, 0, I32Const, 0, 0x28, 2, 0, I32Const, 1, 0x6a, 0x36, 2, 0, Br, 0, End,
	}}.Bytes()
	m := load(t, newEngine(t, runtime.NewNative, options(t)), counts)
	for _, total := range []int64{1, 2, 7, 99_999, 100_000, 100_001, 100_002, 1_234_567} {
		for range 3 {
			c := config()
			b := &budget{left: total}
			c.Fuel = b
			i := instantiate(t, m, c)
			_, err := i.Call(t.Context(), "run", nil)
			wantTrap(t, err, "the host stopped it", errBroke)
			if b.left != 0 || i.Fuel() != total {
				t.Errorf("of %d units %d are left and the instance has used %d", total, b.left, i.Fuel())
			}
		}
	}
}

// TestBudgetOfCalls pays many calls out of one account, which is empty in the
// midst of one: always the same.
func TestBudgetOfCalls(t *testing.T) {
	e := roomy(t)
	for _, l := range lives[:3] {
		m := load(t, e, wasmOf(t, l.guest))
		run := func() (calls int, used int64) {
			b := &budget{left: 300_000}
			w := newTurnWorld()
			w.enter(0)
			c := w.config(l.vars, nil)
			c.Fuel = b
			i := instantiate(t, m, c)
			for {
				if _, err := i.Call(t.Context(), "turn", []byte("word")); err != nil {
					wantTrap(t, err, "the host stopped it", errBroke)
					wantUnusable(t, i)
					return calls, i.Fuel()
				}
				calls++
			}
		}
		calls, used := run()
		if again, same := run(); calls != again || used != same || used != 300_000 || calls < 2 {
			t.Errorf("%s: 300,000 units paid %d calls with %d units, then %d with %d", l.name, calls, used, again, same)
		}
	}
}

// TestBookingIsComplete: what an account has booked is what an instance has used,
// after traps too.
func TestBookingIsComplete(t *testing.T) {
	m := load(t, newEngine(t, runtime.NewNative, options(t)), wasmOf(t, "c"))
	for _, export := range []string{"echo", "trap", "churn", "recurse"} {
		b := &budget{left: 1 << 40}
		c := config()
		c.Fuel = b
		i := instantiate(t, m, c)
		_, _ = i.Call(t.Context(), export, u64(5000))
		if used := 1<<40 - b.left; used != i.Fuel() || used == 0 && export != "trap" {
			t.Errorf("%s: %d units are booked and %d used", export, used, i.Fuel())
		}
	}
}

// TestSpinningGuests: more guests than there are processors spin, and neither the
// garbage collector nor another guest waits for them.
func TestSpinningGuests(t *testing.T) {
	m := load(t, newEngine(t, runtime.NewNative, options(t)), wasmOf(t, "c"))
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 2 * goruntime.GOMAXPROCS(0) {
		i := instantiate(t, m, config())
		all.Go(func() {
			_, err := i.Call(ctx, "spin", nil)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("a spinning guest: %v", err)
			}
		})
	}
	other := instantiate(t, m, config())
	for range 10 {
		goruntime.GC()
		must(t, other, "work", []byte("alive"))
	}
	cancel()
	all.Wait()
}

// TestHostWorkCosts: what a guest has the host do for it is paid for, or it could go
// on for ever between two yields. Whether anybody listens makes no difference.
func TestHostWorkCosts(t *testing.T) {
	const wasi, size = "wasi_snapshot_preview1", 8 << 20
	number := func(n int64) []byte { return Join([]byte{I32Const}, S64(n)) }
	block := Join([]byte{I64Const}, S64(size))
	iov := Join([]byte{0, 0, 0, 0}, []byte{0, 0, 0x80, 0}) // size bytes at 0
	tests := map[string]struct {
		function Import
		args     []byte
		least    int64 // units
	}{
		"alloc":     {ImportFunc(abi.NamespaceEnv, "alloc", []byte{I64}, []byte{I64}), block, size >> 10},
		"block_new": {ImportFunc(abi.NamespaceMem, "block_new", []byte{I32, I32}, []byte{I64}), Join(number(0), number(size)), size >> 10},
		"random":    {ImportFunc(wasi, "random_get", []byte{I32, I32}, []byte{I32}), Join(number(0), number(size)), size >> 10},
		"path":      {ImportFunc(wasi, "path_unlink_file", []byte{I32, I32, I32}, []byte{I32}), Join(number(3), number(0), number(size)), size >> 10},
		"poll":      {ImportFunc(wasi, "poll_oneoff", []byte{I32, I32, I32, I32}, []byte{I32}), Join(number(0), number(6<<20), number(100_000), number(10<<20)), 48 * 100_000 >> 10},
		"vectors":   {ImportFunc(wasi, "fd_read", []byte{I32, I32, I32, I32}, []byte{I32}), Join(number(0), number(1<<20), number(1<<19), number(10<<20)), 8 << 19 >> 10},
		"print":     {ImportFunc(wasi, "fd_write", []byte{I32, I32, I32, I32}, []byte{I32}), Join(number(1), number(9<<20), number(1), number(10<<20)), size>>10 + 1000},
	}
	e := newEngine(t, runtime.NewNative, options(t))
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := load(t, e, Guest{
				Imports: []Import{test.function}, Memory: Join([]byte{0}, U32(256)),
				Data: [][]byte{Join([]byte{0, I32Const}, S64(9<<20), []byte{End}, U32(8), iov)},
				Code: Join(test.args, []byte{Call, 0, Drop}),
			}.Bytes())
			c := config()
			whole := instantiate(t, m, c)
			must(t, whole, "run", nil)
			c.Log = func(slog.Level, string) {}
			heard := instantiate(t, m, c)
			must(t, heard, "run", nil)
			if got := whole.Fuel(); got < test.least || got > test.least+1000 || got != heard.Fuel() {
				t.Errorf("it costs %d units, and %d with a listener, want about %d", got, heard.Fuel(), test.least)
			}
			b := &budget{left: test.least / 2}
			c.Fuel = b
			_, err := instantiate(t, m, c).Call(t.Context(), "run", nil)
			wantTrap(t, err, "the host stopped it", errBroke)
			if b.left != 0 {
				t.Errorf("%d units are left", b.left)
			}
		})
	}
}
