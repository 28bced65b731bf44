package session_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/session"
	"github.com/vespiary/vespiary/policy"
)

// team gives the world more agents: a calls b, b calls c.
func team(w *world, names ...string) {
	w.agents = map[string]*host.Agent{}
	for _, n := range names {
		w.agents[n] = &host.Agent{Name: n, Module: "sha256:" + n, Plugin: n}
	}
}

// callAgent calls another agent and returns what it answered.
func callAgent(ctx context.Context, g session.Calls, in abi.AgentCall) (abi.AgentResult, *abi.Error, error) {
	b, err := json.Marshal(in)
	if err != nil {
		return abi.AgentResult{}, nil, err
	}
	r, err := ask(ctx, g, abi.CallAgentCall, string(b))
	if err != nil || r.Error != nil {
		return abi.AgentResult{}, r.Error, err
	}
	var out abi.AgentResult
	return out, nil, json.Unmarshal(r.OK, &out)
}

// asks is a guest that calls an agent with what it was told and says what came of it.
func asks(name string, with func(*abi.AgentCall)) guest {
	return func(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
		in := abi.AgentCall{Agent: name, Content: e.Content}
		if with != nil {
			with(&in)
		}
		out, refused, err := callAgent(ctx, g, in)
		switch {
		case err != nil:
			return abi.Reply{}, err
		case refused != nil:
			return say(string(refused.Code) + ": " + refused.Message)
		case out.Error != nil:
			return say(string(out.Status) + ": " + out.Error.Message)
		}
		return say(name + " says " + text(out.Content))
	}
}

func text(content []abi.Content) string {
	var out []string
	for _, c := range content {
		out = append(out, c.Text)
	}
	return strings.Join(out, " ")
}

func TestDelegation(t *testing.T) {
	w := newWorld(t, asks("b", nil))
	team(w, "b")
	w.others = map[string]guest{"sha256:b": func(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
		if _, err := ask(ctx, g, "effect", `{"path":"out"}`); err != nil {
			return abi.Reply{}, err
		}
		return say("heard " + text(e.Content))
	}}
	turn := w.await(w.invoke(message("hello")))
	if got := text(turn.Content); got != "b says heard hello" {
		t.Fatalf("%s, %+v", got, turn.Error)
	}
	list, err := w.service.List(t.Context(), caller, host.SessionFilter{Agent: "b"})
	if err != nil || len(list) != 1 || list[0].By != turn.Session || list[0].Owner != "owner" {
		t.Fatalf("%+v, %v", list, err)
	}
	if diff := cmp.Diff([]string{"out"}, w.effects); diff != "" {
		t.Error(diff)
	}
	if active, _ := w.service.Tasks(t.Context(), caller, host.TaskFilter{}); len(active) > 0 {
		t.Errorf("tasks outlive their turns: %+v", active)
	}
}

// TestDelegationIsBounded: a chain of agents has an end, also one that goes round.
func TestDelegationIsBounded(t *testing.T) {
	t.Run("depth", func(t *testing.T) {
		w := newWorld(t, asks("b0", nil))
		team(w, "b0", "b1", "b2", "b3", "b4", "b5")
		w.others = map[string]guest{}
		for i := range 5 {
			n := string(rune('0' + i))
			w.others["sha256:b"+n] = asks("b"+string(rune('1'+i)), nil)
		}
		got := text(w.await(w.invoke(message("x"))).Content)
		if !strings.Contains(got, "b3 says b4 says denied: ") || !strings.Contains(got, "delegated 5 times") {
			t.Error(got)
		}
	})
	t.Run("cycle", func(t *testing.T) {
		w := newWorld(t, asks("b", nil))
		team(w, "b")
		w.others = map[string]guest{"sha256:b": asks("b", nil)}
		got := text(w.await(w.invoke(message("x"))).Content)
		if !strings.Contains(got, "b says b says denied: ") || !strings.Contains(got, "acts 2 times in this chain") {
			t.Error(got)
		}
	})
	t.Run("nobody", func(t *testing.T) {
		w := newWorld(t, asks("nobody", nil))
		if got := text(w.await(w.invoke(message("x"))).Content); !strings.HasPrefix(got, "not_found: ") {
			t.Error(got)
		}
	})
}

// TestChildGetsNoMore: grants, budget and expiry of a delegated task are at most those of
// the task that it comes from.
func TestChildGetsNoMore(t *testing.T) {
	read := []policy.Grant{{Actions: []string{"delegate", "reply", "fileRead"}}}
	for name, tc := range map[string]struct {
		has  []policy.Grant
		with func(*abi.AgentCall)
		want string
	}{
		"inherits what the parent has not": {read, nil, "b says denied"},
		"asks for more": {read, func(c *abi.AgentCall) {
			c.Grants = []abi.AgentGrant{{Actions: []string{"fileWrite"}}}
		}, "denied: "},
		"asks for less": {nil, func(c *abi.AgentCall) {
			c.Grants = []abi.AgentGrant{{Actions: []string{"fileRead", "reply"}}}
		}, "b says denied"},
		"asks for what it needs": {nil, func(c *abi.AgentCall) {
			c.Grants = []abi.AgentGrant{{Actions: []string{"fileWrite", "reply"}}}
		}, "b says ok"},
		"asks for nonsense": {nil, func(c *abi.AgentCall) {
			c.Grants = []abi.AgentGrant{{Actions: []string{"fileFly"}}}
		}, "invalid: "},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, asks("b", tc.with))
			team(w, "b")
			w.others = map[string]guest{"sha256:b": func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
				r, err := ask(ctx, g, "effect", `{"path":"out"}`)
				if err != nil {
					return abi.Reply{}, err
				}
				if r.Error != nil {
					return say(string(r.Error.Code))
				}
				return say("ok")
			}}
			in := message("x")
			in.Task.Grants = tc.has
			if got := text(w.await(w.invoke(in)).Content); !strings.HasPrefix(got, tc.want) {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

func TestBudgetAndExpiryAreHandedOn(t *testing.T) {
	w := newWorld(t, asks("b", func(c *abi.AgentCall) { c.Budget.Calls, c.ExpiresIn = 3, time.Hour.Milliseconds() }))
	team(w, "b")
	w.agent.Budget = host.Budget{Calls: 10, Time: time.Minute}
	seen := make(chan host.Task, 1)
	w.others = map[string]guest{"sha256:b": func(_ context.Context, _ session.Calls, e abi.Event) (abi.Reply, error) {
		task, err := w.service.Task(t.Context(), caller, e.Task)
		seen <- task
		if err != nil {
			return abi.Reply{}, err
		}
		return say("ok")
	}}
	turn := w.await(w.invoke(message("x")))
	if got := text(turn.Content); got != "b says ok" {
		t.Fatalf("%s, %+v", got, turn.Error)
	}
	child := <-seen
	if child.Budget.Calls != 3 || child.Parent != turn.Task || child.Expires.IsZero() || child.Expires.After(w.now().Add(time.Minute)) {
		t.Errorf("%+v", child)
	}
}

// TestCallerEndsBeforeTheCalled: what was called does not go on, whatever it waits for.
func TestCallerEndsBeforeTheCalled(t *testing.T) {
	w := newWorld(t, asks("b", nil))
	team(w, "b")
	w.others = map[string]guest{"sha256:b": func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
		if _, err := ask(ctx, g, "await", `{"for":[{"type":"signal","name":"never"}]}`); err != nil {
			return abi.Reply{}, err
		}
		return say("never")
	}}
	turn := w.invoke(message("x"))
	child := w.child(turn.Session)
	if _, err := w.service.Cancel(t.Context(), caller, turn.Session); err != nil {
		t.Fatal(err)
	}
	if got := w.await(turn); got.Status != host.TurnCancelled {
		t.Errorf("%+v", got)
	}
	if got := w.await(host.Turn{Session: child, Number: 1}); got.Status != host.TurnCancelled {
		t.Errorf("the called goes on: %+v", got)
	}
}

// child waits for the session of the agent that a session's agent called.
func (w *world) child(by string) string {
	w.t.Helper()
	for range 500 {
		list, err := w.service.List(w.t.Context(), caller, host.SessionFilter{})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, s := range list {
			if s.By == by && (len(s.Waiting) > 0 || s.Ended > 0) {
				return s.ID
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatal("no agent was called")
	return ""
}

// TestDelegationSurvives: caller and called leave the memory while they wait, a host ends
// and another goes on, and the called is called once.
func TestDelegationSurvives(t *testing.T) {
	w := newWorld(t, asks("b", nil))
	team(w, "b")
	w.patience = 20 * time.Millisecond
	w.agent.Idle, w.agents["b"].Idle = 20*time.Millisecond, 20*time.Millisecond
	w.others = map[string]guest{"sha256:b": func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
		if _, err := ask(ctx, g, "await", `{"for":[{"type":"signal","name":"go"}]}`); err != nil {
			return abi.Reply{}, err
		}
		return say("went")
	}}
	w.kill()
	w.start()
	turn := w.invoke(message("x"))
	w.asleep(turn.Session)
	child := w.child(turn.Session)
	w.asleep(child)
	w.kill()
	w.start()
	if _, err := w.service.Signal(t.Context(), host.Signal{Caller: caller, Session: child, Name: "go"}); err != nil {
		t.Fatal(err)
	}
	for range 100 { // Await returns while the turn is suspended, too
		got := w.await(turn)
		if !got.Status.Over() {
			time.Sleep(20 * time.Millisecond)
			continue
		}
		if text(got.Content) != "b says went" {
			t.Errorf("%+v", got)
		}
		list, _ := w.service.List(t.Context(), caller, host.SessionFilter{Agent: "b"})
		if len(list) != 1 {
			t.Errorf("called %d times", len(list))
		}
		return
	}
	t.Fatal("the caller never went on")
}

// asleep waits until a session has left the memory in the middle of a turn.
func (w *world) asleep(id string) {
	w.t.Helper()
	for range 500 {
		s, err := w.service.Get(w.t.Context(), caller, id)
		if err != nil {
			w.t.Fatal(err)
		}
		if s.Status == host.SessionSuspended {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatalf("session %s is not suspended", id)
}
