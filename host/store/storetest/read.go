package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/store"
)

// testGet reads the newest value and its revision, also after reopening.
func testGet(t *testing.T, s *suite) {
	s.wantMissing(t, "a")
	r1 := s.commit(t, put("a", "1"))
	r2 := s.commit(t, put("b", "2"), put("ab", "3"))
	r3 := s.commit(t, put("a", "4"))
	if r1 >= r2 || r2 >= r3 || r1 == 0 {
		t.Errorf("revisions are %d, %d, %d", r1, r2, r3)
	}
	check := func() {
		t.Helper()
		s.wantItem(t, "a", "4", r3)
		s.wantItem(t, "b", "2", r2)
		s.wantItem(t, "ab", "3", r2)
		s.wantMissing(t, "abc")
	}
	check()
	s.reopen(t)
	check()
}

// testScan compares scans of all kinds with what Query's comment says.
func testScan(t *testing.T, s *suite) {
	keys := []string{"a", "a\xff", "b", "b/1", "b/2", "b/2/x", "b/3", "b/\xff", "b/\xff\xff", "b0", "c", "\xff", "\xff\xff", "\xff\xff\xff"}
	var ops []store.Op
	for _, k := range keys {
		ops = append(ops, put(k, "value of "+k))
	}
	ops = append(ops, put("b/deleted", "x"), put("d", "x"))
	s.commit(t, ops...)
	s.commit(t, del("b/deleted"), del("d"))
	for _, back := range []bool{false, true} {
		for _, prefix := range []string{"", "a", "b", "b/", "b/2", "b/2/", "b/9", "c", "d", "\xff", "\xff\xff", "e"} {
			for _, from := range []string{"", "a", "b", "b/", "b/15", "b/2", "b/deleted", "b/\xff\xff\xff", "b0", "c", "d", "\xff\xff", "\xff\xff\xff\xff"} {
				for _, limit := range []int{0, 1, 3, 100} {
					q := store.Query{Prefix: []byte(prefix), From: []byte(from), Reverse: back, Limit: limit, KeysOnly: limit == 3}
					checkScan(t, s, keys, q)
				}
			}
		}
	}
}

func checkScan(t *testing.T, s *suite, keys []string, q store.Query) {
	t.Helper()
	want := expected(keys, q)
	var got []string
	s.view(t, func(tx store.Tx) {
		for i, err := range tx.Scan(q) {
			if err != nil {
				t.Errorf("scan %+v: %v", q, err)
			}
			if value := "value of " + string(i.Key); !q.KeysOnly && string(i.Value) != value || q.KeysOnly && len(i.Value) > 0 {
				t.Errorf("scan %+v: the value of %q is %q", q, i.Key, i.Value)
			}
			got = append(got, string(i.Key))
		}
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("scan prefix %q from %q reverse %v limit %d (-want +got):\n%s", q.Prefix, q.From, q.Reverse, q.Limit, diff)
	}
}

// expected is what Query's comment says.
func expected(keys []string, q store.Query) (want []string) {
	sorted := slices.Sorted(slices.Values(keys))
	if q.Reverse {
		slices.Reverse(sorted)
	}
	from := string(q.From)
	for _, k := range sorted {
		after := from == "" || !q.Reverse && k >= from || q.Reverse && k <= from
		if strings.HasPrefix(k, string(q.Prefix)) && after && (q.Limit == 0 || len(want) < q.Limit) {
			want = append(want, k)
		}
	}
	return want
}

// testScanStops breaks out of scans and nests them.
func testScanStops(t *testing.T, s *suite) {
	s.commit(t, put("a", "1"), put("b", "2"), put("c", "3"))
	s.view(t, func(tx store.Tx) {
		n := 0
		for _, err := range tx.Scan(store.Query{}) {
			for _, err2 := range tx.Scan(store.Query{Reverse: true}) {
				if err = errors.Join(err, err2); err != nil {
					t.Errorf("scan: %v", err)
				}
				if n++; n%2 == 0 {
					break
				}
			}
			if _, err := tx.Get([]byte("b")); err != nil {
				t.Errorf("get within a scan: %v", err)
			}
			if n > 3 {
				break
			}
		}
		if n != 4 {
			t.Errorf("nested scans took %d steps, want 4", n)
		}
	})
}

// testScanPages reads everything in pages, as an API does.
func testScanPages(t *testing.T, s *suite) {
	const n = 250
	for i := range 5 {
		var ops []store.Op
		for j := range n / 5 {
			ops = append(ops, put(fmt.Sprintf("page/%04d", j*5+i), "x"))
		}
		s.commit(t, ops...)
	}
	for _, back := range []bool{false, true} {
		var from []byte
		var got []string
		for {
			var page []string
			s.view(t, func(tx store.Tx) {
				q := store.Query{Prefix: []byte("page/"), From: from, Reverse: back, Limit: 17, KeysOnly: true}
				for i, err := range tx.Scan(q) {
					if err != nil {
						t.Fatal(err)
					}
					page, from = append(page, string(i.Key)), i.Key
				}
			})
			if got = append(got, page[min(1, len(got)):]...); len(page) < 17 {
				break
			}
		}
		if back {
			slices.Reverse(got)
		}
		if len(got) != n || !slices.IsSorted(got) {
			t.Errorf("reverse %v: %d keys, sorted %v", back, len(got), slices.IsSorted(got))
		}
	}
}

// testViewIsASnapshot commits while a view is open.
func testViewIsASnapshot(t *testing.T, s *suite) {
	s.commit(t, put("changed", "1"), put("deleted", "1"))
	s.view(t, func(tx store.Tx) {
		before := scan(t, tx, store.Query{})
		n := 0
		for i, err := range tx.Scan(store.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			for j := range 50 {
				s.commit(t, put("changed", fmt.Sprint("later ", j)), put("added", "1"), del("deleted"))
			}
			n += len(i.Key)
		}
		if n != len("changed")+len("deleted") {
			t.Errorf("a scan saw commits made during it")
		}
		if diff := cmp.Diff(before, scan(t, tx, store.Query{})); diff != "" {
			t.Errorf("the view changed (-want +got):\n%s", diff)
		}
		if _, err := tx.Get([]byte("added")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the view has a later key: %v", err)
		}
		if _, err := tx.Get([]byte("deleted")); err != nil {
			t.Errorf("the view lost a key: %v", err)
		}
	})
	s.wantMissing(t, "deleted")
}

// testViewError: View returns what its function returns.
func testViewError(t *testing.T, s *suite) {
	errMine := errors.New("mine")
	if err := s.View(t.Context(), func(store.Tx) error { return errMine }); !errors.Is(err, errMine) {
		t.Errorf("view returns %v, want the function's error", err)
	}
}

// testOwnBytes: what a view returns stays as it is and may be changed.
func testOwnBytes(t *testing.T, s *suite) {
	r := s.commit(t, put("a", "first"), put("b", "other"))
	var kept []store.Item
	s.view(t, func(tx store.Tx) {
		for i, err := range tx.Scan(store.Query{}) {
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, i)
		}
		i, err := tx.Get([]byte("a"))
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, i)
	})
	s.commit(t, put("a", "FIRST"), put("b", "OTHER"))
	want := []store.Item{
		{Key: []byte("a"), Value: []byte("first"), Revision: r},
		{Key: []byte("b"), Value: []byte("other"), Revision: r},
		{Key: []byte("a"), Value: []byte("first"), Revision: r},
	}
	if diff := cmp.Diff(want, kept); diff != "" {
		t.Errorf("kept items (-want +got):\n%s", diff)
	}
	for _, i := range kept {
		clear(i.Key)
		clear(i.Value)
	}
	if got := s.all(t); len(got) != 2 || !strings.HasPrefix(got[0], "a=FIRST") {
		t.Errorf("after writing to returned bytes: %q", got)
	}
}
