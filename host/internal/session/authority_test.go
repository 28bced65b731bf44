package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/session"
	words "github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// lastEntry is the newest entry of a kind in a session's journal.
func (w *world) lastEntry(id string, kind host.EntryKind) host.Entry {
	w.t.Helper()
	records, err := w.service.Journal(w.t.Context(), caller, id, 1, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range slices.Backward(records) {
		if r.Kind == kind {
			return r.Entry
		}
	}
	w.t.Fatalf("session %s has no %s", id, kind)
	return host.Entry{}
}

// tasksOf are the tasks in a session that are active.
func (w *world) tasksOf(id string) []host.Task {
	w.t.Helper()
	all, err := w.service.Tasks(w.t.Context(), caller, host.TaskFilter{State: host.TaskActive})
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(t host.Task) bool { return t.Session != id })
}

// TestForkHasATaskOfItsOwn: a fork in the middle of a turn goes on in a task of its own,
// which says nothing of the one that it comes from.
func TestForkHasATaskOfItsOwn(t *testing.T) {
	w := newWorld(t, waiting)
	turn := w.invoke(message("x"))
	until(t, "the wait", func() bool { return len(w.status(turn.Session).Waiting) > 0 })
	fork, err := w.service.Fork(t.Context(), caller, turn.Session, w.lastEntry(turn.Session, host.EntryIntent).Seq)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the fork's wait", func() bool { return len(w.status(fork.ID).Waiting) > 0 })
	own := w.tasksOf(fork.ID)
	if len(own) != 1 || own[0].ID == turn.Task {
		t.Fatalf("the fork works in %+v", own)
	}
	if _, err := w.service.Cancel(t.Context(), caller, turn.Session); err != nil {
		t.Fatal(err)
	}
	w.ended(turn.Session, 1)
	w.kill()
	w.start()
	if got := w.await(host.Turn{Session: fork.ID, Number: 1}); got.Task != own[0].ID {
		t.Errorf("the fork's turn names %s", got.Task)
	}
	w.signal(fork.ID, "go")
	w.ended(fork.ID, 1)
	if got := w.await(host.Turn{Session: fork.ID, Number: 1}); textOf(got) != "went" || len(w.tasksOf(fork.ID)) > 0 {
		t.Errorf("%+v, still active: %+v", got, w.tasksOf(fork.ID))
	}
}

// TestRevertIntoATurn: a turn that a revert brings back goes on, but not with what its task
// had been granted.
func TestRevertIntoATurn(t *testing.T) {
	for name, grants := range map[string][]policy.Grant{"as it was": nil, "without its grants": {{Actions: []string{"fileRead"}}}} {
		w := newWorld(t, waiting)
		in := message("x")
		in.Task.Grants = grants
		turn := w.invoke(in)
		until(t, "the wait", func() bool { return len(w.status(turn.Session).Waiting) > 0 })
		at := w.lastEntry(turn.Session, host.EntryIntent).Seq
		w.signal(turn.Session, "go")
		w.ended(turn.Session, 1)
		if _, err := w.service.Revert(t.Context(), caller, turn.Session, at); err != nil {
			t.Fatal(err)
		}
		if grants == nil {
			until(t, "the wait", func() bool { return len(w.status(turn.Session).Waiting) > 0 })
			w.signal(turn.Session, "go")
		}
		w.ended(turn.Session, 1)
		got := w.await(turn)
		if (grants == nil) != (got.Status == host.TurnDone) || grants != nil && got.Status != host.TurnCancelled {
			t.Errorf("%s: %+v, %+v", name, got, got.Error)
		}
	}
}

// TestErasedTaskIsOver: with a session all that was granted in it is gone, and what was said
// of it.
func TestErasedTaskIsOver(t *testing.T) {
	w := newWorld(t, echo)
	task, token := w.outside(host.TaskSpec{Purpose: "a secret"})
	if _, err := w.service.Holder(t.Context(), token); err != nil { // it is remembered now
		t.Fatal(err)
	}
	w.asleep(task.Session)
	if _, err := w.service.Erase(t.Context(), caller, task.Session); err != nil {
		t.Fatal(err)
	}
	if c, err := w.service.Holder(t.Context(), token); err == nil {
		t.Errorf("the token holds %+v", c)
	}
	if k, err := w.service.Task(t.Context(), caller, task.ID); host.CodeOf(err) != host.ErrNotFound {
		t.Errorf("%+v, %v", k, err)
	}
	err := w.store.View(t.Context(), func(tx words.Tx) error {
		for item, err := range tx.Scan(words.Query{}) {
			if err != nil {
				return err
			}
			if bytes.HasPrefix(item.Key, []byte("task")) || bytes.Contains(item.Value, []byte("a secret")) {
				t.Errorf("%q is left", item.Key)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestCalledEndsWithItsCaller: what was called does not outlive an erasure, nor a revert, nor
// a host that could not cancel it.
func TestCalledEndsWithItsCaller(t *testing.T) {
	for name, end := range map[string]func(w *world, caller host.Session, called string) error{
		"erased": func(w *world, h host.Session, _ string) error {
			_, err := w.service.Erase(w.t.Context(), caller, h.ID)
			return err
		},
		"reverted": func(w *world, h host.Session, _ string) error {
			_, err := w.service.Revert(w.t.Context(), caller, h.ID, 1)
			return err
		},
		"cannot be cancelled": func(w *world, h host.Session, called string) error {
			refuse := func(b words.Batch) error {
				if slices.ContainsFunc(b.Ops, func(o words.Op) bool { return string(o.Key) == "session/t/"+called }) {
					return errors.New("the disk is gone")
				}
				return nil
			}
			w.store.refuse.Store(&refuse)
			if _, err := w.service.Cancel(w.t.Context(), caller, h.ID); err != nil {
				return err
			}
			w.ended(h.ID, 1)
			w.kill()
			w.start()
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := sleepy(t, asks("b", nil))
			team(w, "b")
			w.agents["b"].Idle = 10 * time.Millisecond
			w.others = map[string]guest{"sha256:b": waiting}
			turn := w.invoke(message("x"))
			w.suspended(turn.Session)
			called := w.child(turn.Session)
			w.suspended(called)
			if err := end(w, w.status(turn.Session), called); err != nil {
				t.Fatal(err)
			}
			w.ended(called, 1)
			if got := w.await(host.Turn{Session: called, Number: 1}); got.Status != host.TurnCancelled {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestImportedEventIsNobodysWord: whoever made a file does not choose whose words an event
// is, who makes the calls of its turn, and which task it works in.
func TestImportedEventIsNobodysWord(t *testing.T) {
	w := sleepy(t, waiting)
	turn := w.invoke(message("pay user4"))
	w.suspended(turn.Session)
	var file bytes.Buffer
	if err := w.service.Export(t.Context(), caller, turn.Session, &file); err != nil {
		t.Fatal(err)
	}
	victim := w.tasksOf(turn.Session)[0]
	w.forge = func(e *host.Entry) {
		var a host.Accepted
		if e.Kind != host.EntryAccepted || json.Unmarshal(e.Body, &a) != nil {
			return
		}
		a.External, a.Label = true, &abi.Label{Integrity: abi.Trusted, Public: true}
		e.Body, _ = json.Marshal(a)
	}
	thief := host.Caller{Tenant: "t", User: "thief"}
	h, err := w.service.Import(t.Context(), thief, host.ImportOptions{}, &file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.service.Unpark(t.Context(), thief, h.ID, ""); err != nil {
		t.Fatal(err)
	}
	w.suspended(h.ID)
	if own := w.tasksOf(h.ID); len(own) != 1 || own[0].ID == victim.ID || own[0].External || own[0].User != "thief" {
		t.Errorf("it works in %+v", own)
	}
	if found, err := w.service.Task(t.Context(), caller, victim.ID); err != nil || found.Session != turn.Session {
		t.Errorf("the task that the file names is %+v, %v", found, err)
	}
	w.mu.Lock()
	said := w.words
	w.mu.Unlock()
	if len(said) > 0 {
		t.Errorf("the importer is taken to have said %q", said)
	}
}

// TestTaskSpecOnlyNarrows: no number that a task is opened with gives it more than its agent
// has.
func TestTaskSpecOnlyNarrows(t *testing.T) {
	w := newWorld(t, echo)
	w.agent.Budget = host.Budget{Calls: 3, Time: time.Hour}
	for _, b := range []host.Budget{{Calls: -1}, {Tokens: -1}, {CostMicros: -1}, {Time: -1}, {Fuel: -1}} {
		in := message("x")
		in.Task.Budget = b
		if _, err := w.service.Invoke(t.Context(), w.fill(in)); host.CodeOf(err) != host.ErrInvalid {
			t.Errorf("%+v: %v", b, err)
		}
	}
	seen := make(chan host.Task, 1)
	w.restart(func(_ context.Context, _ session.Calls, e abi.Event) (abi.Reply, error) {
		k, err := w.service.Task(t.Context(), caller, e.Task)
		seen <- k
		return abi.Reply{Status: abi.StatusDone}, err
	})
	in := message("x")
	in.Task.Budget = host.Budget{Calls: 9, Time: time.Minute}
	w.await(w.invoke(in))
	if k := <-seen; k.Budget.Calls != 3 || k.Expires.Sub(k.Opened).Round(time.Second) != time.Minute {
		t.Errorf("%+v", k)
	}
}

// TestCalledKnowsWhoMayRead: what only some may read stays so in the session of an agent that
// is called, which is its caller's owner's.
func TestCalledKnowsWhoMayRead(t *testing.T) {
	w := newWorld(t, func(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
		if abi.TextOf(e.Content) != "call" {
			return say("hello")
		}
		if _, err := ask(ctx, g, "effect", `{"path":"secret"}`); err != nil {
			return abi.Reply{}, err
		}
		return asks("b", nil)(ctx, g, e)
	})
	team(w, "b")
	w.others = map[string]guest{"sha256:b": echo}
	id := w.say("", "hi").Session
	in := w.fill(message("call"))
	in.Session, in.Caller.User = id, "user4"
	turn, err := w.service.Invoke(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if got := textOf(w.await(turn)); got != "b says 1:call" {
		t.Fatal(got)
	}
	called := w.status(w.child(id))
	if called.Owner != "owner" {
		t.Errorf("it belongs to %s", called.Owner)
	}
	if l := called.Label; l.Integrity != abi.Trusted || slices.Contains(l.Readers, "owner") || l.Public {
		t.Errorf("it is labelled %+v", l)
	}
}

// TestSignalHasItsSendersLabel: an agent elsewhere that signals for a user does not speak with
// that user's voice.
func TestSignalHasItsSendersLabel(t *testing.T) {
	for _, actors := range [][]string{nil, {"robot"}} {
		w := newWorld(t, waiting)
		turn := w.invoke(message("x"))
		until(t, "the wait", func() bool { return len(w.status(turn.Session).Waiting) > 0 })
		by := caller
		by.Actors = actors
		if _, err := w.service.Signal(t.Context(), host.Signal{Caller: by, Session: turn.Session, Name: "go"}); err != nil {
			t.Fatal(err)
		}
		w.ended(turn.Session, 1)
		if l := w.status(turn.Session).Label; (l.Integrity == abi.Trusted) != (actors == nil) {
			t.Errorf("from %v: %+v", actors, l)
		}
		if all := w.tasksOf(turn.Session); len(all) > 0 {
			t.Errorf("still active: %+v", all)
		}
	}
}
