package gate_test

import (
	"context"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/gate"
	"github.com/vespiary/vespiary/policy/cedar"
)

func BenchmarkCall(b *testing.B) {
	w := newWorld(b)
	starter, err := cedar.Load(cedar.Starter())
	if err != nil {
		b.Fatal(err)
	}
	w.policy.Replace(starter, nil)
	_, g := w.begin(gate.TurnOptions{})
	request := []byte(`{"path":"notes/today.md"}`)
	w.caps["read"].(*capability).perform = func(context.Context, *host.Call) (host.Output, error) {
		return host.Output{OK: []byte(`{"text":"x"}`)}, nil
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := g.Call(context.Background(), "read", request); err != nil {
			b.Fatal(err)
		}
		if i%200 == 199 { // before the gate would commit by itself
			b.StopTimer()
			w.commit()
			w.took()
			b.StartTimer()
		}
	}
	b.ReportMetric((perCall(b)-w.work(b, request))/1000, "µs-over-its-work")
}

// perCall returns the nanoseconds of one iteration.
func perCall(b *testing.B) float64 {
	b.Helper()
	return float64(b.Elapsed().Nanoseconds()) / float64(b.N)
}

// work returns the nanoseconds that the capability itself takes.
func (w *world) work(b *testing.B, request []byte) float64 {
	b.Helper()
	const rounds = 10_000
	begun := time.Now()
	for range rounds {
		c := &host.Call{Name: "read", Request: request}
		var err error
		if c.Class, err = w.caps["read"].Classify(b.Context(), c); err != nil {
			b.Fatal(err)
		}
		if _, err := w.caps["read"].Perform(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
	return float64(time.Since(begun).Nanoseconds()) / rounds
}
