package storetest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/store"
)

// testOps: of two ops on one key the later wins.
func testOps(t *testing.T, s *suite) {
	r := s.commit(t, put("a", "1"), put("b", "2"), put("a", "3"), put("c", "4"), del("c"), del("b"), put("b", "5"))
	s.wantItem(t, "a", "3", r)
	s.wantItem(t, "b", "5", r)
	s.wantMissing(t, "c")
}

// testDelete: a nil value deletes, also what never existed, and for good.
func testDelete(t *testing.T, s *suite) {
	s.commit(t, put("a", "1"), put("b", "2"))
	s.commit(t, del("a"), del("never was"))
	s.wantMissing(t, "a")
	s.wantMissing(t, "never was")
	s.reopen(t)
	s.wantMissing(t, "a")
	r := s.commit(t, put("a", "3"))
	s.wantItem(t, "a", "3", r)
}

// testRevisions: a revision grows with every commit, deletions included.
func testRevisions(t *testing.T, s *suite) {
	var last store.Revision
	for i := range 20 {
		op := put("a", "1")
		if i%3 == 2 {
			op = del("a")
		}
		r := s.commit(t, op)
		if r <= last {
			t.Fatalf("revision %d after %d", r, last)
		}
		last = r
	}
}

// testBytes: keys and values are bytes, whatever they hold.
func testBytes(t *testing.T, s *suite) {
	keys := []string{"\x00", "\x00\x00", "\xff", "\xff\xff", "!badger!key", "\x00\xff", "key with spaces", "ключ", "a/b/c", "$", ".*>"}
	var want []store.Op
	for i, k := range keys {
		want = append(want, store.Op{Key: []byte(k), Value: []byte{byte(i), 0, 0xff}})
	}
	want = append(want, store.Op{Key: []byte("empty value"), Value: []byte{}})
	want = append(want, store.Op{Key: bytes.Repeat([]byte{0xff}, store.MaxKey), Value: []byte("longest")})
	r := s.commit(t, want...)
	check := func() {
		t.Helper()
		s.view(t, func(tx store.Tx) {
			for _, op := range want {
				got, err := tx.Get(op.Key)
				if diff := cmp.Diff(store.Item{Key: op.Key, Value: op.Value, Revision: r}, got); diff != "" || err != nil {
					t.Errorf("get %q: %v (-want +got):\n%s", op.Key, err, diff)
				}
			}
			if n := len(scan(t, tx, store.Query{})); n != len(want) {
				t.Errorf("scan yields %d items, want %d", n, len(want))
			}
		})
	}
	check()
	s.reopen(t)
	check()
}

// testLimits: what is at a limit is kept; of what is over one, nothing is written.
func testLimits(t *testing.T, s *suite) {
	sizes := []int{store.MaxValue, store.MaxValue - 1, store.MaxValue - 2, store.MaxValue / 2}
	for i, n := range sizes {
		s.commit(t, store.Op{Key: []byte{byte(i)}, Value: pattern(n, byte(i))})
	}
	before := s.all(t)
	longKey, longValue := make([]byte, store.MaxKey+1), make([]byte, store.MaxValue+1)
	var overfull []store.Op
	for i := range store.MaxBatch/store.MaxValue + 1 {
		overfull = append(overfull, store.Op{Key: []byte{'o', byte(i)}, Value: longValue[:store.MaxValue]})
	}
	for name, ops := range map[string][]store.Op{
		"key":   {put("a", "1"), {Key: longKey, Value: []byte("1")}},
		"value": {put("a", "1"), {Key: []byte("b"), Value: longValue}},
		"batch": overfull,
	} {
		if _, err := s.Commit(t.Context(), store.Batch{Ops: ops}); !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("commit with too large a %s: %v, want ErrTooLarge", name, err)
		}
	}
	if diff := cmp.Diff(before, s.all(t)); diff != "" {
		t.Errorf("after refused batches (-want +got):\n%s", diff)
	}
	s.reopen(t)
	s.view(t, func(tx store.Tx) {
		for i, n := range sizes {
			if it, err := tx.Get([]byte{byte(i)}); err != nil || !bytes.Equal(it.Value, pattern(n, byte(i))) {
				t.Errorf("value of %d bytes came back as %d bytes, %v", n, len(it.Value), err)
			}
		}
		n := 0
		for it, err := range tx.Scan(store.Query{Reverse: true, Limit: len(sizes)}) {
			if n++; err != nil || !bytes.Equal(it.Value, pattern(sizes[it.Key[0]], it.Key[0])) {
				t.Errorf("scan yields %q with a value of %d bytes, %v", it.Key, len(it.Value), err)
			}
		}
		if n != len(sizes) {
			t.Errorf("scan yields %d items, want %d", n, len(sizes))
		}
	})
}

// testLargestBatch commits as many bytes as a batch may have.
func testLargestBatch(t *testing.T, s *suite) {
	const n = store.MaxBatch / (1 << 18)
	var ops []store.Op
	for i := range n {
		ops = append(ops, store.Op{Key: []byte{byte(i >> 8), byte(i)}, Value: pattern(1<<18-2, byte(i))})
	}
	r := s.commit(t, ops...)
	s.reopen(t)
	s.view(t, func(tx store.Tx) {
		i := 0
		for it, err := range tx.Scan(store.Query{}) {
			if err != nil || it.Revision != r || !bytes.Equal(it.Value, ops[i].Value) {
				t.Fatalf("item %d: revision %d, %d bytes, %v", i, it.Revision, len(it.Value), err)
			}
			i++
		}
		if i != n {
			t.Errorf("%d items, want %d", i, n)
		}
	})
}

// testManySmallOps commits more ops than a store may like to write at once.
func testManySmallOps(t *testing.T, s *suite) {
	const n = 30_000
	var ops []store.Op
	for i := range uint32(n) {
		k := binary.BigEndian.AppendUint32(nil, i)
		ops = append(ops, store.Op{Key: k, Value: k[2:]})
	}
	r := s.commit(t, ops...)
	s.view(t, func(tx store.Tx) {
		i := uint32(0)
		for it, err := range tx.Scan(store.Query{}) {
			if err != nil || it.Revision != r || binary.BigEndian.Uint32(it.Key) != i {
				t.Fatalf("item %d: %x at %d, %v", i, it.Key, it.Revision, err)
			}
			i++
		}
		if i != n {
			t.Errorf("%d items, want %d", i, n)
		}
	})
}

// testConditions: all conditions hold, or nothing is written.
func testConditions(t *testing.T, s *suite) {
	first := s.commit(t, put("a", "1"))
	second := s.commit(t, put("b", "1"))
	s.commit(t, put("gone", "1"))
	gone := s.commit(t, del("gone"))
	cond := func(key string, r store.Revision) store.Cond { return store.Cond{Key: []byte(key), Revision: r} }
	tests := []struct {
		name  string
		conds []store.Cond
		holds bool
	}{
		{"exact", []store.Cond{cond("a", first)}, true},
		{"two", []store.Cond{cond("a", first), cond("b", second)}, true},
		{"missing", []store.Cond{cond("no", 0)}, true},
		{"deleted", []store.Cond{cond("gone", 0)}, true},
		{"repeated", []store.Cond{cond("a", first), cond("a", first)}, true},
		{"must not exist", []store.Cond{cond("a", 0)}, false},
		{"other revision", []store.Cond{cond("a", second)}, false},
		{"future", []store.Cond{cond("a", gone+100)}, false},
		{"missing with revision", []store.Cond{cond("no", first)}, false},
		{"deleted with its revision", []store.Cond{cond("gone", gone)}, false},
		{"second fails", []store.Cond{cond("a", first), cond("b", first)}, false},
		{"contradiction", []store.Cond{cond("a", first), cond("a", 0)}, false},
	}
	for _, tt := range tests {
		_, err := s.Commit(t.Context(), store.Batch{Ops: []store.Op{put("out/"+tt.name, "x")}, Conds: tt.conds})
		if tt.holds && err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if !tt.holds && !errors.Is(err, store.ErrConflict) {
			t.Errorf("%s: %v, want ErrConflict", tt.name, err)
		}
		s.view(t, func(tx store.Tx) {
			if _, err := tx.Get([]byte("out/" + tt.name)); (err == nil) != tt.holds {
				t.Errorf("%s: the key that it writes: %v", tt.name, err)
			}
		})
	}
}

// testConditionsAreAtomic lets many writers create the same keys: each key goes to
// exactly one of them.
func testConditionsAreAtomic(t *testing.T, s *suite) {
	const keys, racers = 25, 8
	var won [keys][racers]store.Revision
	var wg sync.WaitGroup
	for w := range racers {
		wg.Go(func() {
			for k := range keys {
				key := fmt.Appendf(nil, "lock/%d", k)
				r, err := s.Commit(t.Context(), store.Batch{
					Ops:   []store.Op{{Key: key, Value: fmt.Appendf(nil, "%d", w)}},
					Conds: []store.Cond{{Key: key}},
				})
				if err != nil && !errors.Is(err, store.ErrConflict) {
					t.Errorf("commit: %v", err)
				}
				won[k][w] = r
			}
		})
	}
	wg.Wait()
	for k := range keys {
		winners := 0
		for w, r := range won[k] {
			if r != 0 {
				winners++
				s.wantItem(t, fmt.Sprintf("lock/%d", k), fmt.Sprintf("%d", w), r)
			}
		}
		if winners != 1 {
			t.Errorf("key %d has %d winners", k, winners)
		}
	}
}

// testIncrements counts with compare-and-set from many writers; none may be lost.
func testIncrements(t *testing.T, s *suite) {
	const writers, each = 8, 25
	key := []byte("counter")
	increment := func() error {
		var n uint64
		var r store.Revision
		err := s.View(t.Context(), func(tx store.Tx) error {
			i, err := tx.Get(key)
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			n, r = binary.BigEndian.Uint64(i.Value), i.Revision
			return err
		})
		if err != nil {
			return err
		}
		_, err = s.Commit(t.Context(), store.Batch{
			Ops:   []store.Op{{Key: key, Value: binary.BigEndian.AppendUint64(nil, n+1)}},
			Conds: []store.Cond{{Key: key, Revision: r}},
		})
		return err
	}
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				switch err := increment(); {
				case err == nil:
					done++
				case !errors.Is(err, store.ErrConflict):
					t.Errorf("increment: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	s.view(t, func(tx store.Tx) {
		i, err := tx.Get(key)
		if err != nil || binary.BigEndian.Uint64(i.Value) != writers*each {
			t.Errorf("counter is %x, %v, want %d", i.Value, err, writers*each)
		}
	})
}

// testBatchesAreAtomic moves amounts between accounts while views add them up.
func testBatchesAreAtomic(t *testing.T, s *suite) {
	const accounts, total = 50, 500
	state := func(round int) (ops []store.Op) {
		left := total
		for a := range accounts - 1 {
			n := (a*7 + round*13) % 20
			left -= n
			ops = append(ops, put(fmt.Sprintf("account/%02d", a), fmt.Sprint(n)))
		}
		return append(ops, put(fmt.Sprintf("account/%02d", accounts-1), fmt.Sprint(left)))
	}
	s.commit(t, state(0)...)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					sumAccounts(t, s, accounts, total)
				}
			}
		})
	}
	for round := range 60 {
		s.commit(t, state(round+1)...)
	}
	close(stop)
	wg.Wait()
}

func sumAccounts(t *testing.T, s *suite, accounts, total int) {
	s.view(t, func(tx store.Tx) {
		n, sum := 0, 0
		var r store.Revision
		for i, err := range tx.Scan(store.Query{Prefix: []byte("account/")}) {
			var amount int
			if _, scanErr := fmt.Sscan(string(i.Value), &amount); err != nil || scanErr != nil {
				t.Errorf("scan: %v, %v", err, scanErr)
				return
			}
			if n > 0 && i.Revision != r {
				t.Errorf("one view has revisions %d and %d of batches that write the same keys", r, i.Revision)
			}
			n, sum, r = n+1, sum+amount, i.Revision
		}
		if n != accounts || sum != total {
			t.Errorf("%d accounts hold %d, want %d and %d", n, sum, accounts, total)
		}
	})
}

// testReadYourWrites: when Commit returns, a view sees it, from every goroutine.
func testReadYourWrites(t *testing.T, s *suite) {
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			key := fmt.Sprintf("writer/%d", w)
			for i := range 30 {
				r, err := s.Commit(t.Context(), store.Batch{Ops: []store.Op{put(key, fmt.Sprint(i))}})
				if err != nil {
					t.Errorf("commit: %v", err)
					return
				}
				s.wantItem(t, key, fmt.Sprint(i), r)
			}
		})
	}
	wg.Wait()
}
