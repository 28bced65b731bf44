package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

const tenant = "default"

// zeros is a source of randomness that makes the same key each time.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func newSigner(tb testing.TB, name string) *Signer {
	tb.Helper()
	key, err := GenerateKey(zeros{}, name)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := NewSigner(key)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// clock moves on by a millisecond whenever it is read.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(time.Millisecond)
	return c.t
}

func newLog(tb testing.TB, s store.Store) *Log {
	tb.Helper()
	l, err := New(Options{Store: s, Signer: newSigner(tb, "vespiary.test"), Now: newClock().now})
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func record(chain string) *policy.Record {
	return &policy.Record{
		Tenant: tenant, Chain: chain, Kind: policy.RecordDecision, Session: "01JSESSION", Turn: 1, Path: "1/2",
		Who: []policy.Actor{
			{Run: "01JRUN", Agent: "triage", Module: "sha256:" + strings.Repeat("ab", 32), Task: chain},
			{User: "user1"},
		},
		Call: "file_write", Action: "fileWrite", Resource: policy.UID{Type: "File", ID: "workspace/a.md"},
		Kinds: []string{"effect"}, Args: "hmac-sha256:" + strings.Repeat("cd", 32), Model: "main",
		Decision: &policy.Decision{
			Allowed: true, Set: "sha256:" + strings.Repeat("ef", 32),
			Policies: []policy.Cause{{ID: "files", File: "policies/files.cedar", Line: 12}},
		},
	}
}

func commitTo(s store.Store) func(...store.Op) error {
	return func(ops ...store.Op) error {
		_, err := s.Commit(context.Background(), store.Batch{Ops: ops})
		return err
	}
}

func write(tb testing.TB, l *Log, chain string, n int) {
	tb.Helper()
	for range n {
		if err := l.Write(tb.Context(), record(chain)); err != nil {
			tb.Fatal(err)
		}
	}
}

func integrate(tb testing.TB, l *Log) {
	tb.Helper()
	if err := l.Integrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

func collect(tb testing.TB, found iter.Seq2[policy.Record, error]) []policy.Record {
	tb.Helper()
	var out []policy.Record
	for r, err := range found {
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func ids(rs []policy.Record) string {
	var out []string
	for _, r := range rs {
		out = append(out, r.ID)
	}
	return strings.Join(out, " ")
}

func TestNote(t *testing.T) {
	m := newMemory()
	l := newLog(t, m)
	var before policy.Record
	for n := uint64(1); n <= 3; n++ {
		r := record("task")
		err := l.Note(t.Context(), r, func(ops ...store.Op) error {
			if _, err := m.Commit(t.Context(), store.Batch{Ops: ops}); err != nil {
				return err
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if r.N != n || r.ID != fmt.Sprintf("task.%d", n) || r.Prev != before.Hash || r.Hash == "" || !r.Time.After(before.Time) {
			t.Errorf("record %d is %+v", n, r)
		}
		got, err := l.Get(t.Context(), tenant, r.ID)
		if diff := cmp.Diff(*r, got); err != nil || diff != "" {
			t.Errorf("get %s: %v (-noted +got):\n%s", r.ID, err, diff)
		}
		before = *r
	}
}

// TestNoteFails shows that a number is given again when the commit failed, also when it was
// written all the same.
func TestNoteFails(t *testing.T) {
	m := newMemory()
	l := newLog(t, m)
	write(t, l, "task", 1)
	broken := errors.New("broken")
	if err := l.Note(t.Context(), record("task"), func(...store.Op) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if err := l.Note(t.Context(), record("task"), func(ops ...store.Op) error {
		return errors.Join(commitTo(m)(ops...), broken)
	}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = l.Note(t.Context(), record("task"), func(...store.Op) error { panic("a fault") })
	}()
	write(t, l, "task", 1)
	if got, want := ids(collect(t, l.Search(t.Context(), Query{Tenant: tenant}))), "task.1 task.2 task.3"; got != want {
		t.Errorf("the log holds %s, want %s", got, want)
	}
	verified(t, l)
}

func TestBadRecords(t *testing.T) {
	l := newLog(t, newMemory())
	for name, change := range map[string]func(*policy.Record){
		"no tenant":       func(r *policy.Record) { r.Tenant = "" },
		"no chain":        func(r *policy.Record) { r.Chain = "" },
		"tenant in parts": func(r *policy.Record) { r.Tenant = "a/b" },
		"chain in parts":  func(r *policy.Record) { r.Chain = "a/b" },
		"long chain":      func(r *policy.Record) { r.Chain = strings.Repeat("x", maxName+1) },
		"no UTF-8":        func(r *policy.Record) { r.Chain = "\xff" },
		"before time":     func(r *policy.Record) { r.Time = time.Unix(-1, 0) },
		"after time":      func(r *policy.Record) { r.Time = time.Unix(lastSecond, 0) },
		"too large":       func(r *policy.Record) { r.Evidence = make([]byte, store.MaxValue) },
	} {
		for way, do := range map[string]func(*policy.Record) error{
			"Note":  func(r *policy.Record) error { return l.Note(t.Context(), r, commitTo(l.opt.Store)) },
			"Write": func(r *policy.Record) error { return l.Write(t.Context(), r) },
			"Later": l.Later,
		} {
			r := record("task")
			change(r)
			if err := do(r); err == nil {
				t.Errorf("%s: %s took it", name, way)
			}
		}
	}
	write(t, l, "task", 1) // it still works
	verified(t, l)
}

// TestTogether shows that what Later keeps is written with the next Write of its chain, and
// before it.
func TestTogether(t *testing.T) {
	m := newMemory()
	l := newLog(t, m)
	for range 3 {
		if err := l.Later(record("people")); err != nil {
			t.Fatal(err)
		}
	}
	if m.commits != 0 {
		t.Errorf("%d commits for what may wait", m.commits)
	}
	r := record("people")
	if err := l.Write(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if r.ID != "people.4" || m.commits != 1 {
		t.Errorf("written as %s in %d commits", r.ID, m.commits)
	}
	if l.waiting != 0 {
		t.Errorf("%d bytes still wait", l.waiting)
	}
	verified(t, l)
}

// TestNotedLater has a commit that keeps the ops, as a journal does until its output is
// seen: what the log writes itself never gets ahead of them.
func TestNotedLater(t *testing.T) {
	m := newMemory()
	l := newLog(t, m)
	var kept []store.Op
	for range 2 {
		err := l.Note(t.Context(), record("task"), func(ops ...store.Op) error {
			kept = append(kept, ops...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Later(record("task")); err != nil {
		t.Fatal(err)
	}
	if err := l.Write(t.Context(), record("task")); err == nil {
		t.Error("Write got ahead of what was noted")
	}
	if err := l.Integrate(t.Context()); err == nil || m.commits != 0 {
		t.Errorf("what Later keeps got ahead of what was noted: %v, %d commits", err, m.commits)
	}
	crashed := newLog(t, m.copyOf())
	write(t, crashed, "task", 1)
	verified(t, crashed)

	if err := commitTo(m)(kept...); err != nil {
		t.Fatal(err)
	}
	integrate(t, l)
	if got, want := ids(collect(t, l.Search(t.Context(), Query{Tenant: tenant}))), "task.1 task.2 task.3"; got != want {
		t.Errorf("the log holds %s, want %s", got, want)
	}
	verified(t, l)
}

// TestForget has a journal fail that had kept ops, and another one take over.
func TestForget(t *testing.T) {
	m := newMemory()
	l := newLog(t, m)
	write(t, l, "task", 1)
	if err := l.Note(t.Context(), record("task"), func(...store.Op) error { return nil }); err != nil {
		t.Fatal(err)
	}
	l.Forget(tenant, "task")
	r := record("task")
	if err := l.Note(t.Context(), r, commitTo(m)); err != nil || r.ID != "task.2" {
		t.Errorf("noted as %s: %v", r.ID, err)
	}
	verified(t, l)
}

// TestLaterWaits shows what a store that takes nothing does to records that may wait: they
// stay, up to the limit, and then the caller hears of it.
func TestLaterWaits(t *testing.T) {
	m := newMemory()
	l := newLog(t, m)
	m.fault = func(store.Batch) error { return store.ErrFull }
	big := func() *policy.Record {
		r := record("task")
		r.Evidence = make([]byte, 512<<10)
		return r
	}
	n := 0
	var err error
	for ; err == nil; n++ {
		err = l.Later(big())
	}
	if n--; !errors.Is(err, store.ErrFull) || n != maxWaiting/(700<<10) {
		t.Errorf("after %d records: %v", n, err)
	}
	if err := l.Write(t.Context(), record("task")); !errors.Is(err, store.ErrFull) {
		t.Errorf("Write with a full store: %v", err)
	}
	if err := l.Integrate(t.Context()); !errors.Is(err, store.ErrFull) {
		t.Errorf("Integrate with a full store: %v", err)
	}
	m.fault = nil
	integrate(t, l)
	if got := len(collect(t, l.Search(t.Context(), Query{Tenant: tenant}))); got != n || l.waiting != 0 {
		t.Errorf("%d records, want %d; %d bytes still wait", got, n, l.waiting)
	}
	verified(t, l)
}

// TestRun shows that Run makes durable what waits within a second, and once more at its end.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		l, err := New(Options{Store: m, Signer: newSigner(t, "vespiary.test"), Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { l.Run(ctx); close(done) }()
		for n := 1; n <= 3; n++ {
			if err := l.Later(record("task")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if got := len(collect(t, l.Search(t.Context(), Query{Tenant: tenant}))); got != n {
				t.Errorf("%d records are durable, want %d", got, n)
			}
		}
		if err := l.Later(record("task")); err != nil {
			t.Fatal(err)
		}
		cancel()
		<-done
		r := verified(t, l)
		if r.Records != 4 || r.Size != 4 {
			t.Errorf("at the end there are %+v", r)
		}
	})
}

// TestWriteEnds shows that a caller who no longer wants a record either gets it or not, but
// not later.
func TestWriteEnds(t *testing.T) {
	m := newMemory()
	l := newLog(t, m)
	entered, leave := make(chan struct{}), make(chan struct{})
	noted := make(chan error)
	go func() {
		noted <- l.Note(context.Background(), record("task"), func(ops ...store.Op) error {
			close(entered)
			<-leave
			return commitTo(m)(ops...)
		})
	}()
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	written := make(chan error)
	go func() { written <- l.Write(ctx, record("task")) }()
	cancel()
	if err := <-written; !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled Write: %v", err)
	}
	ended, stop := context.WithCancel(t.Context())
	stop()
	if err := l.Note(ended, record("task"), commitTo(m)); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled Note: %v", err)
	}
	close(leave)
	if err := <-noted; err != nil {
		t.Fatal(err)
	}
	write(t, l, "task", 1)
	if got, want := ids(collect(t, l.Search(t.Context(), Query{Tenant: tenant}))), "task.1 task.2"; got != want {
		t.Errorf("the log holds %s, want %s", got, want)
	}
}

// verified checks the whole log.
func verified(t *testing.T, l *Log) Report {
	t.Helper()
	r, err := l.Verify(t.Context(), VerifyOptions{Tenant: tenant, PublicKey: l.opt.Signer.PublicKey()})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Problems {
		t.Errorf("verify: %s", p)
	}
	return r
}
