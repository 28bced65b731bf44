package runtime_test

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/runtime"
)

// hostFunc is a runtime.Host in one function.
type hostFunc func(ctx context.Context, name string, request []byte) ([]byte, error)

func (f hostFunc) Call(ctx context.Context, name string, request []byte) ([]byte, error) {
	return f(ctx, name, request)
}

// echoHost answers every call with its request.
var echoHost = hostFunc(func(_ context.Context, _ string, request []byte) ([]byte, error) { return request, nil })

// codeCache is where compiled guests stay between test runs. Compiling a Go
// guest takes seconds, so that all tests but those about the cache share it.
func codeCache(tb testing.TB) string {
	tb.Helper()
	return filepath.Join(cacheDir(tb), "code")
}

func options(tb testing.TB) runtime.Options {
	tb.Helper()
	return runtime.Options{
		CacheDir:    codeCache(tb),
		MemoryLimit: 64 << 20,
		Imports:     []string{abi.CallToolCall, abi.CallHTTPFetch},
	}
}

func newEngine(tb testing.TB, start func(runtime.Options) (runtime.Engine, error), o runtime.Options) runtime.Engine {
	tb.Helper()
	e, err := start(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { closed(tb, e) })
	return e
}

func load(tb testing.TB, e runtime.Engine, wasm []byte) runtime.Module {
	tb.Helper()
	m, err := e.Load(tb.Context(), wasm)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { closed(tb, m) })
	return m
}

func instantiate(tb testing.TB, m runtime.Module, c runtime.Config) runtime.Instance {
	tb.Helper()
	i, err := m.Instantiate(tb.Context(), c)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { closed(tb, i) })
	return i
}

// testClock is a clock that only sleeping moves.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *testClock {
	return &testClock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) Sleep(_ context.Context, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// records keeps what a guest logs.
type records struct {
	mu    sync.Mutex
	lines []string
}

func (r *records) log(level slog.Level, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, level.String()+" "+message)
}

func randomSource() io.Reader { return rand.NewChaCha8([32]byte{1}) }

// config is a deterministic world with an echoing host.
func config() runtime.Config {
	c := newClock()
	return runtime.Config{Host: echoHost, Clock: c.Now, Sleep: c.Sleep, Random: randomSource()}
}

func must(tb testing.TB, i runtime.Instance, export string, input []byte) []byte {
	tb.Helper()
	out, err := i.Call(tb.Context(), export, input)
	if err != nil {
		tb.Fatalf("%s: %v", export, err)
	}
	return out
}

// closed closes x, which no part of the package may fail to do.
func closed(tb testing.TB, x interface{ Close(context.Context) error }) {
	tb.Helper()
	if err := x.Close(context.WithoutCancel(tb.Context())); err != nil {
		tb.Error(err)
	}
}
