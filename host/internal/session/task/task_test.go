package task_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/session/task"
	"github.com/vespiary/vespiary/host/internal/store"
	words "github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

type world struct {
	t     *testing.T
	store words.Store
	book  *task.Book
	now   time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: t.TempDir(), Edge: true, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	w := &world{t: t, store: s, now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	w.restart()
	return w
}

func (w *world) restart() { w.book = task.New(w.store, func() time.Time { return w.now }) }

func (w *world) commit(ops []words.Op, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.store.Commit(w.t.Context(), words.Batch{Ops: ops}); err != nil {
		w.t.Fatal(err)
	}
}

const ulid = "01ARZ3NDEKTSV4RRFFQ69G5FA"

func (w *world) open(id string, change func(*host.Task)) host.Task {
	w.t.Helper()
	t := host.Task{ID: ulid + id, Tenant: "t", Session: "s", User: "owner", Agent: "a", State: host.TaskActive, Opened: w.now}
	if change != nil {
		change(&t)
	}
	w.commit(w.book.Open(t, ""))
	return t
}

func (w *world) standing(id string) *host.Standing {
	w.t.Helper()
	s, err := w.book.Standing(w.t.Context(), "t", "s", ulid+id)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// TestEndHoldsAtOnce: from the moment at which the end is being written nothing works, and
// works again only where it could not be written.
func TestEndHoldsAtOnce(t *testing.T) {
	for name, keep := range map[string]bool{"forgotten": false, "kept": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			k := w.open("A", nil)
			if !w.standing("A").Live(w.now) {
				t.Fatal("it is not live")
			}
			if _, err := w.book.End(t.Context(), "t", "s", k.ID, host.TaskCancelled, keep); err != nil {
				t.Fatal(err)
			}
			if w.standing("A").Live(w.now) {
				t.Error("it is live while its end is written")
			}
			w.book.Reopen("t", "s", k.ID)
			if !w.standing("A").Live(w.now) {
				t.Error("it is over although its end was not written")
			}
			ops, err := w.book.End(t.Context(), "t", "s", k.ID, host.TaskCancelled, keep)
			w.commit(ops, err)
			w.book.Ended("t", "s", k.ID)
			for range 2 {
				if w.standing("A").Live(w.now) {
					t.Error("it outlived its end")
				}
				w.restart() // a crash
			}
			found, err := w.book.Find(t.Context(), "t", k.ID)
			if keep != (err == nil) || keep && found.State != host.TaskCancelled {
				t.Errorf("%+v, %v", found, err)
			}
		})
	}
}

// TestAStaleReadIsNotRemembered has reads under way while the task ends.
func TestAStaleReadIsNotRemembered(t *testing.T) {
	for range 50 {
		w := newWorld(t)
		k := w.open("A", nil)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 20 {
					_, _ = w.book.Standing(context.Background(), "t", "s", k.ID)
				}
			})
		}
		w.commit(w.book.End(t.Context(), "t", "s", k.ID, host.TaskCompleted, true))
		w.book.Ended("t", "s", k.ID)
		all.Wait()
		if w.standing("A").Live(w.now) {
			t.Fatal("it is live after its end")
		}
	}
}

func TestStanding(t *testing.T) {
	w := newWorld(t)
	w.open("A", func(k *host.Task) { k.Expires = w.now.Add(time.Minute) })
	w.open("B", func(k *host.Task) {
		k.Parent, k.Above = ulid+"A", "s"
		k.Grants = []policy.Grant{{Actions: []string{"fileRead", "observe"}}, {Actions: []string{"fileRead"}}}
	})
	w.open("C", func(k *host.Task) { k.Parent, k.Above = ulid+"X", "s" })
	b := w.standing("B")
	want := map[string]any{
		"state": "active", "user": policy.UID{Type: "User", ID: "owner"}, "restricted": true, "grants": []string{"fileRead", "observe"},
		"parent": policy.UID{Type: "Task", ID: ulid + "A"},
	}
	if diff := cmp.Diff(want, b.Entity.Attrs); diff != "" || !b.Live(w.now) || b.Grants == nil || b.Grants != w.standing("B").Grants {
		t.Errorf("%s %+v", diff, b)
	}
	if w.standing("C").Live(w.now) || w.standing("X").Live(w.now) {
		t.Error("a task without a record is live, or one below it")
	}
	w.now = w.now.Add(time.Minute)
	if b := w.standing("B"); b.Live(w.now) || b.Task.State != host.TaskActive || b.Parent.Task.State != host.TaskExpired || b.Parent.Entity.Attrs["state"] != "expired" {
		t.Errorf("%+v", b.Parent)
	}
}

func TestList(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"A", "B", "C"} {
		w.open(id, func(k *host.Task) { k.Agent = strings.ToLower(id) })
	}
	ids := func(f host.TaskFilter) []string {
		list, err := w.book.List(t.Context(), "t", f)
		if err != nil {
			t.Fatal(err)
		}
		out := []string{}
		for _, k := range list {
			out = append(out, k.ID[len(ulid):])
		}
		return out
	}
	for name, tc := range map[string]struct {
		filter host.TaskFilter
		want   []string
	}{
		"all":     {host.TaskFilter{}, []string{"C", "B", "A"}},
		"one":     {host.TaskFilter{Limit: 1}, []string{"C"}},
		"after":   {host.TaskFilter{After: ulid + "C"}, []string{"B", "A"}},
		"agent":   {host.TaskFilter{Agent: "b"}, []string{"B"}},
		"state":   {host.TaskFilter{State: host.TaskExpired}, []string{}},
		"visible": {host.TaskFilter{Visible: func(k *host.Task) bool { return k.Agent == "a" }}, []string{"A"}},
	} {
		if diff := cmp.Diff(tc.want, ids(tc.filter)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	asked := 0
	ids(host.TaskFilter{Limit: 1, After: ulid + "C", Visible: func(*host.Task) bool { asked++; return true }})
	if asked != 1 {
		t.Errorf("whether a task is visible was asked %d times for a page of one", asked)
	}
	if err := w.book.Forget(t.Context(), "t", "s"); err != nil || len(ids(host.TaskFilter{})) > 0 {
		t.Errorf("after the session was removed: %v, %v", ids(host.TaskFilter{}), err)
	}
	if _, err := w.book.Find(t.Context(), "t", ulid+"A"); err == nil {
		t.Error("a forgotten task is found")
	}
}

func FuzzHolder(f *testing.F) {
	f.Add("vspt_t_" + ulid + "A_" + strings.Repeat("0", 52))
	f.Add("vspt__")
	s, err := store.Open(f.Context(), store.Options{Dir: f.TempDir(), Edge: true, MinFree: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	book := task.New(s, time.Now)
	k := host.Task{ID: ulid + "A", Tenant: "t", Session: "s", User: "owner", State: host.TaskActive}
	token := task.Token(k)
	ops, err := book.Open(k, token)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := s.Commit(f.Context(), words.Batch{Ops: ops}); err != nil {
		f.Fatal(err)
	}
	if c, err := book.Holder(f.Context(), token); err != nil || c.Task != k.ID {
		f.Fatal(c, err)
	}
	f.Fuzz(func(t *testing.T, guess string) {
		if c, err := book.Holder(t.Context(), guess); err == nil && guess != token {
			t.Errorf("%q holds %+v", guess, c)
		}
	})
}

// TestIDsAreOfTheirSession: what one session knows under an id is nothing in another.
func TestIDsAreOfTheirSession(t *testing.T) {
	w := newWorld(t)
	k := w.open("A", nil)
	for _, session := range []string{"s", "other", "s"} {
		s, err := w.book.Standing(t.Context(), "t", session, k.ID)
		if err != nil || s.Live(w.now) != (session == "s") {
			t.Errorf("in %s: %v, %v", session, s.Live(w.now), err)
		}
	}
}
