package runtime_test

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
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
func codeCache(t testing.TB) string { return filepath.Join(cacheDir(t), "code") }

func options(t testing.TB) runtime.Options {
	return runtime.Options{
		CacheDir:    codeCache(t),
		MemoryLimit: 64 << 20,
		Imports:     []string{abi.CallToolCall, abi.CallHTTPFetch},
	}
}

func newEngine(t testing.TB, make func(runtime.Options) (runtime.Engine, error), o runtime.Options) runtime.Engine {
	t.Helper()
	e, err := make(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e
}

func load(t testing.TB, e runtime.Engine, wasm []byte) runtime.Module {
	t.Helper()
	m, err := e.Load(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return m
}

func instantiate(t testing.TB, m runtime.Module, c runtime.Config) runtime.Instance {
	t.Helper()
	i, err := m.Instantiate(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
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

func must(t testing.TB, i runtime.Instance, export string, input []byte) []byte {
	t.Helper()
	out, err := i.Call(t.Context(), export, input)
	if err != nil {
		t.Fatalf("%s: %v", export, err)
	}
	return out
}

func TestMain(m *testing.M) { os.Exit(m.Run()) }
