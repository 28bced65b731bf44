package session_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	words "github.com/vespiary/vespiary/host/store"
)

// TestNameIsOfOneCall: a name that a program gave to a call is not another call's.
func TestNameIsOfOneCall(t *testing.T) {
	w := newWorld(t, echo)
	task, _ := w.outside(host.TaskSpec{})
	for range 2 {
		if r, err := w.visit(task.ID, "n", "effect", `{"path":"x"}`); err != nil || r.Error != nil {
			t.Fatal(r.Error, err)
		}
		if r, err := w.visit(task.ID, "n", "tool", `{"path":"x"}`); host.CodeOf(err) != host.ErrConflict {
			t.Errorf("another call under the name: %+v, %v", r, err)
		}
		for range 2 {
			if r, err := w.visit(task.ID, "m", "call_wait", `{}`); err != nil || r.Error == nil || r.Error.Code != abi.CodeInvalid {
				t.Errorf("%+v, %v", r, err)
			}
		}
		w.asleep(task.Session)
	}
}

// TestResultOutlivesACrash: what a program handed in ends its task, also when the host crashed
// over it, and a second result does not count.
func TestResultOutlivesACrash(t *testing.T) {
	w := newWorld(t, echo)
	task, _ := w.outside(host.TaskSpec{})
	if _, err := w.visit(task.ID, "", "effect", `{"path":"x"}`); err != nil {
		t.Fatal(err)
	}
	var commits atomic.Int32
	gone := make(chan struct{})
	refuse := func(words.Batch) error {
		if commits.Add(1) == 1 { // of the decision about the result
			return nil
		}
		if commits.Load() == 2 {
			close(gone)
		}
		return errors.New("the disk is gone")
	}
	w.store.refuse.Store(&refuse)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-gone
		cancel()
	}()
	if _, err := w.service.EndTask(ctx, caller, task.ID, host.TaskCompleted, []abi.Content{abi.Text("first")}); err == nil {
		t.Fatal("it ended without a disk")
	}
	w.kill()
	w.start()
	_, _ = w.service.EndTask(t.Context(), caller, task.ID, host.TaskCompleted, []abi.Content{abi.Text("second")})
	w.ended(task.Session, 1)
	if got := w.await(host.Turn{Session: task.Session, Number: 1}); textOf(got) != "first" || got.Status != host.TurnDone {
		t.Errorf("%+v", got)
	}
}

// TestForkOfAProgram: the fork of a session that a program works in has nobody who works in
// it, and says so.
func TestForkOfAProgram(t *testing.T) {
	w := newWorld(t, echo)
	task, _ := w.outside(host.TaskSpec{})
	if _, err := w.visit(task.ID, "", "effect", `{"path":"x"}`); err != nil {
		t.Fatal(err)
	}
	fork, err := w.service.Fork(t.Context(), caller, task.Session, w.lastEntry(task.Session, host.EntryResult).Seq)
	if err != nil {
		t.Fatal(err)
	}
	w.ended(fork.ID, 1)
	if r, err := w.visit(task.ID, "", "effect", `{"path":"y"}`); err != nil || r.Error != nil {
		t.Errorf("the one that was forked: %+v, %v", r, err)
	}
}

// TestIdleProgramsTakeNoPlace: a task whose program does nothing does not keep others from
// working.
func TestIdleProgramsTakeNoPlace(t *testing.T) {
	w := newWorld(t, echo)
	w.limits.Sessions = 1
	w.kill()
	w.start()
	w.agents = map[string]*host.Agent{"ext": {Name: "ext", Module: host.ModuleExternal, Plugin: "external", Idle: time.Hour}}
	task, _ := w.outside(host.TaskSpec{})
	if _, err := w.visit(task.ID, "", "effect", `{"path":"x"}`); err != nil {
		t.Fatal(err)
	}
	if got := textOf(w.await(w.invoke(message("x")))); got != "1:x" {
		t.Error(got)
	}
}

// TestEndOneTask: a task that is ended takes no other of its session with it.
func TestEndOneTask(t *testing.T) {
	w := newWorld(t, waiting)
	first := w.invoke(message("x"))
	until(t, "the wait", func() bool { return len(w.status(first.Session).Waiting) > 0 })
	in := message("x")
	in.Session = first.Session
	second, third := w.invoke(in), w.invoke(in)
	ends := func(turn host.Turn) {
		t.Helper()
		if k, err := w.service.EndTask(t.Context(), caller, turn.Task, host.TaskCancelled, nil); err != nil || k.State != host.TaskCancelled {
			t.Errorf("%+v, %v", k, err)
		}
	}
	ends(second)
	ends(first)
	w.ended(first.Session, 2)
	until(t, "the wait", func() bool { return len(w.status(first.Session).Waiting) > 0 })
	w.signal(first.Session, "go")
	w.ended(first.Session, 3)
	for turn, want := range map[int]host.TurnStatus{1: host.TurnCancelled, 2: host.TurnCancelled, 3: host.TurnDone} {
		if got := w.await(host.Turn{Session: third.Session, Number: turn}); got.Status != want {
			t.Errorf("turn %d is %s", turn, got.Status)
		}
	}
}

// TestProgramCallsSideBySide has a program call and end its task while the session goes in and
// out of memory: every call gets an answer, and the end ends it.
func TestProgramCallsSideBySide(t *testing.T) {
	for range 5 {
		w := newWorld(t, echo)
		w.agents = map[string]*host.Agent{"ext": {Name: "ext", Module: host.ModuleExternal, Plugin: "external", Idle: time.Millisecond}}
		task, _ := w.outside(host.TaskSpec{})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				for j := range 15 {
					_, err := w.service.CallTask(ctx, caller, task.ID, host.TaskCall{Name: "effect", Request: []byte(`{"path":"x"}`)})
					if code := host.CodeOf(err); err != nil && code != host.ErrNotFound && code != host.ErrConflict {
						t.Errorf("call %d of %d: %v", j, i, err)
					}
				}
			})
		}
		for len(w.done()) < 20 {
			time.Sleep(time.Millisecond)
		}
		if _, err := w.service.EndTask(ctx, caller, task.ID, host.TaskCompleted, nil); err != nil {
			t.Errorf("the end: %v", err)
		}
		all.Wait()
		cancel()
		w.ended(task.Session, 1)
		w.kill()
	}
}
