package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/store"
)

// watch collects changes until one has the revision, and ends the watch.
func watch(t *testing.T, seq iter.Seq2[store.Change, error], until store.Revision) (got []store.Change) {
	t.Helper()
	for c, err := range seq {
		if err != nil {
			t.Fatalf("watch: %v", err)
		}
		if got = append(got, c); c.Revision >= until {
			return got
		}
	}
	t.Fatalf("the watch ended before revision %d", until)
	return nil
}

// testWatch writes from several goroutines: the watcher sees each commit once, in
// order, with the ops that make the state.
func testWatch(t *testing.T, s *suite) {
	const writers, each = 6, 30
	seq := s.Watch(t.Context(), nil)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				ops := []store.Op{put(fmt.Sprintf("w%d", w), fmt.Sprint(i)), put("shared", fmt.Sprint(w, i)), del("old")}
				if _, err := s.Commit(t.Context(), store.Batch{Ops: ops}); err != nil {
					t.Errorf("commit: %v", err)
				}
			}
		})
	}
	wg.Wait()
	last := s.commit(t, put("last", "x"))
	got := watch(t, seq, last)
	if len(got) != writers*each+1 {
		t.Errorf("%d changes, want %d", len(got), writers*each+1)
	}
	state := map[string]string{}
	var r store.Revision
	for _, c := range got {
		if c.Revision <= r {
			t.Fatalf("revision %d after %d", c.Revision, r)
		}
		r = c.Revision
		for _, op := range c.Ops {
			if op.Value == nil {
				delete(state, string(op.Key))
				continue
			}
			state[string(op.Key)] = fmt.Sprintf("%s@%d", op.Value, r)
		}
	}
	want := map[string]string{}
	s.view(t, func(tx store.Tx) {
		for i, err := range tx.Scan(store.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			want[string(i.Key)] = fmt.Sprintf("%s@%d", i.Value, i.Revision)
		}
	})
	if diff := cmp.Diff(want, state); diff != "" {
		t.Errorf("state of the store and of the changes (-store +changes):\n%s", diff)
	}
}

// testWatchFromCall: a watch begins when Watch is called, not when it is read.
func testWatchFromCall(t *testing.T, s *suite) {
	s.commit(t, put("before", "1"))
	seq := s.Watch(t.Context(), nil)
	first := s.commit(t, put("after", "1"))
	second := s.commit(t, put("after", "2"))
	want := []store.Change{
		{Revision: first, Ops: []store.Op{put("after", "1")}},
		{Revision: second, Ops: []store.Op{put("after", "2")}},
	}
	if diff := cmp.Diff(want, watch(t, seq, second)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

// testWatchPrefix: a change holds the ops with the prefix, deletions too, and only
// what was committed.
func testWatchPrefix(t *testing.T, s *suite) {
	seq := s.Watch(t.Context(), []byte("in/"))
	r1 := s.commit(t, put("in/a", "1"), put("out/a", "1"), put("in/b", ""))
	s.commit(t, put("out/b", "1"), put("in", "1"))
	r2 := s.commit(t, del("in/a"), del("out/a"))
	if _, err := s.Commit(t.Context(), store.Batch{
		Ops: []store.Op{put("in/never", "1")}, Conds: []store.Cond{{Key: []byte("in/b")}},
	}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("commit: %v, want ErrConflict", err)
	}
	r3 := s.commit(t, put("in/c", "1"))
	want := []store.Change{
		{Revision: r1, Ops: []store.Op{put("in/a", "1"), put("in/b", "")}},
		{Revision: r2, Ops: []store.Op{del("in/a")}},
		{Revision: r3, Ops: []store.Op{put("in/c", "1")}},
	}
	if diff := cmp.Diff(want, watch(t, seq, r3)); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}

// testWatchEnds: the end of the context ends the sequence, without an error.
func testWatchEnds(t *testing.T, s *suite) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seq := s.Watch(ctx, nil)
	s.commit(t, put("a", "1"))
	n := 0
	for _, err := range seq {
		if err != nil {
			t.Errorf("watch: %v", err)
		}
		n++
		cancel()
	}
	if n != 1 {
		t.Errorf("%d changes, want 1", n)
	}
	for _, err := range s.Watch(ended(t), nil) {
		t.Errorf("a watch with an ended context yields, error %v", err)
	}
}

// testWatchClose: closing the store ends watches with ErrClosed.
func testWatchClose(t *testing.T, s *suite) {
	seq := s.Watch(t.Context(), nil)
	r := s.commit(t, put("a", "1"))
	done := make(chan error)
	started := make(chan struct{})
	go func() {
		var last error
		for c, err := range seq {
			if c.Revision == r {
				close(started)
			}
			last = err
		}
		done <- last
	}()
	<-started
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	if err := <-done; !errors.Is(err, store.ErrClosed) {
		t.Errorf("the watch ended with %v, want ErrClosed", err)
	}
	n := 0
	for _, err := range s.Watch(t.Context(), nil) {
		if n++; !errors.Is(err, store.ErrClosed) {
			t.Errorf("a watch of a closed store yields %v, want ErrClosed", err)
		}
	}
	if n != 1 {
		t.Errorf("a watch of a closed store yields %d pairs, want 1", n)
	}
}

// testWatchNeverBlocks does not read a watch for long. Commits go on, and what it
// yields afterwards has no gap before its error, if it has one.
func testWatchNeverBlocks(t *testing.T, s *suite) {
	const writers, each = 16, 200
	seq := s.Watch(t.Context(), []byte("w"))
	revisions := make([][]store.Revision, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for range each {
				op := store.Op{Key: []byte("w"), Value: bytes.Repeat([]byte("x"), 100)}
				r, err := s.Commit(t.Context(), store.Batch{Ops: []store.Op{op}})
				if err != nil {
					t.Errorf("commit: %v", err)
				}
				revisions[w] = append(revisions[w], r)
			}
		})
	}
	wg.Wait()
	want := slices.Sorted(slices.Values(slices.Concat(revisions...)))
	for c, err := range seq {
		if err != nil {
			t.Logf("fell behind with %d of %d changes left: %v", len(want), writers*each, err)
			return
		}
		if c.Revision != want[0] {
			t.Fatalf("revision %d, want %d", c.Revision, want[0])
		}
		if want = want[1:]; len(want) == 0 {
			return
		}
	}
}
