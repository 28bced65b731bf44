package runtime_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/runtime"
	. "github.com/vespiary/vespiary/host/internal/runtime/wasm/wasmtest"
)

// onEngines runs f on each engine.
func onEngines(t *testing.T, f func(t *testing.T, e runtime.Engine)) {
	t.Helper()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) { f(t, newEngine(t, e.make, options(t))) })
	}
}

// soon is a deadline that a spinning guest runs into.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func wantTrap(t *testing.T, err error, reason string, cause error) {
	t.Helper()
	var trap *runtime.TrapError
	if !errors.As(err, &trap) || !strings.Contains(trap.Reason, reason) {
		t.Fatalf("got %v, want an end because %s", err, reason)
	}
	if cause != nil && !errors.Is(err, cause) {
		t.Errorf("%v is not %v", err, cause)
	}
}

func wantUnusable(t *testing.T, i runtime.Instance) {
	t.Helper()
	if _, err := i.Call(t.Context(), "run", nil); !errors.Is(err, runtime.ErrUnusable) {
		t.Errorf("a call after the end: %v, want ErrUnusable", err)
	}
}

func TestDeadline(t *testing.T) {
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		for _, name := range []string{"c", "go"} {
			m := load(t, e, wasmOf(t, name))
			i, other := instantiate(t, m, config()), instantiate(t, m, config())
			_, err := i.Call(soon(t), "spin", nil)
			wantTrap(t, err, "its time is over", context.DeadlineExceeded)
			wantUnusable(t, i)
			if got := string(must(t, other, "work", []byte("alive"))); got != "alive" {
				t.Errorf("another instance answered %q", got)
			}
		}
	})
}

func TestCancelCause(t *testing.T) {
	cause := errors.New("the user closed the tab")
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		ctx, cancel := context.WithCancelCause(t.Context())
		c := config()
		c.Host = hostFunc(func(ctx context.Context, _ string, b []byte) ([]byte, error) {
			cancel(cause)
			<-ctx.Done()
			return b, nil // the guest, not the host, notices
		})
		i := instantiate(t, load(t, e, callsThenSpins()), c)
		_, err := i.Call(ctx, "run", nil)
		wantTrap(t, err, "its time is over", cause)
		if _, err = i.Call(ctx, "run", nil); !errors.Is(err, cause) {
			t.Errorf("a call whose context is done: %v", err)
		}
		wantUnusable(t, i)
	})
}

var toolCall = ImportFunc(abi.NamespaceUser, abi.CallToolCall, []byte{I64}, []byte{I64})

func callsThenSpins() []byte {
	return Guest{Imports: []Import{toolCall}, Code: Join([]byte{I64Const, 0, Call, 0, Drop}, Spin)}.Bytes()
}

// TestStartSpins has guests that never get as far as their first call.
func TestStartSpins(t *testing.T) {
	reactor := Assemble(
		Section(1, Vec(Type(nil, nil))), Section(3, Vec([]byte{0}, []byte{0})),
		Section(7, Vec(Join(String("_initialize"), []byte{0, 0}), Join(String("run"), []byte{0, 1}))),
		Section(10, Vec(Body(Spin...), Body())))
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		for _, module := range [][]byte{Guest{Code: Spin, Start: true}.Bytes(), reactor} {
			ctx := soon(t)
			i, err := load(t, e, module).Instantiate(ctx, config())
			if err == nil { // Extism's SDK initialises in the first call
				_, err = i.Call(ctx, "run", nil)
				closed(t, i)
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want the deadline's error", err)
			}
		}
	})
}

func TestMemoryLimit(t *testing.T) {
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		for _, name := range []string{"c", "rust"} {
			i := instantiate(t, load(t, e, wasmOf(t, name)), config())
			if got := string(must(t, i, "grow", u64(100<<20))); got != "no" {
				t.Errorf("%s: growing beyond the limit answered %q", name, got)
			}
			if got := string(must(t, i, "grow", u64(1<<20))); got != "ok" {
				t.Errorf("%s: growing within the limit answered %q", name, got)
			}
		}
		var logged records
		c := config()
		c.Log = logged.log
		i := instantiate(t, load(t, e, wasmOf(t, "go")), c)
		_, err := i.Call(t.Context(), "grow", u64(100<<20))
		wantTrap(t, err, "unreachable: it panicked or ran out of memory; see what it logged", nil)
		if all := strings.Join(logged.lines, "\n"); !strings.Contains(all, "out of memory") {
			t.Errorf("the guest's last words are missing: %s", all)
		}
		wantUnusable(t, i)
	})
}

// TestBlockLimit has a guest that allocates blocks until there are no more.
func TestBlockLimit(t *testing.T) {
	alloc := ImportFunc(abi.NamespaceEnv, "alloc", []byte{I64}, []byte{I64})
	for _, size := range []int64{1, 1 << 20, 1 << 40} {
		code := Join([]byte{Loop, BlockVoid, I64Const}, S64(size), []byte{Call, 0, 0x50, 0x45, 0x0d, 0, End}) // until it is 0
		i := instantiate(t, load(t, newEngine(t, runtime.NewNative, options(t)), Guest{Imports: []Import{alloc}, Code: code}.Bytes()), config())
		must(t, i, "run", nil)
	}
}

// TestTableLimit has a guest that ends well only if its table does not grow.
func TestTableLimit(t *testing.T) {
	grow := func(n int64) []byte {
		return Join([]byte{0xd0, 0x70, I32Const}, S64(n), []byte{0xfc, 15, 0, I32Const, 0x7f, 0x47, 0x04, 0x40, 0x00, End})
	}
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		for _, limits := range [][]byte{{0, 1}, Join([]byte{1, 1}, U32(0xffffffff))} {
			m := load(t, e, Guest{Table: limits, Code: grow(1_000_000)}.Bytes())
			must(t, instantiate(t, m, config()), "run", nil)
			m = load(t, e, Guest{Table: limits, Code: grow(999_999)}.Bytes())
			_, err := instantiate(t, m, config()).Call(t.Context(), "run", nil)
			wantTrap(t, err, "unreachable", nil) // it grew
		}
	})
}

func TestRecursion(t *testing.T) {
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		for _, name := range []string{"c", "rust"} {
			i := instantiate(t, load(t, e, wasmOf(t, name)), config())
			_, err := i.Call(t.Context(), "recurse", nil)
			wantTrap(t, err, "", nil)
			wantUnusable(t, i)
		}
		_, err := instantiate(t, load(t, e, recursive()), config()).Call(t.Context(), "run", nil)
		wantTrap(t, err, "stack overflow: it recursed too deeply", nil)
	})
}

// recursive calls itself with so many arguments that its frames are large and the
// end of the stack is near.
func recursive() []byte {
	const n = 500
	var zeros, args []byte
	for i := range n {
		zeros = append(zeros, I64Const, 0)
		args = Join(args, []byte{0x20}, U32(uint32(i)))
	}
	return Assemble(
		Section(1, Vec(Type(nil, nil), Type(bytes.Repeat([]byte{I64}, n), nil))),
		Section(3, Vec([]byte{0}, []byte{1})),
		Section(7, Vec(Join(String("run"), []byte{0, 0}))),
		Section(10, Vec(Body(append(zeros, Call, 1)...), Body(append(args, Call, 1)...))))
}

func TestOutOfBounds(t *testing.T) {
	store := func(at int64) []byte { return Join([]byte{I32Const}, S64(at), []byte{I32Const, 1, 0x36, 2, 0}) }
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		for _, at := range []int64{65533, 65536, -4, -1 << 31} {
			m := load(t, e, Guest{Memory: []byte{0, 1}, Code: store(at)}.Bytes())
			_, err := instantiate(t, m, config()).Call(t.Context(), "run", nil)
			wantTrap(t, err, "out of bounds memory access", nil)
		}
		segment := Join([]byte{0, I32Const}, S64(65535), []byte{End, 2, 'h', 'i'})
		_, err := load(t, e, Guest{Memory: []byte{0, 1}, Data: [][]byte{segment}}.Bytes()).Instantiate(t.Context(), config())
		wantTrap(t, err, "out of bounds memory access", nil)
	})
}

func TestTrapHasStack(t *testing.T) {
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		_, err := instantiate(t, load(t, e, wasmOf(t, "go")), config()).Call(t.Context(), "trap", nil)
		var trap *runtime.TrapError
		if !errors.As(err, &trap) || len(trap.Stack) == 0 || !strings.Contains(strings.Join(trap.Stack, " "), "main.trap") {
			t.Errorf("%#v does not name the function that panicked", trap)
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("the message has several lines: %s", err)
		}
	})
}

type hostError struct{ code int }

func (e *hostError) Error() string { return "disk on fire" }

func TestHostErrors(t *testing.T) {
	fails := &hostError{7}
	hosts := map[string]struct {
		host  hostFunc
		cause error
	}{
		"error":    {func(context.Context, string, []byte) ([]byte, error) { return nil, fails }, fails},
		"panic":    {func(context.Context, string, []byte) ([]byte, error) { panic("oops") }, nil},
		"context":  {func(ctx context.Context, _ string, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }, context.DeadlineExceeded},
		"too much": {func(context.Context, string, []byte) ([]byte, error) { return make([]byte, 65<<20), nil }, nil},
	}
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		m := load(t, e, wasmOf(t, "c"))
		for name, test := range hosts {
			t.Run(name, func(t *testing.T) {
				c := config()
				c.Host = test.host
				i := instantiate(t, m, c)
				_, err := i.Call(soon(t), "work", []byte("x"))
				wantTrap(t, err, "", test.cause)
				if got := (*hostError)(nil); errors.Is(test.cause, fails) && (!errors.As(err, &got) || got.code != 7) {
					t.Errorf("%v lost the host's error", err)
				}
				wantUnusable(t, i)
			})
		}
	})
}

// TestSleep checks that a guest asleep is woken by the end of its context when
// the real clock is used.
func TestSleep(t *testing.T) {
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		c := config()
		c.Clock, c.Sleep = time.Now, nil
		i := instantiate(t, load(t, e, wasmOf(t, "c-wasi")), c)
		_, err := i.Call(soon(t), "clock", nil) // sleeps for three seconds
		wantTrap(t, err, "its time is over", context.DeadlineExceeded)
	})
}

// TestCloseDuringCall closes an instance from its own host call.
func TestCloseDuringCall(t *testing.T) {
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		m := load(t, e, wasmOf(t, "c"))
		var i runtime.Instance
		c := config()
		c.Host = hostFunc(func(ctx context.Context, _ string, b []byte) ([]byte, error) {
			if _, err := i.Call(ctx, "echo", nil); !errors.Is(err, runtime.ErrUnusable) {
				t.Errorf("a second call at the same time: %v", err)
			}
			return b, errors.Join(i.Close(ctx), m.Close(ctx))
		})
		i = instantiate(t, m, c)
		if got := string(must(t, i, "work", []byte("still here"))); got != "still here" {
			t.Errorf("the call under way returned %q", got)
		}
		wantUnusable(t, i)
		if _, err := m.Instantiate(t.Context(), c); err == nil {
			t.Error("a closed module was instantiated")
		}
	})
}

func TestEngineClose(t *testing.T) {
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		i := instantiate(t, load(t, e, wasmOf(t, "c")), config())
		for range 2 {
			if err := e.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		must(t, i, "echo", []byte("open instances go on"))
		if _, err := e.Load(t.Context(), wasmOf(t, "c")); err == nil {
			t.Error("a closed engine loaded a module")
		}
	})
}

// TestLongMessages logs more at once than anybody reads.
func TestLongMessages(t *testing.T) {
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		longest := 0
		c := config()
		c.Log = func(_ slog.Level, message string) { longest = max(longest, len(message)) }
		must(t, instantiate(t, load(t, e, wasmOf(t, "c")), c), "logs", bytes.Repeat([]byte("x"), 1<<20))
		if longest != 64<<10 {
			t.Errorf("a message of %d bytes was logged", longest)
		}
	})
}

// TestLongLines prints without ever ending a line.
func TestLongLines(t *testing.T) {
	onEngines(t, func(t *testing.T, e runtime.Engine) {
		t.Helper()
		var lines int
		c := config()
		c.Log = func(_ slog.Level, message string) {
			if lines++; len(message) > 8<<10 {
				t.Errorf("a line of %d bytes", len(message))
			}
		}
		i := instantiate(t, load(t, e, wasmOf(t, "go")), c)
		must(t, i, "say", []byte(strings.Repeat("x", 100_000)))
		if lines < 2*12 {
			t.Errorf("%d lines", lines)
		}
	})
}
