package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/store"
)

// testContext: an ended context ends calls and does the store no harm.
func testContext(t *testing.T, s *suite) {
	if err := s.View(ended(t), func(store.Tx) error { return nil }); err == nil {
		t.Error("view with an ended context succeeds")
	}
	if _, err := s.Commit(ended(t), store.Batch{Ops: []store.Op{put("a", "1")}}); err == nil {
		t.Log("commit with an ended context was written, which is allowed")
	}
	r := s.commit(t, put("a", "2"))
	s.wantItem(t, "a", "2", r)
}

// testReopen: everything is there after each of several closings.
func testReopen(t *testing.T, s *suite) {
	want := map[string]string{}
	for round := range 4 {
		for i := range 20 {
			k, v := fmt.Sprintf("k%d", (i*7+round)%30), fmt.Sprintf("%d.%d", round, i)
			if i%4 == 3 {
				s.commit(t, del(k))
				delete(want, k)
				continue
			}
			want[k] = fmt.Sprintf("%s@%d", v, s.commit(t, put(k, v)))
		}
		s.reopen(t)
		var lines []string
		for k, v := range want {
			lines = append(lines, k+"="+v)
		}
		slices.Sort(lines)
		got := s.all(t)
		slices.Sort(got)
		if diff := cmp.Diff(lines, got); diff != "" {
			t.Fatalf("round %d (-want +got):\n%s", round, diff)
		}
	}
}

// testRevisionsSurvive leaves nothing in the store that a revision could be
// learned from.
func testRevisionsSurvive(t *testing.T, s *suite) {
	var last store.Revision
	for range 4 {
		s.commit(t, put("a", "1"))
		r := s.commit(t, del("a"))
		if r <= last {
			t.Fatalf("revision %d after %d", r, last)
		}
		last = r
		s.reopen(t)
		s.reopen(t)
	}
}

// testClose: Close is idempotent, and what comes after it gets ErrClosed.
func testClose(t *testing.T, s *suite) {
	s.commit(t, put("a", "1"))
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := s.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
	wg.Wait()
	if _, err := s.Commit(t.Context(), store.Batch{Ops: []store.Op{put("a", "2")}}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("commit after close: %v, want ErrClosed", err)
	}
	if err := s.View(t.Context(), func(store.Tx) error { return nil }); !errors.Is(err, store.ErrClosed) {
		t.Errorf("view after close: %v, want ErrClosed", err)
	}
}

// testCloseDuringCommits: a commit at the time of Close is either acknowledged and
// kept, or refused and not written.
func testCloseDuringCommits(t *testing.T, s *suite) {
	const writers = 8
	acked := make([]int, writers)
	var started, wg sync.WaitGroup
	started.Add(writers)
	for w := range writers {
		wg.Go(func() {
			for i := 1; ; i++ {
				_, err := s.Commit(t.Context(), store.Batch{Ops: []store.Op{put(fmt.Sprintf("w%d/%06d", w, i), "x")}})
				if i == 5 {
					started.Done()
				}
				if errors.Is(err, store.ErrClosed) {
					return
				}
				if err != nil {
					t.Errorf("commit: %v", err)
					return
				}
				acked[w] = i
			}
		})
	}
	started.Wait()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	wg.Wait()
	s.reopen(t)
	s.view(t, func(tx store.Tx) {
		for w, n := range acked {
			if got := len(scan(t, tx, store.Query{Prefix: fmt.Appendf(nil, "w%d/", w), KeysOnly: true})); got != n {
				t.Errorf("writer %d: %d keys, %d acknowledged", w, got, n)
			}
		}
	})
}

// testModel makes random batches and compares the store with a map.
func testModel(t *testing.T, s *suite) {
	rnd := rand.New(rand.NewPCG(7, 7))
	model := map[string]store.Item{}
	key := func() string { return fmt.Sprintf("k%02d", rnd.IntN(40)) }
	for step := range 400 {
		var b store.Batch
		for range rnd.IntN(5) {
			op := put(key(), fmt.Sprint("v", step, rnd.IntN(100)))
			if rnd.IntN(3) == 0 {
				op.Value = nil
			}
			b.Ops = append(b.Ops, op)
		}
		holds := true
		for range rnd.IntN(3) {
			c := store.Cond{Key: []byte(key())}
			have := model[string(c.Key)].Revision
			if c.Revision = have; rnd.IntN(4) == 0 {
				c.Revision = store.Revision(rnd.IntN(step + 2))
			}
			holds = holds && c.Revision == have
			b.Conds = append(b.Conds, c)
		}
		r, err := s.Commit(t.Context(), b)
		if holds != (err == nil) || err != nil && !errors.Is(err, store.ErrConflict) {
			t.Fatalf("step %d: %v, want conditions to hold: %v", step, err, holds)
		}
		if holds {
			apply(model, b.Ops, r)
		}
		if step%100 == 50 {
			s.reopen(t)
		}
		if step%10 == 0 {
			compare(t, s, model, rnd.IntN(2) == 0)
		}
	}
}

func apply(model map[string]store.Item, ops []store.Op, r store.Revision) {
	for _, op := range ops {
		if op.Value == nil {
			delete(model, string(op.Key))
			continue
		}
		model[string(op.Key)] = store.Item{Key: op.Key, Value: op.Value, Revision: r}
	}
}

func compare(t *testing.T, s *suite, model map[string]store.Item, back bool) {
	t.Helper()
	var want, got []store.Item
	var keys []string
	for k := range model {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if back {
		slices.Reverse(keys)
	}
	for _, k := range keys {
		want = append(want, model[k])
	}
	s.view(t, func(tx store.Tx) {
		for i, err := range tx.Scan(store.Query{Reverse: back}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, i)
		}
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("store and model differ (-model +store):\n%s", diff)
	}
}
