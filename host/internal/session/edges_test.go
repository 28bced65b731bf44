package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/session"
	words "github.com/vespiary/vespiary/host/store"
)

// sleepy is a world whose sessions leave the memory soon.
func sleepy(t *testing.T, g guest) *world {
	t.Helper()
	w := newWorld(t, g)
	w.patience, w.agent.Idle = 10*time.Millisecond, 10*time.Millisecond
	w.kill()
	w.start()
	return w
}

// waiting waits for a signal in the middle of each turn.
func waiting(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
	r, err := ask(ctx, g, abi.CallAwait, `{"for":[{"type":"signal","name":"go"}]}`)
	if err != nil {
		return abi.Reply{}, err
	}
	if r.Error != nil {
		return say(string(r.Error.Code))
	}
	return say("went")
}

func (w *world) suspended(id string) {
	w.t.Helper()
	until(w.t, "suspension", func() bool { return w.status(id).Status == host.SessionSuspended && w.living() == 0 })
}

func (w *world) signal(id, name string) host.Turn {
	w.t.Helper()
	sent, err := w.service.Signal(w.t.Context(), host.Signal{Caller: caller, Session: id, Name: name})
	if err != nil {
		w.t.Fatal(err)
	}
	return sent
}

func (w *world) ended(id string, turns int) {
	w.t.Helper()
	until(w.t, "the end", func() bool { return w.status(id).Ended >= turns })
}

// TestAwaitedSignals reach what waits for them, in memory or not, and begin nothing.
func TestAwaitedSignals(t *testing.T) {
	for name, w := range map[string]*world{"in memory": newWorld(t, waiting), "suspended": sleepy(t, waiting)} {
		t.Run(name, func(t *testing.T) {
			turn := w.invoke(message("hi"))
			until(t, "the wait", func() bool { return len(w.status(turn.Session).Waiting) > 0 })
			if name == "suspended" {
				w.suspended(turn.Session)
			}
			for _, step := range []struct {
				name string
				code host.ErrorCode
			}{{"other", host.ErrForbidden}, {"go", ""}, {"go", host.ErrForbidden}} {
				_, err := w.service.Signal(t.Context(), host.Signal{Caller: caller, Session: turn.Session, Name: step.name, Awaited: true})
				if host.CodeOf(err) != step.code {
					t.Errorf("signal %s: %v", step.name, err)
				}
			}
			w.ended(turn.Session, 1)
			if got := w.await(turn); textOf(got) != "went" || w.status(turn.Session).Turns != 2 {
				t.Errorf("%+v in %+v", got, w.status(turn.Session))
			}
		})
	}
}

func TestSignalTurnWaitsForItsOwnName(t *testing.T) {
	w := sleepy(t, waiting)
	turn := w.invoke(message("hi"))
	w.suspended(turn.Session)
	w.signal(turn.Session, "go")
	w.ended(turn.Session, 1)
	w.signal(turn.Session, "go") // this one begins a turn, which waits for another
	w.suspended(turn.Session)
	n := len(w.kinds(turn.Session))
	time.Sleep(200 * time.Millisecond)
	if m := len(w.kinds(turn.Session)); m > n+4 {
		t.Errorf("the suspended session writes on: %d entries, then %d: %v", n, m, w.kinds(turn.Session)[n:])
	}
}

func TestAgentGoesWhileATurnIsSuspended(t *testing.T) {
	w := sleepy(t, waiting)
	turn := w.invoke(message("hi"))
	w.suspended(turn.Session)
	w.mu.Lock()
	w.gone = true
	w.mu.Unlock()
	if _, err := w.service.Cancel(t.Context(), caller, turn.Session); err != nil {
		t.Fatal(err)
	}
	w.ended(turn.Session, 1)

	w.mu.Lock()
	w.gone = false
	w.mu.Unlock()
	turn = w.invoke(message("hi"))
	w.suspended(turn.Session)
	w.signal(turn.Session, "other")
	w.mu.Lock()
	w.gone = true
	w.mu.Unlock()
	if _, err := w.service.Cancel(t.Context(), caller, turn.Session); err != nil {
		t.Fatal(err)
	}
	w.ended(turn.Session, 2)
}

func TestTaskExpiresWhileSuspended(t *testing.T) {
	w := sleepy(t, waiting)
	w.agent.Budget.Time = 300 * time.Millisecond
	turn := w.invoke(message("hi"))
	w.suspended(turn.Session)
	w.ended(turn.Session, 1)
	if got := w.await(turn); textOf(got) != "timeout" && (got.Error == nil || got.Error.Code != abi.CodeTimeout) {
		t.Errorf("got %+v", got)
	}
}

func TestAwaitTimesOutWhileSuspended(t *testing.T) {
	w := sleepy(t, func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
		r, err := ask(ctx, g, abi.CallAwait, `{"for":[{"type":"signal","name":"go"}],"$timeout_ms":300}`)
		if err != nil || r.Error == nil {
			return abi.Reply{}, errors.Join(err, errors.New("no timeout"))
		}
		return say(string(r.Error.Code))
	})
	turn := w.invoke(message("hi"))
	w.suspended(turn.Session)
	w.kill()
	w.start()
	w.ended(turn.Session, 1)
	if got := w.await(turn); textOf(got) != "timeout" {
		t.Errorf("got %+v", got)
	}
}

// TestToolsOfSuspendedTurns approves a tool call when nobody is in memory to wait for it.
func TestToolsOfSuspendedTurns(t *testing.T) {
	w := sleepy(t, func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
		r, err := ask(ctx, g, "tool", `{"path":"ask/tool"}`)
		if err != nil || r.Error != nil {
			return abi.Reply{}, errors.Join(err, asError(r.Error))
		}
		return say("done")
	})
	w.agent.Idle = time.Hour
	w.others = map[string]guest{"sha256:tool": writing("deep")}
	turn := w.invoke(message("hi"))
	q := w.pending()
	until(t, "dropping the guest", func() bool { return w.living() == 0 })
	w.answer(q.ID, true, "")
	w.ended(turn.Session, 1)
	if got := w.await(turn); textOf(got) != "done" || len(w.done()) != 1 {
		t.Errorf("got %+v, %v", got, w.done())
	}
}

func TestForkBetweenAcceptanceAndStart(t *testing.T) {
	w := newWorld(t, func(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
		if _, err := ask(ctx, g, "effect", `{"path":"`+abi.TextOf(e.Content)+`"}`); err != nil {
			return abi.Reply{}, err
		}
		return say("ok")
	})
	id := w.say("", "f").Session
	w.say(id, "g")
	w.say(id, "web")
	records, err := w.service.Journal(t.Context(), caller, id, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := records[slices.IndexFunc(records, func(r host.Record) bool { return r.Kind == host.EntryAccepted && r.Turn == 2 })].Seq
	fork, err := w.service.Fork(t.Context(), caller, id, at)
	if err != nil {
		t.Fatal(err)
	}
	if fork.Ended != 1 || fork.Turns != 2 || fork.Label.Integrity != abi.Trusted {
		t.Errorf("fork: %+v", fork)
	}
}

// TestErasedSessionsAreFollowed reads what an erased session still tells.
func TestErasedSessionsAreFollowed(t *testing.T) {
	w := newWorld(t, func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
		if _, err := ask(ctx, g, abi.CallEmit, `{"content":[{"type":"text","text":"secret"}]}`); err != nil {
			return abi.Reply{}, err
		}
		return say("secret")
	})
	turn := w.say("", "a")
	if _, err := w.service.Erase(t.Context(), caller, turn.Session); err != nil {
		t.Fatal(err)
	}
	if got, err := w.service.Turn(t.Context(), caller, turn.Session, 1); err != nil || got.Status != host.TurnDone || len(got.Content) != 0 {
		t.Errorf("the turn: %+v %v", got, err)
	}
	for e, err := range w.service.Events(t.Context(), caller, turn.Session, "") {
		if err != nil || strings.Contains(string(e.Data), "secret") {
			t.Fatalf("%+v %v", e, err)
		}
		if e.Type == host.StreamEnd {
			break
		}
	}
}

func TestErasureIsTakenUp(t *testing.T) {
	w := newWorld(t, remembering)
	id := w.say("", "secret").Session
	erasing := false
	refuse := func(b words.Batch) error {
		if erasing { // the status is on record, and the host dies
			return errors.New("killed")
		}
		for _, op := range b.Ops {
			erasing = erasing || bytes.Contains(op.Value, []byte(`"erased"`))
		}
		return nil
	}
	w.store.refuse.Store(&refuse)
	if _, err := w.service.Erase(t.Context(), caller, id); err == nil {
		t.Fatal("it was erased")
	}
	w.kill()
	w.start()
	records, err := w.service.Journal(t.Context(), caller, id, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if strings.Contains(string(r.Payload), "secret") {
			t.Errorf("entry %d still says it", r.Seq)
		}
	}
}

func TestRevertVoidsQuestions(t *testing.T) {
	w := sleepy(t, writing("ask/1"))
	w.restart(func(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
		if e.Turn == 1 {
			return say("one")
		}
		return writing("ask/1")(ctx, g, e)
	})
	id := w.say("", "a").Session
	at := w.lastEnd(id)
	in := message("b")
	in.Session = id
	w.invoke(in)
	q := w.pending()
	w.suspended(id)
	if _, err := w.service.Revert(t.Context(), caller, id, at); err != nil {
		t.Fatal(err)
	}
	if got, err := w.service.Approval(t.Context(), caller, q.ID); host.CodeOf(err) != host.ErrNotFound {
		t.Errorf("%+v %v", got, err)
	}
}

func TestUpgradeOutlivesOldImages(t *testing.T) {
	for _, mode := range []string{host.UpgradeReplay, host.UpgradeMigrate} {
		w := newWorld(t, counting)
		w.agent.Idle, w.imaged = 20*time.Millisecond, "sha256:0"
		w.others = map[string]guest{"sha256:2": counting}
		if mode == host.UpgradeMigrate {
			w.others["sha256:2"] = func(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
				r, err := counting(ctx, g, e)
				r.Content = append(r.Content, abi.Text("!"))
				return r, err
			}
		} else {
			w.others["sha256:2"] = func(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
				r, err := counting(ctx, g, e)
				if e.Turn == 2 {
					r.Content = append(r.Content, abi.Text("!"))
				}
				return r, err
			}
		}
		id := w.say("", "a").Session
		until(t, "hibernation", func() bool { return w.living() == 0 })
		w.agent.Module = "sha256:2"
		if _, err := w.service.Upgrade(t.Context(), caller, id, host.UpgradeOptions{Module: "sha256:2", Mode: mode}); err != nil {
			t.Fatal(err)
		}
		w.kill()
		w.start()
		if got := w.say(id, "b"); !strings.Contains(textOf(got), "!") {
			t.Errorf("%s: it runs the old module: %+v", mode, got)
		}
	}
}

func TestImportTrustsNothing(t *testing.T) {
	w := sleepy(t, waiting)
	turn := w.invoke(message("a"))
	w.suspended(turn.Session)
	var file bytes.Buffer
	if err := w.service.Export(t.Context(), caller, turn.Session, &file); err != nil {
		t.Fatal(err)
	}
	other := newWorld(t, waiting)
	other.agent.Budget.Calls = 7
	h, err := other.service.Import(t.Context(), caller, host.ImportOptions{Agent: ""}, &file)
	if err != nil {
		t.Fatal(err)
	}
	if h.Status != host.SessionParked {
		t.Fatalf("%+v", h)
	}
	if _, err := other.service.Unpark(t.Context(), caller, h.ID, ""); err != nil {
		t.Fatal(err)
	}
	other.signal(h.ID, "go")
	other.ended(h.ID, 1)
	if h := other.status(h.ID); h.Label.Integrity != abi.Untrusted {
		t.Errorf("after its turn: %+v", h.Label)
	}
	fork, err := other.service.Fork(t.Context(), caller, h.ID, 0)
	if err != nil || fork.Label.Integrity != abi.Untrusted {
		t.Errorf("fork: %+v %v", fork.Label, err)
	}
	records, _ := other.service.Journal(t.Context(), caller, h.ID, 1, 0)
	for _, r := range records {
		var a host.Accepted
		if r.Kind == host.EntryAccepted && r.Turn == 1 && json.Unmarshal(r.Body, &a) == nil && a.Budget.Calls != 7 {
			t.Errorf("the task's budget is %+v", a.Budget)
		}
	}
}

func TestSweepKeepsWhatForksShare(t *testing.T) {
	w := newWorld(t, remembering)
	id := w.say("", "a").Session
	w.say(id, "b")
	w.kill()
	w.now = func() time.Time { return time.Now().Add(time.Hour) }
	w.start()
	fork, err := w.service.Fork(t.Context(), caller, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.kill()
	w.agent.Retain = 30 * time.Minute
	w.start()
	if err := w.service.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := textOf(w.say(fork.ID, "c")); got != `abc ["a" "b" "c"]` {
		t.Errorf("the fork says %s", got)
	}
}

func TestExtraCallInReplayParks(t *testing.T) {
	w := newWorld(t, counting)
	w.imaged = "none"
	id := w.say("", "a").Session
	w.restart(func(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
		if _, err := counting(ctx, g, e); err != nil {
			return abi.Reply{}, err
		}
		return counting(ctx, g, e)
	})
	in := message("b")
	in.Session = id
	w.invoke(in)
	until(t, "parking", func() bool { return w.status(id).Status == host.SessionParked })
}

// TestToolsCallsOutliveIt drops a tool's guest that has started a call beside the one it
// waits for: neither is interrupted.
func TestToolsCallsOutliveIt(t *testing.T) {
	w := sleepy(t, func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
		r, err := ask(ctx, g, "tool", `{"path":"tool"}`)
		if err != nil || r.Error != nil {
			return abi.Reply{}, errors.Join(err, asError(r.Error))
		}
		return say("done")
	})
	w.agent.Idle = time.Hour
	w.others = map[string]guest{"sha256:tool": func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
		if _, err := ask(ctx, g, abi.CallStart, `{"name":"effect","request":{"path":"crash"}}`); err != nil {
			return abi.Reply{}, err
		}
		if _, err := ask(ctx, g, abi.CallAwait, `{"for":[{"type":"signal","name":"go"}]}`); err != nil {
			return abi.Reply{}, err
		}
		return say("")
	}}
	for range 20 {
		before := w.begun()
		turn := w.invoke(message("hi"))
		until(t, "dropping the guests", func() bool { return w.begun() > before+1 && w.living() == 0 })
		time.Sleep(5 * time.Millisecond)
		if slices.Contains(w.kinds(turn.Session), host.EntryResult) {
			t.Fatal("a call was interrupted")
		}
		if _, err := w.service.Cancel(t.Context(), caller, turn.Session); err != nil {
			t.Fatal(err)
		}
		w.ended(turn.Session, 1)
	}
}

func (w *world) begun() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.started
}

// TestStopsPromptly closes a host whose turn has slept before and sleeps again.
func TestStopsPromptly(t *testing.T) {
	w := sleepy(t, func(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
		if _, err := ask(ctx, g, abi.CallAwait, `{"for":[{"type":"timer","after_ns":50000000}]}`); err != nil {
			return abi.Reply{}, err
		}
		return waiting(ctx, g, e)
	})
	w.agent.Idle = time.Hour
	turn := w.invoke(message("hi"))
	until(t, "the second wait", func() bool {
		h := w.status(turn.Session)
		return len(h.Waiting) == 1 && h.Waiting[0].Type == abi.EventSignal && w.living() == 0
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := w.service.Close(ctx); err != nil || ctx.Err() != nil {
		t.Fatalf("%v, %v", err, ctx.Err())
	}
	if h := w.status(turn.Session); h.Status != host.SessionSuspended || len(h.Waiting) != 1 {
		t.Errorf("it left %+v", h)
	}
	w.kill()
	w.start()
	w.signal(turn.Session, "go")
	w.ended(turn.Session, 1)
	if got := w.await(turn); textOf(got) != "went" {
		t.Errorf("got %+v", got)
	}
}
