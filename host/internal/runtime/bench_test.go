package runtime_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host/internal/runtime"
)

// production is the context of a call in production: it has a deadline.
func production(b *testing.B) context.Context {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
	b.Cleanup(cancel)
	return ctx
}

func benchConfig() runtime.Config {
	c := config()
	c.Clock, c.Sleep = time.Now, nil
	return c
}

// BenchmarkEcho is a call that returns its input: the native engine with a guest
// that copies whole blocks, then Extism's SDK with the same guest built without.
// It fails if the native engine is not as much faster as it must be.
func BenchmarkEcho(b *testing.B) {
	sizes := []struct {
		name  string
		bytes int
		ratio float64 // that the native engine must reach
	}{{"100B", 100, 5}, {"100KB", 100_000, 10}}
	native := map[int]time.Duration{}
	for _, e := range engines {
		name := "go"
		if e.name == "native" {
			name = "go-bulk"
		}
		b.Run(e.name, func(b *testing.B) {
			i := instantiate(b, load(b, newEngine(b, e.make, options(b)), wasmOf(b, name)), benchConfig())
			for _, size := range sizes {
				b.Run(size.name, func(b *testing.B) {
					took := benchEcho(b, i, size.bytes)
					if e.name == "native" {
						native[size.bytes] = took
					} else if fast := native[size.bytes]; fast > 0 {
						reportRatio(b, float64(took)/float64(fast), size.ratio)
					}
				})
			}
		})
	}
}

func reportRatio(b *testing.B, ratio, want float64) {
	b.Helper()
	b.ReportMetric(ratio, "times-native")
	if ratio < want {
		b.Errorf("the native engine is %.1f times faster, want %.0f", ratio, want)
	}
}

func benchEcho(b *testing.B, i runtime.Instance, size int) time.Duration {
	b.Helper()
	in, ctx := bytes.Repeat([]byte("x"), size), production(b)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if out, err := i.Call(ctx, "echo", in); err != nil || len(out) != size {
			b.Fatal(len(out), err)
		}
	}
	return b.Elapsed() / time.Duration(b.N)
}

// BenchmarkHostCall is an echo through the host.
func BenchmarkHostCall(b *testing.B) {
	i := instantiate(b, load(b, newEngine(b, runtime.NewNative, options(b)), wasmOf(b, "go-bulk")), benchConfig())
	in, ctx := bytes.Repeat([]byte("x"), 100), production(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.Call(ctx, "work", in); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoad compiles the Go guest, without and with the disk cache.
func BenchmarkLoad(b *testing.B) {
	module := wasmOf(b, "go")
	for _, cached := range []string{"", codeCache(b)} {
		name := "cold"
		o := options(b)
		if o.CacheDir = cached; cached != "" {
			name = "cached"
		}
		b.Run(name, func(b *testing.B) {
			e := newEngine(b, runtime.NewNative, o)
			for b.Loop() {
				m, err := e.Load(b.Context(), module)
				if err != nil {
					b.Fatal(err)
				}
				closed(b, m)
			}
		})
	}
}
