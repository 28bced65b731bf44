package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/session"
)

// TestTimedOutCallIsPaid: what an agent used that was not heard in time is used.
func TestTimedOutCallIsPaid(t *testing.T) {
	w := newWorld(t, func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
		r, err := ask(ctx, g, abi.CallAgentCall, `{"agent":"b","$timeout_ms":300}`)
		if err != nil || r.Error == nil {
			return abi.Reply{}, err
		}
		return say(string(r.Error.Code))
	})
	team(w, "b")
	w.others = map[string]guest{"sha256:b": func(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
		if _, err := ask(ctx, g, abi.CallModelChat, `{"Model":"dear"}`); err != nil {
			return abi.Reply{}, err
		}
		return waiting(ctx, g, e)
	}}
	got := w.await(w.invoke(message("x")))
	if textOf(got) != string(abi.CodeTimeout) || got.Usage.InputTokens != 7 || got.Usage.CostMicros != 10 {
		t.Errorf("%s, used %+v", textOf(got), got.Usage)
	}
}

// starts begins a call beside the guest and returns its id.
func starts(ctx context.Context, g session.Calls, name, request string) (int, error) {
	b, err := json.Marshal(abi.Start{Name: name, Request: json.RawMessage(request)})
	if err != nil {
		return 0, err
	}
	r, err := ask(ctx, g, abi.CallStart, string(b))
	var out abi.Started
	return out.ID, errors.Join(err, asError(r.Error), json.Unmarshal(r.OK, &out))
}

// TestShareOutlivesTheGuest: what was handed on stays handed on, and no more of it is needed,
// when the caller's guest is dropped and the call made again.
func TestShareOutlivesTheGuest(t *testing.T) {
	script := func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
		id, err := starts(ctx, g, abi.CallAgentCall, `{"agent":"b","budget":{"calls":4}}`)
		if err != nil {
			return abi.Reply{}, err
		}
		var codes []string
		for range 2 { // one passes before the guest is dropped, the other after
			if _, err := ask(ctx, g, "await", `{"for":[{"type":"signal","name":"on"}]}`); err != nil {
				return abi.Reply{}, err
			}
			r, err := ask(ctx, g, "effect", `{"path":"x"}`)
			if err != nil {
				return abi.Reply{}, err
			}
			if r.Error != nil {
				codes = append(codes, string(r.Error.Code))
			}
		}
		b, _ := json.Marshal(abi.WaitFor{IDs: []int{id}})
		r, err := ask(ctx, g, abi.CallWait, string(b))
		if err != nil {
			return abi.Reply{}, err
		}
		return say(strings.Join(codes, ",") + string(r.OK))
	}
	for name, idle := range map[string]time.Duration{"guest dropped": time.Hour, "session left the memory": 10 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			w := sleepy(t, script)
			team(w, "b")
			w.agent.Idle, w.agent.Budget.Calls = idle, 7
			w.others = map[string]guest{"sha256:b": waiting}
			turn := w.invoke(message("x"))
			called := w.child(turn.Session)
			for i := range 2 {
				until(t, "the drop", func() bool { return slices.ContainsFunc(w.status(turn.Session).Waiting, isSignal) && w.living() == 0 })
				w.signal(turn.Session, "on")
				until(t, "the signal", func() bool { return w.status(turn.Session).Turns == i+2 && !w.hears(turn.Session, i+2) })
			}
			w.signal(called, "go")
			w.ended(turn.Session, 3)
			got := textOf(w.await(turn))
			if !strings.HasPrefix(got, string(abi.CodeBudgetExceeded)+"{") || !strings.Contains(got, "went") {
				t.Errorf("%s", got)
			}
		})
	}
}

func isSignal(w abi.Wait) bool { return w.Type == abi.EventSignal }

// hears tells whether the event of a turn has yet to be consumed.
func (w *world) hears(id string, turn int) bool {
	t, err := w.service.Turn(w.t.Context(), caller, id, turn)
	return err != nil || !t.Status.Over()
}

// TestAwaitedSessionIsKept: an answer that nobody has read yet is not removed.
func TestAwaitedSessionIsKept(t *testing.T) {
	w := sleepy(t, asks("b", nil))
	team(w, "b")
	w.agents["b"].Idle, w.agents["b"].Retain = 10*time.Millisecond, time.Hour
	w.others = map[string]guest{"sha256:b": waiting}
	turn := w.invoke(message("x"))
	w.suspended(turn.Session)
	called := w.child(turn.Session)
	w.suspended(called)
	w.now = func() time.Time { return time.Now().Add(48 * time.Hour) }
	w.kill()
	w.start()
	if err := w.service.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.signal(called, "go")
	w.ended(turn.Session, 1)
	if got := w.await(turn); textOf(got) != "b says went" {
		t.Errorf("%+v", got)
	}
	if err := w.service.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := w.service.List(t.Context(), caller, host.SessionFilter{Agent: "b"})
	if err != nil || len(list) != 1 { // it was used a moment ago
		t.Errorf("%d sessions, %v", len(list), err)
	}
}

// TestCostOfTheCalledCountsOnce: the host's limit of a day holds what was spent, however many
// agents account for it.
func TestCostOfTheCalledCountsOnce(t *testing.T) {
	w := newWorld(t, asks("b", nil))
	team(w, "b")
	w.limits.MicrosPerDay = 15
	w.kill()
	w.start()
	w.others = map[string]guest{"sha256:b": func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
		_, err := ask(ctx, g, abi.CallModelChat, `{"Model":"dear"}`)
		return abi.Reply{Status: abi.StatusDone}, err
	}}
	for i := range 2 {
		turn := w.await(w.invoke(message("x")))
		if turn.Usage.CostMicros != 10 {
			t.Errorf("call %d: the caller's task used %+v", i, turn.Usage)
		}
		if i == 0 {
			w.kill()
			w.start()
		}
	}
	if _, err := w.service.Invoke(t.Context(), w.fill(message("x"))); host.CodeOf(err) != host.ErrTooMany {
		t.Errorf("beyond the limit: %v", err)
	}
}

// hearsAll calls b four times side by side and says how many answers it got.
func hearsAll(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
	var ids []int
	for range 4 {
		id, err := starts(ctx, g, abi.CallAgentCall, `{"agent":"b"}`)
		if err != nil {
			return abi.Reply{}, err
		}
		ids = append(ids, id)
	}
	heard := 0
	for len(ids) > 0 {
		b, _ := json.Marshal(abi.WaitFor{IDs: ids, Min: 1})
		r, err := ask(ctx, g, abi.CallWait, string(b))
		if err != nil {
			return abi.Reply{}, err
		}
		var got abi.Waited
		if err := json.Unmarshal(r.OK, &got); err != nil {
			return abi.Reply{}, err
		}
		ids, heard = got.Pending, heard+strings.Count(string(r.OK), `"went"`)
	}
	return say(strconv.Itoa(heard))
}

// TestCalledSideBySide has hosts end between the answers of agents that were called side by
// side, whether or not their caller is in memory: each is called once, and heard.
func TestCalledSideBySide(t *testing.T) {
	for name, patience := range map[string]time.Duration{"in memory": 0, "asleep": 10 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, hearsAll)
			team(w, "b")
			w.others = map[string]guest{"sha256:b": waiting}
			w.patience, w.agent.Idle, w.agents["b"].Idle = patience, 10*time.Millisecond, 10*time.Millisecond
			w.kill()
			w.start()
			turn := w.invoke(message("x"))
			var called []host.Session
			until(t, "all are called", func() bool {
				called, _ = w.service.List(t.Context(), caller, host.SessionFilter{Agent: "b"})
				return len(called) == 4 && !slices.ContainsFunc(called, func(s host.Session) bool { return len(s.Waiting) == 0 })
			})
			for _, s := range called {
				w.kill()
				w.start()
				until(t, "the wait", func() bool { return len(w.status(s.ID).Waiting) > 0 })
				w.signal(s.ID, "go")
				w.ended(s.ID, 1)
			}
			w.ended(turn.Session, 1)
			if got := textOf(w.await(turn)); got != "4" {
				t.Errorf("heard %s", got)
			}
			if all, err := w.service.Tasks(t.Context(), caller, host.TaskFilter{State: host.TaskActive}); err != nil || len(all) > 0 {
				t.Errorf("still active: %+v, %v", all, err)
			}
			if list, err := w.service.List(t.Context(), caller, host.SessionFilter{Agent: "b"}); err != nil || len(list) != 4 {
				t.Errorf("called %d times, %v", len(list), err)
			}
		})
	}
}
