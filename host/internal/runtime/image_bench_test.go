package runtime_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	goruntime "runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host/internal/runtime"
)

// BenchmarkInstantiate makes an instance and closes it: initialised for itself,
// and from the image.
func BenchmarkInstantiate(b *testing.B) {
	ways := []struct {
		name string
		make func(context.Context, runtime.Module, runtime.Config) (runtime.Instance, error)
	}{
		{"fresh", runtime.Fresh},
		{"image", func(ctx context.Context, m runtime.Module, c runtime.Config) (runtime.Instance, error) {
			return m.Instantiate(ctx, c)
		}},
	}
	for _, name := range []string{"c", "rust", "go", durable.name} {
		m, c := load(b, roomy(b), wasmOf(b, name)), benchConfig()
		instantiate(b, m, c)
		var fresh time.Duration
		for _, way := range ways {
			b.Run(name+"/"+way.name, func(b *testing.B) {
				ctx := production(b)
				b.ReportAllocs()
				for b.Loop() {
					i, err := way.make(ctx, m, c)
					if err != nil {
						b.Fatal(err)
					}
					closed(b, i)
				}
				took := b.Elapsed() / time.Duration(b.N)
				if way.name == "fresh" {
					fresh = took
				} else {
					b.ReportMetric(float64(fresh)/float64(took), "times-fresh")
				}
			})
		}
	}
}

// BenchmarkClone is an instance from the image that serves one call.
func BenchmarkClone(b *testing.B) {
	for _, name := range []string{"c", "rust", "go-bulk", durable.name} {
		b.Run(name, func(b *testing.B) {
			m, c := load(b, roomy(b), wasmOf(b, name)), benchConfig()
			instantiate(b, m, c)
			ctx, export := production(b), "echo"
			if name == durable.name {
				export = "draw"
			}
			for b.Loop() {
				i, err := m.Instantiate(ctx, c)
				if err == nil {
					_, err = i.Call(ctx, export, []byte("hello"))
				}
				if err != nil {
					b.Fatal(err)
				}
				closed(b, i)
			}
		})
	}
}

// BenchmarkRevive takes a turn of a guest that was hibernated: it is restored,
// called, its state is taken, and it is closed. Take is the state alone.
func BenchmarkRevive(b *testing.B) {
	for _, l := range lives {
		m := load(b, roomy(b), wasmOf(b, l.guest))
		w := newTurnWorld()
		w.enter(0)
		i := instantiate(b, m, w.config(l.vars, nil))
		for turn := range 10 {
			takeTurn(b, i, turn)
		}
		s := stateOf(b, i)
		b.Run(l.name+"/restore", func(b *testing.B) {
			for b.Loop() {
				i, err := m.Instantiate(b.Context(), w.config(l.vars, s))
				if err != nil {
					b.Fatal(err)
				}
				closed(b, i)
			}
			b.ReportMetric(float64(len(s.Pages)), "pages")
		})
		b.Run(l.name+"/turn", func(b *testing.B) {
			for b.Loop() {
				i, err := m.Instantiate(b.Context(), w.config(l.vars, s))
				if err != nil {
					b.Fatal(err)
				}
				takeTurn(b, i, 10)
				stateOf(b, i)
				closed(b, i)
			}
		})
		b.Run(l.name+"/take", func(b *testing.B) {
			for b.Loop() {
				stateOf(b, i)
			}
		})
	}
}

// BenchmarkKill is how long a spinning guest goes on after its context is done,
// with as many others spinning as there are processors.
func BenchmarkKill(b *testing.B) {
	for _, name := range []string{"c", "go"} {
		for _, others := range []int{0, goruntime.GOMAXPROCS(0)} {
			b.Run(name+map[bool]string{true: "/alone", false: "/busy"}[others == 0], func(b *testing.B) {
				m := load(b, roomy(b), wasmOf(b, name))
				ctx, cancel := context.WithCancel(b.Context())
				var all sync.WaitGroup
				for range others {
					i := instantiate(b, m, benchConfig())
					all.Go(func() { _, _ = i.Call(ctx, "spin", nil) })
				}
				var late []time.Duration
				for b.Loop() {
					late = append(late, kill(b, m))
				}
				cancel()
				all.Wait()
				slices.Sort(late)
				b.ReportMetric(float64(late[len(late)/2])/1e6, "median-ms")
				b.ReportMetric(float64(late[len(late)*99/100])/1e6, "p99-ms")
			})
		}
	}
}

func kill(b *testing.B, m runtime.Module) time.Duration {
	b.Helper()
	i, err := m.Instantiate(b.Context(), benchConfig())
	if err != nil {
		b.Fatal(err)
	}
	defer closed(b, i)
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Millisecond)
	defer cancel()
	due, _ := ctx.Deadline()
	if _, err := i.Call(ctx, "spin", nil); err == nil {
		b.Fatal("it came to an end")
	}
	return time.Since(due)
}

// BenchmarkFuel is a loop with and without an account, in nanoseconds per unit.
func BenchmarkFuel(b *testing.B) {
	for name, fuel := range map[string]runtime.Fuel{"unlimited": nil, "account": &budget{left: 1 << 60}} {
		b.Run(name, func(b *testing.B) {
			c := benchConfig()
			c.Fuel = fuel
			i := instantiate(b, load(b, roomy(b), wasmOf(b, "c")), c)
			before := i.Fuel()
			for b.Loop() {
				must(b, i, "churn", u64(10_000))
			}
			b.ReportMetric(float64(b.Elapsed())/float64(i.Fuel()-before), "ns/fuel")
		})
	}
}

// BenchmarkResident is the memory that the process needs for each of 1,000
// instances that have served a call, or wait in one, and what the engine says.
func BenchmarkResident(b *testing.B) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		b.Skip("needs /proc")
	}
	for _, name := range []string{"c", "rust", "go-bulk"} {
		for _, blocked := range []bool{false, true} {
			b.Run(name+map[bool]string{true: "/blocked", false: "/live"}[blocked], func(b *testing.B) {
				e := roomy(b)
				m := load(b, e, wasmOf(b, name))
				closed(b, instantiate(b, m, benchConfig()))
				for b.Loop() {
					resident(b, e, m, blocked)
				}
			})
		}
	}
}

func resident(b *testing.B, e runtime.Engine, m runtime.Module, blocked bool) {
	b.Helper()
	const n = 1000
	wait, ready := make(chan struct{}), make(chan struct{}, n)
	c := benchConfig()
	c.Host = hostFunc(func(_ context.Context, _ string, request []byte) ([]byte, error) {
		ready <- struct{}{}
		if blocked {
			<-wait
		}
		return request, nil
	})
	is := make([]runtime.Instance, n)
	debug.FreeOSMemory()
	before, shared := residentKiB(b), proportionalKiB(b)
	var all sync.WaitGroup
	for k := range is {
		i, err := m.Instantiate(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		is[k] = i
		all.Go(func() {
			if out, err := i.Call(b.Context(), "work", []byte("hello")); err != nil || !bytes.Equal(out, []byte("hello")) {
				b.Error(string(out), err)
			}
		})
		<-ready
	}
	if !blocked {
		all.Wait()
	}
	debug.FreeOSMemory()
	b.ReportMetric(float64(residentKiB(b)-before)/n, "KiB/instance")
	b.ReportMetric(float64(proportionalKiB(b)-shared)/n, "PSS-KiB/instance")
	b.ReportMetric(float64(e.Memory())/n/1024, "counted-KiB")
	close(wait)
	all.Wait()
	for _, i := range is {
		closed(b, i)
	}
}

// proportionalKiB counts a page that is mapped many times once.
func proportionalKiB(b *testing.B) int {
	b.Helper()
	content, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		b.Skip(err)
	}
	_, line, _ := strings.Cut(string(content), "Pss:")
	var kib int
	if _, err := fmt.Sscan(line, &kib); err != nil {
		b.Fatal(err)
	}
	return kib
}
