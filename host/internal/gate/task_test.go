package gate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/gate"
	"github.com/vespiary/vespiary/host/internal/session/task"
	"github.com/vespiary/vespiary/policy"
)

// tasks are what tasks are worth, by id; those that are not there are over.
type tasks map[string]host.Task

func (m tasks) Standing(_ context.Context, tenant, session, id string) (*host.Standing, error) {
	t, ok := m[id]
	if !ok {
		return task.Over(tenant, session, id), nil
	}
	s := task.Assumed(t)
	s.Task.State, s.Task.Expires = t.State, t.Expires
	if t.Parent != "" {
		s.Parent, _ = m.Standing(context.Background(), tenant, session, t.Parent)
	}
	return s, nil
}

func active(id string) host.Task {
	return host.Task{ID: id, Tenant: "t", Session: "s", User: "owner", State: host.TaskActive}
}

// TestTaskIsOver: what acts in a task that is over, or below one, is denied whatever
// policies say, and that is a decision on record.
func TestTaskIsOver(t *testing.T) {
	now := time.Now()
	ended, expired, below, due := active("k"), active("k"), active("k"), active("k")
	ended.State = host.TaskCompleted
	expired.Expires = now.Add(-time.Nanosecond)
	due.Expires = now.Add(time.Hour)
	below.Parent = "gone"
	for name, tc := range map[string]struct {
		tasks tasks
		works bool
	}{
		"active":                  {tasks{"k": active("k")}, true},
		"expires later":           {tasks{"k": due}, true},
		"ended":                   {tasks{"k": ended}, false},
		"expired":                 {tasks{"k": expired}, false},
		"without a record":        {tasks{}, false},
		"the one above has ended": {tasks{"k": below}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			l := audited(w)
			_, g := w.begin(gate.TurnOptions{Tasks: tc.tasks})
			got := w.call(g, "write", `{"path":"x"}`)
			if works := !strings.Contains(got, "error"); works != tc.works {
				t.Errorf("%s", got)
			}
			if !tc.works && (!strings.Contains(got, "is over") || len(w.performed) > 0 || len(l.records) != 1 || l.records[0].Decision.Allowed) {
				t.Errorf("%s, performed %v, records %+v", got, w.performed, l.records)
			}
		})
	}
}

// TestExpiryInstant: at the instant at which a task expires it is over.
func TestExpiryInstant(t *testing.T) {
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	k := active("k")
	k.Expires = at
	for d, live := range map[time.Duration]bool{-1: true, 0: false, 1: false} {
		if got := k.Live(at.Add(d)); got != live {
			t.Errorf("%v after: %v", d, got)
		}
	}
}

// TestGrantsNarrow: a task with grants may do what they cover and policies permit, whoever
// of the chain has them.
func TestGrantsNarrow(t *testing.T) {
	for name, tc := range map[string]struct {
		grants []policy.Grant
		call   string
		path   string
		works  bool
	}{
		"none named":            {nil, "write", "x", true},
		"nothing granted":       {[]policy.Grant{}, "write", "x", false},
		"by action":             {[]policy.Grant{{Actions: []string{"fileWrite"}}}, "write", "x", true},
		"by group":              {[]policy.Grant{{Actions: []string{"effect"}}}, "write", "x", true},
		"another action":        {[]policy.Grant{{Actions: []string{"fileRead"}}}, "write", "x", false},
		"the resource":          {[]policy.Grant{{Actions: []string{"fileWrite"}, Resources: []policy.UID{{Type: "File", ID: "x"}}}}, "write", "x", true},
		"another resource":      {[]policy.Grant{{Actions: []string{"fileWrite"}, Resources: []policy.UID{{Type: "File", ID: "y"}}}}, "write", "x", false},
		"what policy forbids":   {[]policy.Grant{{Actions: []string{"fileWrite"}}}, "write", "locked", false},
		"unknown names nothing": {[]policy.Grant{{Actions: []string{"everything"}}}, "write", "x", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			k := active("k")
			k.Grants = tc.grants
			_, g := w.begin(gate.TurnOptions{Tasks: tasks{"k": k}})
			got := w.call(g, tc.call, `{"path":"`+tc.path+`"}`)
			if works := !strings.Contains(got, "error"); works != tc.works {
				t.Errorf("%s", got)
			}
		})
	}
}

// TestWholeChain: a run that acts for another gets no more than that one.
func TestWholeChain(t *testing.T) {
	w := newWorld(t)
	narrow, wide := active("above"), active("k")
	narrow.Grants = []policy.Grant{{Actions: []string{"fileRead"}}}
	wide.Parent = "above"
	turn, _ := w.begin(gate.TurnOptions{Tasks: tasks{"k": wide, "above": narrow}})
	above := run(nil, "9")
	above.Task = "above"
	child := run(above, "9/1")
	child.Task = "k"
	if got := w.call(turn.Guest(child, time.Now()), "write", `{"path":"x"}`); !strings.Contains(got, "denied") {
		t.Errorf("the child of a task that may only read writes: %s", got)
	}
	if got := w.call(turn.Guest(child, time.Now()), "read", `{"path":"x"}`); strings.Contains(got, "error") {
		t.Errorf("%s", got)
	}
}

// TestDeny: what nobody could grant is denied with a record, not performed.
func TestDeny(t *testing.T) {
	w := newWorld(t)
	l := audited(w)
	w.caps["write"] = denying{w.caps["write"]}
	_, g := w.begin(gate.TurnOptions{})
	got := w.call(g, "write", `{"path":"x"}`)
	if !strings.Contains(got, "it asks for the moon") || len(w.performed) > 0 || len(l.records) != 1 || l.records[0].Decision.Allowed {
		t.Errorf("%s, %v, %+v", got, w.performed, l.records)
	}
}

type denying struct{ host.Capability }

func (d denying) Classify(ctx context.Context, c *host.Call) (host.Class, error) {
	class, err := d.Capability.Classify(ctx, c)
	class.Deny = "it asks for the moon"
	return class, err
}

// TestShareIsHeldBack: what a call hands on of the budget is not there for others.
func TestShareIsHeldBack(t *testing.T) {
	w := newWorld(t)
	var turn *gate.Turn
	w.caps["keyed"] = sharing{w.caps["keyed"], host.Budget{Tokens: 600, Calls: 4}}
	w.caps["keyed"].(sharing).Capability.(*capability).perform = func(context.Context, *host.Call) (host.Output, error) {
		if got := turn.Left(); got != (host.Left{Tokens: 400, CostMicros: -1, Calls: 6}) {
			t.Errorf("while it runs: %+v", got)
		}
		return host.Output{Usage: abi.Usage{InputTokens: 50}, Calls: 3}, nil
	}
	turn, g := w.begin(gate.TurnOptions{Budget: host.Budget{Tokens: 1000, Calls: 10}})
	w.call(g, "keyed", `{"path":"x"}`)
	if got := turn.Left(); got != (host.Left{Tokens: 950, CostMicros: -1, Calls: 6}) {
		t.Errorf("afterwards: %+v", got)
	}
}

type sharing struct {
	host.Capability
	share host.Budget
}

func (s sharing) Classify(ctx context.Context, c *host.Call) (host.Class, error) {
	class, err := s.Capability.Classify(ctx, c)
	class.Share = s.share
	return class, err
}

// TestStreamEndsWithItsTask: what streams does not go on when the task is over that let it.
func TestStreamEndsWithItsTask(t *testing.T) {
	w := newWorld(t)
	live := tasks{"k": active("k")}
	var late error
	w.caps["think"].(*capability).perform = func(ctx context.Context, c *host.Call) (host.Output, error) {
		if err := c.Emit(ctx, abi.Emit{Content: []abi.Content{abi.Text("in time")}}); err != nil {
			return host.Output{}, err
		}
		delete(live, "k")
		late = c.Emit(ctx, abi.Emit{Content: []abi.Content{abi.Text("late")}})
		return host.Output{}, late
	}
	_, g := w.begin(gate.TurnOptions{Tasks: live})
	if got := w.call(g, "think", `{"path":"x"}`); !strings.Contains(got, "is over") || late == nil {
		t.Errorf("%s, %v", got, late)
	}
}

// TestBudgetRefusesAsItself: a call that is made again and finds no budget left is not on
// record as allowed.
func TestBudgetRefusesAsItself(t *testing.T) {
	w := newWorld(t)
	l := audited(w)
	ctx, cancel := context.WithCancelCause(t.Context())
	w.caps["keyed"].(*capability).perform = func(context.Context, *host.Call) (host.Output, error) {
		cancel(host.ErrStopping)
		return host.Output{}, context.Canceled
	}
	_, g := w.begin(gate.TurnOptions{})
	if _, err := g.Call(ctx, "keyed", []byte(`{"path":"x"}`)); err == nil {
		t.Fatal("it was not interrupted")
	}
	w.crash()
	_, g = w.begin(gate.TurnOptions{Budget: host.Budget{Tokens: 1}})
	w.caps["keyed"] = sharing{w.caps["keyed"], host.Budget{Tokens: 600}}
	if got := w.call(g, "keyed", `{"path":"x"}`); !strings.Contains(got, string(abi.CodeBudgetExceeded)) {
		t.Fatal(got)
	}
	var decisions []bool
	for _, r := range l.records {
		if r.Kind == policy.RecordDecision {
			decisions = append(decisions, r.Decision.Allowed)
		}
	}
	if len(decisions) != 2 || !decisions[0] || decisions[1] {
		t.Errorf("allowed: %v", decisions)
	}
}

// TestStopIsNoRefusal: a call that the host's end keeps from being understood is made again
// by the next host, and is not on record as one that failed.
func TestStopIsNoRefusal(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	write := w.caps["write"]
	w.caps["write"] = interrupted{write, cancel}
	_, g := w.begin(gate.TurnOptions{})
	if out, err := g.Call(ctx, "write", []byte(`{"path":"x"}`)); !errors.Is(err, host.ErrStopping) {
		t.Fatalf("%s, %v", out, err)
	}
	w.commit()
	w.crash()
	w.caps["write"] = write
	_, g = w.begin(gate.TurnOptions{})
	if got := w.call(g, "write", `{"path":"x"}`); strings.Contains(got, "error") || len(w.performed) != 1 {
		t.Errorf("%s, %v", got, w.performed)
	}
}

type interrupted struct {
	host.Capability
	stop context.CancelCauseFunc
}

func (i interrupted) Classify(ctx context.Context, _ *host.Call) (host.Class, error) {
	i.stop(host.ErrStopping)
	return host.Class{}, ctx.Err()
}
