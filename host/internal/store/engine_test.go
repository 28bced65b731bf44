package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/store"
)

// TestLargeBatchIsAtomic commits batches that Badger must split while views look
// at their first and last keys.
func TestLargeBatchIsAtomic(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Edge: true})
	defer closeStore(t, s)
	const ops = 14_000 // Badger takes some 13,000 at once
	large := func(round byte) (b store.Batch) {
		for i := range uint32(ops) {
			b.Ops = append(b.Ops, store.Op{Key: binary.BigEndian.AppendUint32(nil, i), Value: []byte{round}})
		}
		return b
	}
	commit(t, s, large(0))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			lookAtEnds(t, s)
		}
	})
	for round := range 3 {
		commit(t, s, large(byte(round+1)))
	}
	cancel()
	wg.Wait()
}

func lookAtEnds(t *testing.T, s *Local) {
	t.Helper()
	err := s.View(context.Background(), func(tx store.Tx) error {
		var ends []store.Item
		for _, back := range []bool{true, false} {
			for i, err := range tx.Scan(store.Query{Reverse: back, Limit: 1}) {
				if err != nil {
					return err
				}
				ends = append(ends, i)
			}
		}
		if ends[0].Revision != ends[1].Revision || ends[0].Value[0] != ends[1].Value[0] {
			t.Errorf("a view sees revisions %d and %d of one batch", ends[0].Revision, ends[1].Revision)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestOldViewSurvivesCompaction keeps a view open while its keys are overwritten
// often enough to go through memtables and compactions, and checks afterwards that
// old versions do not pile up once nobody reads them.
func TestOldViewSurvivesCompaction(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, Edge: true})
	const keys, size, rounds = 32, 64 << 10, 48 // 96 MiB
	write := func(round int) {
		var b store.Batch
		for k := range keys {
			b.Ops = append(b.Ops, store.Op{Key: fmt.Appendf(nil, "key/%02d", k), Value: noise(size, uint64(round*keys+k))})
		}
		commit(t, s, b)
	}
	write(0)
	err := s.View(t.Context(), func(tx store.Tx) error {
		for round := range rounds / 2 {
			write(round + 1)
		}
		if err := s.db.Flatten(2); err != nil { // compact all there is
			return err
		}
		n := 0
		for i, err := range tx.Scan(store.Query{}) {
			if err != nil {
				return err
			}
			if !bytes.Equal(i.Value, noise(size, uint64(n))) {
				t.Errorf("the view sees another value of %s, of revision %d", i.Key, i.Revision)
			}
			n++
		}
		if n != keys {
			t.Errorf("the view has %d keys of %d", n, keys)
		}
		return nil
	})
	check(t, err)
	for round := range rounds / 2 {
		write(rounds/2 + round + 1)
	}
	check(t, s.db.Flatten(2))
	closeStore(t, s)
	// Memtables and level 0 may hold old versions, and below that nothing does.
	p := s.opts.profile()
	limit := int64(p.memtables+1+2*p.levelZero)*p.memtable + 2*keys*size
	if got := diskUsage(t, filepath.Join(dir, "db")); got > limit {
		t.Errorf("%d MiB of tables, more than %d, for %d KiB of data", got/mib, limit/mib, keys*size>>10)
	}
	if got := diskUsage(t, filepath.Join(dir, "redo")); got > 4*4*mib {
		t.Errorf("a closed store keeps %d KiB of redo log", got>>10)
	}
}

// TestSynced takes what synced says at its word: a copy of the tables alone, as a
// power cut may leave them, has all commits up to that revision.
func TestSynced(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir, Edge: true}
	s := open(t, o)
	defer closeStore(t, s)
	if r := synced(s.db, s.opened); r != 0 {
		t.Errorf("an empty store has synced revision %d", r)
	}
	var upTo store.Revision
	n := uint64(0)
	for upTo < 100 {
		n++
		commit(t, s, put(fmt.Sprint(n), noise(100<<10, n)))
		upTo = synced(s.db, s.opened)
	}
	copied := filepath.Join(t.TempDir(), dbName)
	copyTorn(t, filepath.Join(dir, dbName), copied)
	logs, err := filepath.Glob(filepath.Join(copied, "*.mem"))
	check(t, err)
	for _, path := range logs {
		check(t, os.Remove(path))
	}
	db, _, err := openBadger(o.withDefaults(), copied)
	check(t, err)
	for i := range uint64(upTo) {
		r, err := revisionOf(db, store.Revision(n), []byte(fmt.Sprint(i+1)))
		if uint64(r) != i+1 || err != nil {
			t.Errorf("revision %d of %d is not in the tables: %d, %v", i+1, upTo, r, err)
		}
	}
	check(t, db.Close())
}

func diskUsage(t *testing.T, dir string) (n int64) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	}))
	return n
}

// TestRedoIsBounded commits several times what the log keeps.
func TestRedoIsBounded(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir, Edge: true}
	s := open(t, o)
	defer closeStore(t, s)
	p := o.profile()
	value := noise(256<<10, 1)
	for i := range 2 * int(p.keep()) / len(value) {
		commit(t, s, put(fmt.Sprint(i%50), value))
	}
	// Kept, not yet synced, the current one, and spares.
	limit := p.keep() + int64(p.memtables+1)*p.memtable + 4*p.segment
	if got := diskUsage(t, filepath.Join(dir, "redo")); got > limit {
		t.Errorf("the redo log has %d MiB, more than %d", got/mib, limit/mib)
	}
	if s.log.First() == 0 {
		t.Error("no segment was given up")
	}
}

// TestSlowWatcher: a watcher that does not read gets what fits and then an error,
// and costs no more than that.
func TestSlowWatcher(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Edge: true})
	defer closeStore(t, s)
	tests := []struct {
		name   string
		size   int
		commit int
		want   int
	}{
		{"many changes", 10, maxBehind + 50, maxBehind},
		{"many bytes", 1<<20 - 2, 20, 16},
	}
	for _, tt := range tests {
		seq := s.Watch(t.Context(), []byte(tt.name))
		var wg sync.WaitGroup
		for w := range 10 {
			wg.Go(func() {
				for range (tt.commit + 9 - w) / 10 {
					if _, err := s.Commit(t.Context(), put(tt.name, make([]byte, tt.size-len(tt.name)+2))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		var last error
		n := 0
		for c, err := range seq {
			if last = err; err == nil {
				n++
			}
			_ = c
		}
		if n != tt.want || last == nil || errors.Is(last, store.ErrClosed) {
			t.Errorf("%s: %d changes, then %v, want %d and an error", tt.name, n, last, tt.want)
		}
		for _, err := range seq {
			if err == nil {
				t.Errorf("%s: a watch that ended yields more", tt.name)
			}
		}
	}
}

// TestAbandonedWatch: a watch that is never read is forgotten when its context ends.
func TestAbandonedWatch(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Edge: true})
	defer closeStore(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	s.Watch(ctx, nil)
	cancel()
	for {
		s.hub.mu.Lock()
		n := len(s.hub.watchers)
		s.hub.mu.Unlock()
		if n == 0 {
			return
		}
		commit(t, s, put("a", nil))
	}
}

// TestEmptyBatch checks conditions only.
func TestEmptyBatch(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Edge: true})
	defer closeStore(t, s)
	r := commit(t, s, put("a", []byte("1")))
	cond := []store.Cond{{Key: []byte("a"), Revision: r}}
	if got, err := s.Commit(t.Context(), store.Batch{Conds: cond}); got != r || err != nil {
		t.Errorf("revision %d, %v, want %d", got, err, r)
	}
	cond[0].Revision++
	if _, err := s.Commit(t.Context(), store.Batch{Conds: cond}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("error is %v, want ErrConflict", err)
	}
	if got := commit(t, s, put("b", []byte("1"))); got != r+1 {
		t.Errorf("the next revision is %d, want %d", got, r+1)
	}
}

// TestGroup runs a group of dependent batches through the committer at once: each
// sees the ones before it.
func TestGroup(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Edge: true})
	defer closeStore(t, s)
	base := commit(t, s, put("a", []byte("0")))
	cond := func(key string, r store.Revision) []store.Cond { return []store.Cond{{Key: []byte(key), Revision: r}} }
	tests := []struct {
		batch store.Batch
		want  store.Revision // 0: conflict
	}{
		{store.Batch{Ops: put("a", []byte("1")).Ops, Conds: cond("a", base)}, base + 1},
		{store.Batch{Ops: put("a", []byte("x")).Ops, Conds: cond("a", base)}, 0},
		{store.Batch{Ops: put("a", nil).Ops, Conds: cond("a", base+1)}, base + 2},
		{store.Batch{Conds: cond("a", 0)}, base + 2},
		{store.Batch{Ops: put("b", []byte("1")).Ops, Conds: cond("a", 0)}, base + 3},
		{store.Batch{Ops: put("b", []byte("x")).Ops, Conds: cond("b", 0)}, 0},
		{store.Batch{Ops: put("c", []byte("1")).Ops}, base + 4},
	}
	var group []*request
	var done []chan result
	for _, tt := range tests {
		r := &request{ctx: t.Context(), batch: tt.batch, done: make(chan result, 1)}
		group, done = append(group, r), append(done, r.done)
	}
	before := s.Stats()
	s.commitGroup(group) // the committer is idle
	for i, tt := range tests {
		res := <-done[i]
		if res.revision != tt.want || errors.Is(res.err, store.ErrConflict) != (tt.want == 0) {
			t.Errorf("batch %d: revision %d, %v, want %d", i, res.revision, res.err, tt.want)
		}
	}
	after := s.Stats()
	after.GroupSizes[2]-- // a group of 4
	want := before
	want.Revision, want.Commits, want.Conflicts, want.Syncs = base+4, before.Commits+4, before.Conflicts+2, before.Syncs+1
	want.Bytes, want.FreeBytes = after.Bytes, after.FreeBytes
	if diff := cmp.Diff(want, after); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

// TestViewAfterItsEnd: a view that was kept gives errors.
func TestViewAfterItsEnd(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Edge: true})
	defer closeStore(t, s)
	commit(t, s, put("a", []byte("1")))
	var kept store.Tx
	check(t, s.View(t.Context(), func(tx store.Tx) error {
		kept = tx
		return nil
	}))
	if _, err := kept.Get([]byte("a")); err == nil {
		t.Error("get succeeds")
	}
	for _, err := range kept.Scan(store.Query{}) {
		if err == nil {
			t.Error("scan yields an item")
		}
	}
}

// TestCanceledScan ends with the context's error.
func TestCanceledScan(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Edge: true})
	defer closeStore(t, s)
	commit(t, s, store.Batch{Ops: []store.Op{{Key: []byte("a"), Value: []byte("1")}, {Key: []byte("b"), Value: []byte("1")}}})
	ctx, cancel := context.WithCancel(t.Context())
	err := s.View(ctx, func(tx store.Tx) error {
		for _, err := range tx.Scan(store.Query{}) {
			if err != nil {
				return err
			}
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("view: %v, want canceled", err)
	}
}

// TestOpenCanceled does not leave the folder locked.
func TestOpenCanceled(t *testing.T) {
	dir := crashedStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := Options{Dir: dir, Edge: true, MinFree: 1}
	if _, err := Open(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("open: %v, want canceled", err)
	}
	opened(t, dir, false)
}
