package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/session"
)

// counting keeps what it was told in its memory, and writes it down once in a while.
func counting(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
	m := memoryOf(ctx)
	m["said"] += abi.TextOf(e.Content)
	if abi.TextOf(e.Content) == "x" {
		return abi.Reply{}, errors.New("it died")
	}
	r, err := ask(ctx, g, "effect", `{"path":"f"}`)
	if err != nil || r.Error != nil {
		return abi.Reply{}, errors.Join(err, asError(r.Error))
	}
	return say(m["said"])
}

func (w *world) say(id, text string) host.Turn {
	w.t.Helper()
	in := message(text)
	in.Session = id
	return w.await(w.invoke(in))
}

func textOf(t host.Turn) string { return abi.TextOf(t.Content) }

// until waits for something that happens beside the test.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 2000 {
		if f() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("%s did not happen", what)
}

func (w *world) status(id string) host.Session {
	w.t.Helper()
	h, err := w.service.Get(w.t.Context(), caller, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

func (w *world) kinds(id string) []host.EntryKind {
	w.t.Helper()
	records, err := w.service.Journal(w.t.Context(), caller, id, 1, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []host.EntryKind
	for _, r := range records {
		out = append(out, r.Kind)
	}
	return out
}

// TestMemoryStays has a guest remember across turns, idle times, stops and crashes, and
// forget what it did in a turn that failed.
func TestMemoryStays(t *testing.T) {
	w := newWorld(t, counting)
	w.agent.Idle = 20 * time.Millisecond
	first := w.say("", "a")
	id, want := first.Session, "a"
	for i := range 12 {
		letter := string(rune('b' + i))
		switch i % 4 {
		case 0:
			until(t, "hibernation", func() bool { return w.living() == 0 })
		case 1:
			w.kill()
			w.start()
		case 2:
			if got := w.say(id, "x"); got.Status != host.TurnFailed {
				t.Fatalf("turn %d: %s", got.Number, got.Status)
			}
		}
		want += letter
		if got := textOf(w.say(id, letter)); got != want {
			t.Fatalf("round %d: the guest remembers %q, not %q", i, got, want)
		}
	}
	if n := len(w.effects); n != 13 {
		t.Errorf("%d effects, want 13", n)
	}
	if !slices.Contains(w.kinds(id), host.EntrySnapshot) {
		t.Error("no snapshot was taken")
	}
}

func (w *world) living() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.alive
}

// TestWaitsLeaveTheMemory has a turn wait for a timer and then for a signal, with a slow
// call beside: the guest is dropped, then the session leaves the memory, and the turn ends
// as if it had waited.
func TestWaitsLeaveTheMemory(t *testing.T) {
	w := newWorld(t, func(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
		out := []string{}
		if e.Type != abi.EventMessage {
			return say("not waited for")
		}
		for _, request := range []string{`{"for":[{"type":"timer","name":"t","after_ns":400000000}]}`, `{"for":[{"type":"signal","name":"go"}]}`} {
			if r, err := ask(ctx, g, "effect", fmt.Sprintf(`{"path":"before %d"}`, len(out))); err != nil || r.Error != nil {
				return abi.Reply{}, errors.Join(err, asError(r.Error))
			}
			r, err := ask(ctx, g, abi.CallAwait, request)
			if err != nil || r.Error != nil {
				return abi.Reply{}, errors.Join(err, asError(r.Error))
			}
			var got abi.Event
			if err := json.Unmarshal(r.OK, &got); err != nil {
				return abi.Reply{}, err
			}
			out = append(out, string(got.Type)+":"+got.Name+string(got.Data))
		}
		return say(strings.Join(out, " "))
	})
	w.agent.Idle = 20 * time.Millisecond
	w.patience = 10 * time.Millisecond
	w.kill()
	w.start()
	turn := w.invoke(message("hi"))
	until(t, "dropping the guest", func() bool { return w.living() == 0 && len(w.done()) == 1 })
	until(t, "suspension", func() bool { return w.status(turn.Session).Status == host.SessionSuspended })
	until(t, "the second wait", func() bool { return len(w.done()) == 2 && w.status(turn.Session).Status == host.SessionSuspended })
	w.kill() // it waits for the signal in no memory at all
	w.start()
	if got := w.status(turn.Session); len(got.Waiting) != 1 || got.Waiting[0].Name != "go" {
		t.Fatalf("it waits for %+v", got.Waiting)
	}
	if _, err := w.service.Signal(t.Context(), host.Signal{Caller: caller, Session: turn.Session, Name: "other"}); err != nil {
		t.Fatal(err)
	}
	sent, err := w.service.Signal(t.Context(), host.Signal{Caller: caller, Session: turn.Session, Name: "go", Data: json.RawMessage(`1`)})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the end", func() bool { return w.status(turn.Session).Ended >= 1 })
	got := w.await(turn)
	if textOf(got) != "timer:t signal:go1" {
		t.Errorf("got %+v", got)
	}
	if got := w.done(); len(got) != 2 {
		t.Errorf("effects: %v", got)
	}
	if got, err := w.service.Turn(t.Context(), caller, turn.Session, sent.Number); err != nil || got.Status != host.TurnDone {
		t.Errorf("the signal's turn: %+v %v", got, err)
	}
	if !slices.Contains(w.notices.types(), host.NoticeWaiting) {
		t.Errorf("notices: %v", w.notices.types())
	}
}

func (w *world) done() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.effects)
}

func writing(path string) guest {
	return func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
		r, err := ask(ctx, g, "effect", `{"path":"`+path+`"}`)
		if err != nil {
			return abi.Reply{}, err
		}
		if r.Error != nil {
			return say(string(r.Error.Code) + ": " + r.Error.Message)
		}
		return say("written")
	}
}

func (w *world) pending() host.Approval {
	w.t.Helper()
	var out []host.Approval
	until(w.t, "the question", func() bool {
		var err error
		out, err = w.service.Approvals(w.t.Context(), caller, host.ApprovalFilter{})
		return err == nil && len(out) == 1
	})
	return out[0]
}

func TestApprovals(t *testing.T) {
	for _, c := range []struct {
		name  string
		do    func(w *world, q host.Approval)
		reply string
	}{
		{"granted", func(w *world, q host.Approval) { w.answer(q.ID, true, "") }, "written"},
		{"denied", func(w *world, q host.Approval) { w.answer(q.ID, false, "not today") }, "denied: effect needed an approval and owner denied it: not today"},
		{"granted after a crash", func(w *world, q host.Approval) { w.kill(); w.start(); w.answer(q.ID, true, "") }, "written"},
		{"granted while suspended", func(w *world, q host.Approval) {
			until(w.t, "suspension", func() bool { return w.status(q.Session).Status == host.SessionSuspended && w.living() == 0 })
			w.answer(q.ID, true, "")
		}, "written"},
		{"cancelled", func(w *world, q host.Approval) {
			if _, err := w.service.Cancel(w.t.Context(), caller, q.Session); err != nil {
				w.t.Fatal(err)
			}
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, writing("ask/1"))
			w.patience, w.agent.Idle = 10*time.Millisecond, 10*time.Millisecond
			w.kill()
			w.start()
			turn := w.invoke(message("hi"))
			q := w.pending()
			if got, err := w.service.Approval(t.Context(), caller, q.ID); err != nil || string(got.Request) != `{"path":"ask/1"}` || got.Note != "asking" {
				t.Fatalf("the question is %+v, %v", got, err)
			}
			stranger := host.Caller{Tenant: "other", User: "owner"}
			if _, err := w.service.Answer(t.Context(), stranger, q.ID, host.Answer{Grant: true}); host.CodeOf(err) != host.ErrNotFound {
				t.Errorf("a stranger's answer: %v", err)
			}
			c.do(w, q)
			until(t, "the end", func() bool { return w.status(turn.Session).Ended == 1 })
			got := w.await(turn)
			if c.reply != "" && textOf(got) != c.reply || c.reply == "" && got.Status != host.TurnCancelled {
				t.Errorf("got %+v", got)
			}
			if want := c.reply == "written"; len(w.done()) == 1 != want {
				t.Errorf("effects: %v", w.done())
			}
			if _, err := w.service.Answer(t.Context(), caller, q.ID, host.Answer{Grant: true}); host.CodeOf(err) != host.ErrConflict {
				t.Errorf("a second answer: %v", err)
			}
			if !slices.Contains(w.notices.types(), host.NoticeApproval) {
				t.Errorf("notices: %v", w.notices.types())
			}
		})
	}
}

func (w *world) answer(id string, grant bool, reason string) {
	w.t.Helper()
	if _, err := w.service.Answer(w.t.Context(), caller, id, host.Answer{Grant: grant, Reason: reason}); err != nil {
		w.t.Fatal(err)
	}
}

// TestApprovalExpires leaves a question without an answer, and one that expires while no
// host runs.
func TestApprovalExpires(t *testing.T) {
	for _, down := range []bool{false, true} {
		w := newWorld(t, writing("ask/1"))
		w.patience, w.agent.Idle, w.life = 10*time.Millisecond, 10*time.Millisecond, 300*time.Millisecond
		w.kill()
		w.start()
		turn := w.invoke(message("hi"))
		w.pending()
		if down {
			w.kill()
			time.Sleep(300 * time.Millisecond)
			w.start()
		}
		until(t, "the end", func() bool { return w.status(turn.Session).Ended == 1 })
		if got := w.await(turn); textOf(got) != "denied: effect needed an approval and nobody gave it in time" {
			t.Errorf("down %v: %+v", down, got)
		}
	}
}

// TestUnsettled has the host crash in the middle of a call that must not be repeated.
func TestUnsettled(t *testing.T) {
	w := newWorld(t, writing("crash"))
	turn := w.invoke(message("hi"))
	until(t, "the effect", func() bool { return len(w.done()) == 1 })
	w.restart(writing("crash"))
	got := w.await(turn)
	if !strings.HasPrefix(textOf(got), string(abi.CodeUnknownOutcome)) {
		t.Fatalf("got %+v", got)
	}
	list, err := w.service.Unsettled(t.Context(), caller)
	if err != nil || len(list) != 1 || list[0].Path != "1/1" || list[0].Seq == 0 || list[0].Action != "fileWrite" {
		t.Fatalf("unsettled: %+v %v", list, err)
	}
	if _, err := w.service.Settle(t.Context(), caller, turn.Session, host.Settlement{Path: "1/1", Outcome: "perhaps"}); host.CodeOf(err) != host.ErrInvalid {
		t.Error(err)
	}
	s := host.Settlement{Path: "1/1", Outcome: host.SettledHappened, Note: "looked", Tell: true}
	if u, err := w.service.Settle(t.Context(), caller, turn.Session, s); err != nil || u.Settled == nil {
		t.Fatalf("%+v %v", u, err)
	}
	if list, err = w.service.Unsettled(t.Context(), caller); err != nil || len(list) != 0 {
		t.Errorf("unsettled: %+v %v", list, err)
	}
	if _, err := w.service.Settle(t.Context(), caller, turn.Session, s); host.CodeOf(err) != host.ErrNotFound {
		t.Error(err)
	}
	until(t, "the signal", func() bool { return w.status(turn.Session).Turns == 2 })
	if !slices.Contains(w.notices.types(), host.NoticeUnknown) {
		t.Errorf("notices: %v", w.notices.types())
	}
}

// TestUnpark parks a session by a guest that diverges, puts the old one back and goes on.
func TestUnpark(t *testing.T) {
	w := newWorld(t, writing("crash"))
	turn := w.invoke(message("hi"))
	until(t, "the effect", func() bool { return len(w.done()) == 1 })
	w.restart(writing("elsewhere"))
	until(t, "parking", func() bool { return w.status(turn.Session).Status == host.SessionParked })
	if h := w.status(turn.Session); !strings.Contains(h.Reason, "1/1") {
		t.Errorf("reason: %s", h.Reason)
	}
	if _, err := w.service.Unpark(t.Context(), caller, turn.Session, "perhaps"); err != nil {
		t.Fatal(err)
	}
	until(t, "parking for the same turn", func() bool {
		kinds := w.kinds(turn.Session)
		first := slices.Index(kinds, host.EntryPark)
		return w.status(turn.Session).Status == host.SessionParked && slices.Contains(kinds[first+1:], host.EntryPark)
	})
	w.restart(writing("crash"))
	h, err := w.service.Unpark(t.Context(), caller, turn.Session, "the module is back")
	if err != nil || h.Status == host.SessionParked {
		t.Fatalf("%+v %v", h, err)
	}
	until(t, "the end", func() bool { return w.status(turn.Session).Ended == 1 })
	if got := w.await(turn); !strings.HasPrefix(textOf(got), string(abi.CodeUnknownOutcome)) {
		t.Errorf("got %+v", got)
	}
}

func TestErase(t *testing.T) {
	w := newWorld(t, remembering)
	id := w.say("", "secret").Session
	h, err := w.service.Erase(t.Context(), caller, id)
	if err != nil || h.Status != host.SessionErased {
		t.Fatalf("%+v %v", h, err)
	}
	records, err := w.service.Journal(t.Context(), caller, id, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if strings.Contains(string(r.Payload)+string(r.Body), "secret") {
			t.Errorf("entry %d still says it", r.Seq)
		}
	}
	if v, err := w.service.Verify(t.Context(), caller, id); err != nil || v.Erased == 0 {
		t.Errorf("verify: %+v %v", v, err)
	}
	in := message("more")
	in.Session = id
	if _, err := w.service.Invoke(t.Context(), w.fill(in)); host.CodeOf(err) != host.ErrConflict {
		t.Errorf("an event after erasure: %v", err)
	}
}

func TestFuelBudget(t *testing.T) {
	w := newWorld(t, echo)
	w.agent.Turn.Fuel = 500
	if got := w.say("", "a"); got.Status != host.TurnFailed || got.Error.Code != abi.CodeBudgetExceeded {
		t.Errorf("got %+v", got)
	}
}

func TestMaxAge(t *testing.T) {
	w := newWorld(t, echo)
	id := w.say("", "a").Session
	w.agent.MaxAge = time.Nanosecond
	in := message("b")
	in.Session = id
	if _, err := w.service.Invoke(t.Context(), w.fill(in)); host.CodeOf(err) != host.ErrConflict || !strings.Contains(err.Error(), "maximum age") {
		t.Errorf("got %v", err)
	}
}
