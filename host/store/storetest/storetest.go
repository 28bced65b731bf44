// Package storetest is the suite that every implementation of store.Store passes.
// It holds them to what the comments in package store promise, and to nothing else.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/store"
)

// Open opens the store named name, creating it if need be. The suite closes it and
// may open it again by the same name, to find what was committed.
type Open func(t *testing.T, name string) store.Store

// Run runs the suite. Each test has a store of its own, named by a fresh temporary
// folder that the implementation may use.
func Run(t *testing.T, open Open) {
	tests := []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"Get", testGet},
		{"Ops", testOps},
		{"Delete", testDelete},
		{"Revisions", testRevisions},
		{"Bytes", testBytes},
		{"Limits", testLimits},
		{"LargestBatch", testLargestBatch},
		{"ManySmallOps", testManySmallOps},
		{"Scan", testScan},
		{"ScanStops", testScanStops},
		{"ScanPages", testScanPages},
		{"ViewIsASnapshot", testViewIsASnapshot},
		{"ViewError", testViewError},
		{"OwnBytes", testOwnBytes},
		{"Conditions", testConditions},
		{"ConditionsAreAtomic", testConditionsAreAtomic},
		{"Increments", testIncrements},
		{"BatchesAreAtomic", testBatchesAreAtomic},
		{"ReadYourWrites", testReadYourWrites},
		{"Watch", testWatch},
		{"WatchFromCall", testWatchFromCall},
		{"WatchPrefix", testWatchPrefix},
		{"WatchEnds", testWatchEnds},
		{"WatchClose", testWatchClose},
		{"WatchNeverBlocks", testWatchNeverBlocks},
		{"Context", testContext},
		{"Reopen", testReopen},
		{"RevisionsSurvive", testRevisionsSurvive},
		{"Close", testClose},
		{"CloseDuringCommits", testCloseDuringCommits},
		{"Model", testModel},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &suite{open: open, name: t.TempDir()}
			s.reopen(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			tt.run(t, s)
		})
	}
}

// suite is a store under test with what the tests do all the time.
type suite struct {
	store.Store
	open Open
	name string
}

// reopen closes the store, if it is open, and opens it again.
func (s *suite) reopen(t *testing.T) {
	t.Helper()
	if s.Store != nil {
		if err := s.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	s.Store = s.open(t, s.name)
}

// commit commits the ops and returns the revision. It is for the test's own
// goroutine.
func (s *suite) commit(t *testing.T, ops ...store.Op) store.Revision {
	t.Helper()
	r, err := s.Commit(t.Context(), store.Batch{Ops: ops})
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	return r
}

func (s *suite) view(t *testing.T, fn func(store.Tx)) {
	t.Helper()
	err := s.View(t.Context(), func(tx store.Tx) error {
		fn(tx)
		return nil
	})
	if err != nil {
		t.Errorf("view: %v", err)
	}
}

// wantItem checks one key.
func (s *suite) wantItem(t *testing.T, key, value string, r store.Revision) {
	t.Helper()
	s.view(t, func(tx store.Tx) {
		got, err := tx.Get([]byte(key))
		if err != nil {
			t.Errorf("get %q: %v", key, err)
			return
		}
		want := store.Item{Key: []byte(key), Value: []byte(value), Revision: r}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("get %q (-want +got):\n%s", key, diff)
		}
	})
}

func (s *suite) wantMissing(t *testing.T, key string) {
	t.Helper()
	s.view(t, func(tx store.Tx) {
		if i, err := tx.Get([]byte(key)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("get %q: %+v, %v, want ErrNotFound", key, i, err)
		}
	})
}

// all returns everything in the store as key=value@revision.
func (s *suite) all(t *testing.T) (lines []string) {
	t.Helper()
	s.view(t, func(tx store.Tx) { lines = scan(t, tx, store.Query{}) })
	return lines
}

func scan(t *testing.T, tx store.Tx, q store.Query) (lines []string) {
	t.Helper()
	for i, err := range tx.Scan(q) {
		if err != nil {
			t.Errorf("scan %+v: %v", q, err)
			return lines
		}
		lines = append(lines, fmt.Sprintf("%s=%s@%d", i.Key, i.Value, i.Revision))
	}
	return lines
}

func put(key, value string) store.Op { return store.Op{Key: []byte(key), Value: []byte(value)} }

func del(key string) store.Op { return store.Op{Key: []byte(key)} }

// pattern is n bytes that differ from place to place.
func pattern(n int, seed byte) []byte {
	block := make([]byte, 251)
	for i := range block {
		block[i] = seed + byte(i*i)
	}
	return bytes.Repeat(block, n/len(block)+1)[:n]
}

// ended returns a context that has ended.
func ended(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
