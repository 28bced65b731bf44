package audit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// world is a log of many kinds of records, in the tree and waiting, with the records in the
// order of time.
func world(t *testing.T) (*Log, []policy.Record) {
	t.Helper()
	l := newLog(t, newMemory())
	rnd := rand.New(rand.NewPCG(2, 3))
	pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
	for i := range 600 {
		r := &policy.Record{
			Tenant: tenant, Chain: pick("t1", "t2", "people"), Session: pick("s1", "s2", ""), Call: pick("file_read", "model_chat"),
			Action: pick("fileRead", "fileWrite", ""), Resource: policy.UID{Type: pick("File", "Model"), ID: pick("x", "y\"")},
			Kind: policy.RecordKind(pick("decision", "outcome")),
			Who:  []policy.Actor{{Agent: pick("triage", "writer"), Task: pick("t1", "t2", "t3")}, {User: pick("user1", "ben")}},
		}
		if rnd.IntN(3) > 0 {
			r.Decision = &policy.Decision{Allowed: rnd.IntN(2) == 0, Set: "sha256:00"}
			if rnd.IntN(2) == 0 {
				r.Decision.Candidate = &policy.Decision{Allowed: rnd.IntN(2) == 0}
			}
		}
		if err := l.Write(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if i == 200 || i == 400 {
			integrate(t, l)
		}
	}
	all := collect(t, l.Search(t.Context(), Query{Tenant: tenant}))
	if len(all) != 600 || !slices.IsSortedFunc(all, func(a, b policy.Record) int { return a.Time.Compare(b.Time) }) {
		t.Fatalf("%d records, or not in the order of time", len(all))
	}
	return l, all
}

func TestSearch(t *testing.T) {
	l, all := world(t)
	third, seventh := all[200].Time, all[500].Time
	who := func(r policy.Record, is func(policy.Actor) bool) bool { return slices.ContainsFunc(r.Who, is) }
	for name, tc := range map[string]struct {
		q    Query
		want func(policy.Record) bool
	}{
		"all":      {Query{}, func(policy.Record) bool { return true }},
		"chain":    {Query{Chain: "people"}, func(r policy.Record) bool { return r.Chain == "people" }},
		"no chain": {Query{Chain: "none"}, func(policy.Record) bool { return false }},
		"session":  {Query{Session: "s1"}, func(r policy.Record) bool { return r.Session == "s1" }},
		"task": {Query{Task: "t1"}, func(r policy.Record) bool {
			return r.Chain == "t1" || who(r, func(a policy.Actor) bool { return a.Task == "t1" })
		}},
		"agent":    {Query{Agent: "triage"}, func(r policy.Record) bool { return r.Who[0].Agent == "triage" }},
		"user":     {Query{User: "ben"}, func(r policy.Record) bool { return r.Who[1].User == "ben" }},
		"call":     {Query{Call: "file_read"}, func(r policy.Record) bool { return r.Call == "file_read" }},
		"action":   {Query{Action: "fileWrite"}, func(r policy.Record) bool { return r.Action == "fileWrite" }},
		"resource": {Query{Resource: policy.UID{Type: "File", ID: "y\""}}, func(r policy.Record) bool { return r.Resource == policy.UID{Type: "File", ID: "y\""} }},
		"type":     {Query{Resource: policy.UID{Type: "File"}}, func(r policy.Record) bool { return r.Resource.Type == "File" }},
		"kind":     {Query{Kind: policy.RecordOutcome}, func(r policy.Record) bool { return r.Kind == policy.RecordOutcome }},
		"allowed":  {Query{Decision: Allowed}, func(r policy.Record) bool { return r.Decision != nil && r.Decision.Allowed }},
		"denied":   {Query{Decision: Denied}, func(r policy.Record) bool { return r.Decision != nil && !r.Decision.Allowed }},
		"differs": {Query{Decision: Differs}, func(r policy.Record) bool {
			return r.Decision != nil && r.Decision.Candidate != nil && r.Decision.Allowed != r.Decision.Candidate.Allowed
		}},
		"since":    {Query{Since: third}, func(r policy.Record) bool { return !r.Time.Before(third) }},
		"until":    {Query{Until: third}, func(r policy.Record) bool { return r.Time.Before(third) }},
		"between":  {Query{Since: third, Until: seventh}, func(r policy.Record) bool { return !r.Time.Before(third) && r.Time.Before(seventh) }},
		"the past": {Query{Until: time.Unix(-5, 0)}, func(policy.Record) bool { return false }},
		"ages":     {Query{Since: time.Unix(-5, 0), Until: time.Unix(1<<40, 0)}, func(policy.Record) bool { return true }},
		"in a task": {Query{Chain: "t2", Since: third, Agent: "writer"}, func(r policy.Record) bool {
			return r.Chain == "t2" && !r.Time.Before(third) && r.Who[0].Agent == "writer"
		}},
		"much": {
			Query{Session: "s2", User: "user1", Kind: policy.RecordDecision, Decision: Denied, Until: seventh},
			func(r policy.Record) bool {
				return r.Session == "s2" && r.Who[1].User == "user1" && r.Kind == policy.RecordDecision && r.Decision != nil && !r.Decision.Allowed && r.Time.Before(seventh)
			},
		},
	} {
		var want []policy.Record
		for _, r := range all {
			if tc.want(r) {
				want = append(want, r)
			}
		}
		tc.q.Tenant = tenant
		for _, reverse := range []bool{false, true} {
			if tc.q.Reverse = reverse; reverse {
				slices.Reverse(want)
			}
			t.Run(fmt.Sprintf("%s/reverse=%v", name, reverse), func(t *testing.T) { pages(t, l, tc.q, want) })
		}
	}
}

// pages finds the same at once as by pages of several sizes.
func pages(t *testing.T, l *Log, q Query, want []policy.Record) {
	t.Helper()
	got := collect(t, l.Search(t.Context(), q))
	if ids(got) != ids(want) {
		t.Fatalf("at once:\n got %.500s\nwant %.500s", ids(got), ids(want))
	}
	if diff := cmp.Diff(want[:min(9, len(want))], got[:min(9, len(got))], cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("at once (-want +got):\n%.2000s", diff)
	}
	for _, limit := range []int{1 + len(want)/3, pageSize} {
		var got []policy.Record
		for q.Limit, q.After = limit, ""; ; q.After = got[len(got)-1].ID {
			page := collect(t, l.Search(t.Context(), q))
			if got = append(got, page...); len(page) < limit {
				break
			}
		}
		if ids(got) != ids(want) {
			t.Errorf("by pages of %d:\n got %.500s\nwant %.500s", limit, ids(got), ids(want))
		}
	}
}

func TestSearchErrors(t *testing.T) {
	m := newMemory()
	l := newLog(t, m)
	write(t, l, "task", 3)
	for name, q := range map[string]Query{
		"no tenant": {}, "no such record": {Tenant: tenant, After: "task.9"}, "no id": {Tenant: tenant, After: "x"},
		"no chain": {Tenant: tenant, Chain: "a/b"},
	} {
		n := 0
		for _, err := range l.Search(t.Context(), q) {
			if n++; err == nil {
				t.Errorf("%s: found something", name)
			}
		}
		if n != 1 {
			t.Errorf("%s: %d pairs", name, n)
		}
	}
	for _, id := range []string{"", "task", "task.", ".1", "task.x", "task.01", "task.9", "a/b.1"} {
		if _, err := l.Get(t.Context(), tenant, id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("get %q: %v", id, err)
		}
	}
	vandal{t, m}.remove(recordKey(tenant, "task", 2))
	var last error
	for _, err := range l.Search(t.Context(), Query{Tenant: tenant}) {
		last = err
	}
	if last == nil || !strings.Contains(last.Error(), "task.2") {
		t.Errorf("a record that is gone: %v", last)
	}
}

func TestTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, newMemory())
		write(t, l, "a", 3)
		write(t, l, "b", 2)
		integrate(t, l)
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		got := map[string]string{}
		for _, from := range []string{"", "a.2"} {
			go func() {
				for r, err := range l.Tail(ctx, tenant, from) {
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					got[from] += r.ID + " "
					mu.Unlock()
				}
			}()
		}
		synctest.Wait()
		write(t, l, "b", 1)
		integrate(t, l)
		write(t, l, "c", 1)
		other := record("x")
		other.Tenant = "other"
		if err := l.Write(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		want := map[string]string{"": "b.3 c.1 ", "a.2": "a.3 b.1 b.2 b.3 c.1 "}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestTailMissesNothing has many write while readers begin to follow.
func TestTailMissesNothing(t *testing.T) {
	l := newLog(t, newMemory())
	write(t, l, "a", 1)
	const n = 100
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range n {
			_ = l.Write(context.Background(), record("abc"[i%3:i%3+1]))
		}
	}()
	for range 10 {
		seen := map[string]uint64{"a": 1}
		total := 0
		for r, err := range l.Tail(t.Context(), tenant, "a.1") {
			if err != nil {
				t.Fatal(err)
			}
			if r.N != seen[r.Chain]+1 {
				t.Fatalf("%s after %d", r.ID, seen[r.Chain])
			}
			seen[r.Chain]++
			if total++; total == n {
				break
			}
		}
	}
	<-done
}
