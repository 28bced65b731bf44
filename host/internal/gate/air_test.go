package gate_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/gate"
)

// granted answers every question at once, or when the test says so.
type granted struct{ when <-chan struct{} }

func (a granted) Ask(ctx context.Context, q host.Approval) (host.Approval, error) {
	if a.when != nil {
		select {
		case <-a.when:
		case <-ctx.Done():
			return q, ctx.Err()
		}
	}
	q.Status, q.By = host.ApprovalGranted, "somebody"
	return q, nil
}

// TestRefusedToolLeavesItsCalls has a tool that was under way when the host crashed fail
// before it makes its calls again: that is no divergence.
func TestRefusedToolLeavesItsCalls(t *testing.T) {
	w := newWorld(t)
	stop := errors.New("the host dies here")
	var turn *gate.Turn
	k := w.caps["read"].(*capability)
	k.recovery = host.RecoverNested
	k.perform = func(ctx context.Context, c *host.Call) (host.Output, error) {
		child := turn.Guest(run(c.Run, c.Path), c.Begun)
		if _, err := child.Call(ctx, "write", []byte(`{"path":"a"}`)); err != nil {
			return host.Output{}, err
		}
		return host.Output{}, &gate.Fatal{Err: stop}
	}
	var g *gate.Guest
	turn, g = w.begin(gate.TurnOptions{})
	if _, err := g.Call(t.Context(), "read", []byte(`{"path":"tool"}`)); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	w.commit()
	w.crash()
	k.perform = func(context.Context, *host.Call) (host.Output, error) {
		return host.Output{}, &abi.Error{Code: abi.CodeUnavailable, Message: "no memory for its guest"}
	}
	turn, g = w.begin(gate.TurnOptions{})
	if r := call(t, g, "read", `{"path":"tool"}`); code(r) != abi.CodeUnavailable {
		t.Fatalf("got %+v", r)
	}
	if err := turn.Finish(); err != nil {
		t.Error(err)
	}
}

// TestApprovalOfWhatClassifyNeeds: what was asked for on the way to a call's class is not
// the call.
func TestApprovalOfWhatClassifyNeeds(t *testing.T) {
	w := newWorld(t)
	w.caps["read"] = &asking{*w.caps["read"].(*capability)}
	_, g := w.begin(gate.TurnOptions{Approvals: granted{}})
	if r := call(t, g, "read", `{"path":"ask"}`); code(r) != abi.CodeNeedsApproval {
		t.Errorf("got %+v", r)
	}
	if got := w.took(); len(got) != 0 {
		t.Errorf("performed without having been classified: %v", got)
	}
}

// suspendable are the options of a turn whose guests are dropped soon.
func suspendable(t *testing.T, from *gate.Turn) gate.TurnOptions {
	t.Helper()
	return gate.TurnOptions{Patience: 10 * time.Millisecond, Life: t.Context(), From: from}
}

// TestCallsOutliveTheirGuest drops a guest in the middle of a call that must not be
// repeated, and has the next one take over its result.
func TestCallsOutliveTheirGuest(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	w.caps["write"].(*capability).perform = func(ctx context.Context, _ *host.Call) (host.Output, error) {
		select {
		case <-release:
			return host.Output{Derived: true, Usage: abi.Usage{InputTokens: 3}}, nil
		case <-ctx.Done():
			return host.Output{}, ctx.Err()
		}
	}
	turn, g := w.begin(suspendable(t, nil))
	if _, err := g.Call(t.Context(), "write", []byte(`{"path":"x"}`)); !errors.Is(err, host.ErrSuspended) {
		t.Fatal(err)
	}
	g.Drain()
	if n, only := turn.OnlyWaits(); n != 1 || only {
		t.Errorf("%d calls under way, only waits: %v", n, only)
	}
	select {
	case <-turn.Landed():
		t.Error("something has landed")
	default:
	}
	close(release)
	<-turn.Landed()
	w.commit()
	turn, g = w.begin(suspendable(t, turn))
	if r := call(t, g, "write", `{"path":"x"}`); r.Error != nil {
		t.Errorf("got %+v", r)
	}
	g.Drain()
	turn.Drain()
	if used, calls := turn.Used(); used.InputTokens != 3 || calls != 1 {
		t.Errorf("used %+v in %d calls", used, calls)
	}
	if got := w.took(); len(got) != 1 {
		t.Errorf("performed %v", got)
	}
}

// TestDrainAccounts ends a turn without anybody who waits for its call.
func TestDrainAccounts(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	w.caps["write"].(*capability).perform = func(context.Context, *host.Call) (host.Output, error) {
		<-release
		return host.Output{Derived: true, Usage: abi.Usage{CostMicros: 7}}, nil
	}
	turn, g := w.begin(suspendable(t, nil))
	if _, err := g.Call(t.Context(), "write", []byte(`{"path":"x"}`)); !errors.Is(err, host.ErrSuspended) {
		t.Fatal(err)
	}
	g.Drain()
	turn, g = w.begin(suspendable(t, turn))
	g.Drain()
	close(release)
	turn.Drain()
	turn.Drain()
	if used, calls := turn.Used(); used.CostMicros != 7 || calls != 1 {
		t.Errorf("used %+v in %d calls", used, calls)
	}
}

// TestToolIsApprovedWithoutItsCaller grants a tool call after the guest was dropped that
// waits for it: the turn goes on, and the tool runs once.
func TestToolIsApprovedWithoutItsCaller(t *testing.T) {
	w := newWorld(t)
	k := &activating{capability: *w.caps["write"].(*capability), module: "sha256:1"}
	w.caps["write"] = k
	var turn *gate.Turn
	k.perform = func(ctx context.Context, c *host.Call) (host.Output, error) {
		child := turn.Guest(run(c.Run, c.Path), c.Begun)
		defer child.Drain()
		_, err := child.Call(ctx, "read", []byte(`{"path":"a"}`))
		return host.Output{Derived: true}, err
	}
	answer := make(chan struct{})
	opt := suspendable(t, nil)
	opt.Approvals = granted{answer}
	var g *gate.Guest
	turn, g = w.begin(opt)
	if _, err := g.Call(t.Context(), "write", []byte(`{"path":"ask"}`)); !errors.Is(err, host.ErrSuspended) {
		t.Fatal(err)
	}
	g.Drain()
	close(answer)
	<-turn.Landed()
	w.commit()
	opt.From, opt.Patience = turn, time.Minute
	turn, g = w.begin(opt)
	if r := call(t, g, "write", `{"path":"ask"}`); r.Error != nil {
		t.Errorf("got %+v", r)
	}
	g.Drain()
	if got := w.took(); len(got) != 2 { // the tool and its call
		t.Errorf("performed %v", got)
	}
}
