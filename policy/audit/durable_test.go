package audit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vespiary/vespiary/host/store"
)

// synced is a memory whose commits wait for the disk, those that come together for one
// fsync, as the store that keeps data does it.
type synced struct {
	*memory
	file    *os.File
	waiting chan commit
}

type commit struct {
	batch store.Batch
	done  chan error
}

func newSynced(b *testing.B) *synced {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	s := &synced{memory: newMemory(), file: f, waiting: make(chan commit, 1024)}
	var loop sync.WaitGroup
	loop.Go(s.loop)
	b.Cleanup(func() {
		close(s.waiting)
		loop.Wait()
		_ = f.Close()
	})
	return s
}

func (s *synced) Commit(_ context.Context, batch store.Batch) (store.Revision, error) {
	c := commit{batch, make(chan error, 1)}
	s.waiting <- c
	return 0, <-c.done
}

func (s *synced) loop() {
	for c := range s.waiting {
		group := []commit{c}
		for n := len(s.waiting); n > 0; n-- {
			group = append(group, <-s.waiting)
		}
		for _, c := range group {
			for _, op := range c.batch.Ops {
				_, _ = s.file.Write(append(op.Key, op.Value...))
			}
		}
		err := s.file.Sync()
		for _, c := range group {
			if err == nil {
				_, err = s.memory.Commit(context.Background(), c.batch)
			}
			c.done <- err
		}
	}
}

// BenchmarkDurable is how many records become durable in a second, beside what the disk does
// with the same bytes when each is synced by itself.
func BenchmarkDurable(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		s := newSynced(b)
		ops, end := []store.Op{}, head{}
		ops = newLog(b, s).number(ops, &end, record("task"))
		race(b, 1, func(int) error {
			for _, op := range ops {
				if _, err := s.file.Write(append(op.Key, op.Value...)); err != nil {
					return err
				}
			}
			return s.file.Sync()
		})
	})
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d/chain=one", writers), func(b *testing.B) {
			l := newLog(b, newSynced(b))
			race(b, writers, func(int) error { return l.Write(context.Background(), record("people")) })
		})
		b.Run(fmt.Sprintf("writers=%d/chain=each", writers), func(b *testing.B) {
			s := newSynced(b)
			l := newLog(b, s)
			race(b, writers, func(w int) error {
				return l.Note(context.Background(), record(fmt.Sprint("task", w)), commitTo(s))
			})
		})
	}
}

// race does something b.N times by several writers.
func race(b *testing.B, writers int, do func(writer int) error) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	for w := range writers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := do(w); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
