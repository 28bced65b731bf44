package runtime_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	goruntime "runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"

	"github.com/vespiary/vespiary/host/internal/runtime"
)

// TestConcurrentInstances runs a hundred instances at once, of a few modules
// that are loaded at the same time, and looks for goroutines that are left.
func TestConcurrentInstances(t *testing.T) {
	c, gowasm := wasmOf(t, "c"), wasmOf(t, "go-bulk")
	before := goruntime.NumGoroutine()
	e := newEngine(t, runtime.NewNative, options(t))
	var all sync.WaitGroup
	for n := range 100 {
		module := c
		if n%10 == 0 {
			module = gowasm
		}
		all.Go(func() { runInstance(t, e, module, n) })
	}
	all.Wait()
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for range 1000 { // those that wait for a context are told by wazero, and need a moment to end
		if goruntime.NumGoroutine() <= before {
			return
		}
		goruntime.Gosched()
		goruntime.GC()
	}
	buf := make([]byte, 1<<16)
	t.Errorf("%d goroutines before, %d after:\n%s", before, goruntime.NumGoroutine(), buf[:goruntime.Stack(buf, true)])
}

func runInstance(t *testing.T, e runtime.Engine, module []byte, n int) {
	t.Helper()
	m, err := e.Load(t.Context(), module)
	if err != nil {
		t.Error(err)
		return
	}
	defer closed(t, m)
	cfg := config()
	cfg.Host = hostFunc(func(_ context.Context, _ string, b []byte) ([]byte, error) {
		goruntime.Gosched()
		return append(b, fmt.Append(nil, n)...), nil
	})
	i, err := m.Instantiate(t.Context(), cfg)
	if err != nil {
		t.Error(err)
		return
	}
	defer closed(t, i)
	for k := range 20 {
		in := bytes.Repeat([]byte{byte(n)}, 1+k*n)
		out, err := i.Call(t.Context(), "work", in)
		if want := append(in, fmt.Append(nil, n)...); err != nil || !bytes.Equal(out, want) {
			t.Errorf("instance %d, call %d: %d bytes, %v", n, k, len(out), err)
			return
		}
	}
}

// TestMemoryReturns loads a Go guest and fills instances again and again: what
// they used goes back to the system.
func TestMemoryReturns(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("needs /proc")
	}
	module := wasmOf(t, "go")
	round := func() (used, left int) {
		e := newEngine(t, runtime.NewNative, options(t))
		m := load(t, e, module)
		var is []runtime.Instance
		for range 4 {
			i := instantiate(t, m, config())
			must(t, i, "grow", u64(10<<20))
			is = append(is, i)
		}
		used = residentMiB(t)
		for _, i := range is {
			closed(t, i)
		}
		closed(t, m)
		closed(t, e)
		debug.FreeOSMemory()
		return used, residentMiB(t)
	}
	round()
	_, first := round()
	open, last := round()
	if open-last < 30 {
		t.Errorf("closing four instances with 10 MiB each gave back %d MiB of %d", open-last, open)
	}
	if last-first > 20 {
		t.Errorf("the process grew from %d MiB to %d", first, last)
	}
}

func residentMiB(t *testing.T) int {
	t.Helper()
	return residentKiB(t) >> 10
}

func residentKiB(tb testing.TB) int {
	tb.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		tb.Fatal(err)
	}
	_, line, _ := strings.Cut(string(b), "VmRSS:")
	var kib int
	if _, err := fmt.Sscan(line, &kib); err != nil {
		tb.Fatal(err)
	}
	return kib
}
