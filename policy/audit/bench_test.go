package audit

import (
	"context"
	"fmt"
	"testing"

	"github.com/vespiary/vespiary/host/store"
)

// BenchmarkNote is what the log adds to a call: the place in the chain, the canonical form
// and its hash. The commit does nothing.
func BenchmarkNote(b *testing.B) {
	for _, evidence := range []int{0, 1024} {
		b.Run(fmt.Sprintf("evidence=%d", evidence), func(b *testing.B) {
			l := newLog(b, newMemory())
			r := record("task")
			r.Evidence = make([]byte, evidence)
			b.ReportAllocs()
			size := 0
			for b.Loop() {
				q := *r
				err := l.Note(context.Background(), &q, func(ops ...store.Op) error {
					size = len(ops[0].Value)
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size), "B/record")
		})
	}
}

func BenchmarkCanonical(b *testing.B) {
	r := record("task")
	r.ID, r.N, r.Prev, r.Time = "task.1", 1, r.Decision.Set, newClock().now()
	buf := canonical(nil, r)
	b.ReportAllocs()
	for b.Loop() {
		buf = canonical(buf[:0], r)
	}
}

func BenchmarkHash(b *testing.B) {
	buf := canonical(nil, record("task"))
	for b.Loop() {
		digest(buf)
	}
}

// BenchmarkIntegrate is the price of a place in the signed tree, for each record.
func BenchmarkIntegrate(b *testing.B) {
	l := newLog(b, newMemory())
	ops := func(n int) store.Batch {
		var batch store.Batch
		for i := range maxLeaves {
			p := place{int64(n*maxLeaves + i + 1), "task", uint64(i)}
			batch.Ops = append(batch.Ops, store.Op{Key: p.key(queue, tenant), Value: make([]byte, 32)})
		}
		return batch
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		b.StopTimer()
		_, _ = l.opt.Store.Commit(context.Background(), ops(n))
		n++
		b.StartTimer()
		if _, err := l.sequence(context.Background(), tenant); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*maxLeaves), "ns/record")
}

func BenchmarkDecode(b *testing.B) {
	buf := canonical(nil, record("task"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(buf); err != nil {
			b.Fatal(err)
		}
	}
}
