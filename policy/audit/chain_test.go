package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/store"
)

// TestConcurrency has many writers, ways and chains at once, and a store that refuses some.
func TestConcurrency(t *testing.T) {
	m := newMemory()
	l := newLog(t, m)
	var refused sync.Mutex
	n := 0
	m.fault = func(store.Batch) error {
		refused.Lock()
		defer refused.Unlock()
		if n++; n%7 == 0 {
			return store.ErrFull
		}
		if n%11 == 0 {
			return errors.New("a fault")
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	var background sync.WaitGroup
	background.Go(func() {
		for ctx.Err() == nil {
			_ = l.Integrate(ctx)
			l.Forget(tenant, "chain0")
		}
	})
	var writers sync.WaitGroup
	var mu sync.Mutex
	want := map[string]int{}
	for i := range 16 {
		writers.Go(func() {
			for k := range 40 {
				chain := fmt.Sprintf("chain%d", (i+k)%4)
				var err error
				switch k % 3 {
				case 0:
					err = l.Note(ctx, record(chain), commitTo(m))
				case 1:
					err = l.Write(ctx, record(chain))
				default:
					err = l.Later(record(chain))
				}
				if err == nil {
					mu.Lock()
					want[chain]++
					mu.Unlock()
				}
			}
		})
	}
	writers.Wait()
	cancel()
	background.Wait()
	m.fault = nil
	integrate(t, l)
	got := map[string]int{}
	for _, r := range collect(t, l.Search(t.Context(), Query{Tenant: tenant})) {
		got[r.Chain]++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records by chain (-want +got):\n%s", diff)
	}
	verified(t, l)
}

// TestManyChains shows that the log forgets chains that nobody uses, and none that are.
func TestManyChains(t *testing.T) {
	l := newLog(t, newMemory())
	held := l.acquire(tenant, "held")
	for i := range 2*maxChains + 10 {
		l.release(l.acquire(tenant, fmt.Sprint(i)))
	}
	if n := len(l.chains) + len(l.older); n > maxChains+1 {
		t.Errorf("%d chains in memory", n)
	}
	if l.acquire(tenant, "held") != held {
		t.Error("a chain in use was forgotten")
	}
	write(t, l, "old", 2)
	for i := range 2 * maxChains {
		l.release(l.acquire(tenant, fmt.Sprint(i)))
	}
	write(t, l, "old", 1)
	verified(t, l)
}

// TestNotedByMany shows that the log forgets no chain whose newest record is still with
// another's commit, and all of them later.
func TestNotedByMany(t *testing.T) {
	m := newMemory()
	l := newLog(t, m)
	var kept []store.Op
	const n = 2 * maxChains
	for i := range n {
		err := l.Note(t.Context(), record(fmt.Sprint(i)), func(ops ...store.Op) error {
			kept = append(kept, ops...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	integrate(t, l)
	r := record("0")
	err := l.Note(t.Context(), r, func(ops ...store.Op) error {
		kept = append(kept, ops...)
		return nil
	})
	if err != nil || r.ID != "0.2" {
		t.Errorf("noted as %s: %v", r.ID, err)
	}
	if len(l.leaving) < n-maxChains-1 {
		t.Errorf("only %d chains wait until they are settled", len(l.leaving))
	}
	if err := commitTo(m)(kept...); err != nil {
		t.Fatal(err)
	}
	integrate(t, l)
	if len(l.leaving) != 0 {
		t.Errorf("%d chains still wait", len(l.leaving))
	}
	if got := verified(t, l); got.Records != n+1 {
		t.Errorf("%d records", got.Records)
	}
}
