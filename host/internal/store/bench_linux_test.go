package store

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/vespiary/vespiary/host/store"
)

const benchValue = 300

// writers runs op from n goroutines, b.N times in all, and returns ops per second.
func writers(b *testing.B, n int, op func(key, value []byte) error) float64 {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for w := range n {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(w)))
			for i := 0; next.Add(1) <= int64(b.N); i++ {
				value := make([]byte, benchValue)
				for j := 0; j < len(value); j += 4 {
					binary.LittleEndian.PutUint32(value[j:], r.Uint32())
				}
				key := binary.BigEndian.AppendUint32([]byte("session/"), uint32(w))
				key = binary.BigEndian.AppendUint64(key, uint64(i))
				if err := op(key, value); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(b.N) / time.Since(start).Seconds()
}

// BenchmarkDurable compares durable batches of one 300-byte value: this store,
// Badger with SyncWrites and a transaction for each, and a bare file with one
// fdatasync for each. x-badger and x-file are ratios to the other two.
func BenchmarkDurable(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(map[int]string{1: "1", 16: "16", 256: "256"}[n]+"-writers", func(b *testing.B) {
			ours := benchLocal(b, n)
			plain := benchBadger(b, n)
			file := benchFile(b, n)
			b.ReportMetric(ours, "local/s")
			b.ReportMetric(plain, "badger/s")
			b.ReportMetric(file, "file/s")
			b.ReportMetric(ours/plain, "x-badger")
			b.ReportMetric(ours/file, "x-file")
		})
	}
}

func benchLocal(b *testing.B, n int) float64 {
	b.Helper()
	s, err := Open(b.Context(), Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	rate := writers(b, n, func(key, value []byte) error {
		_, err := s.Commit(b.Context(), store.Batch{Ops: []store.Op{{Key: key, Value: value}}})
		return err
	})
	st := s.Stats()
	b.ReportMetric(float64(st.Commits)/float64(st.Syncs), "batches/sync")
	return rate
}

func benchBadger(b *testing.B, n int) float64 {
	b.Helper()
	o := Options{Dir: b.TempDir()}.withDefaults()
	db, err := badger.Open(o.badger(o.Dir).WithSyncWrites(true))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	return writers(b, n, func(key, value []byte) error {
		return db.Update(func(t *badger.Txn) error { return t.Set(key, value) })
	})
}

func benchFile(b *testing.B, n int) float64 {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "file"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var mu sync.Mutex
	return writers(b, n, func(key, value []byte) error {
		mu.Lock()
		defer mu.Unlock()
		if _, err := f.Write(append(key, value...)); err != nil {
			return err
		}
		return syscall.Fdatasync(int(f.Fd()))
	})
}
