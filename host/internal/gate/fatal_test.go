package gate_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/gate"
)

func TestPanicsEndTheTurnAndNothingElse(t *testing.T) {
	w := newWorld(t)
	w.caps["read"].(*capability).perform = func(context.Context, *host.Call) (host.Output, error) { panic("on purpose") }
	_, g := w.begin(gate.TurnOptions{})
	if _, err := g.Call(t.Context(), "read", []byte(`{"path":"x"}`)); err == nil || !strings.Contains(err.Error(), "panicked") {
		t.Errorf("a call: %v", err)
	}
	call(t, g, abi.CallStart, `{"name":"read","request":{"path":"x"}}`)
	if _, err := g.Call(t.Context(), abi.CallWait, []byte(`{"ids":[2]}`)); err == nil || !strings.Contains(err.Error(), "panicked") {
		t.Errorf("a started call: %v", err)
	}
}

// TestDivergenceInsideAToolEndsTheTurn: it must not become the tool's result, which the
// agent would go on with.
func TestDivergenceInsideAToolEndsTheTurn(t *testing.T) {
	w := newWorld(t)
	path := "a"
	stop := errors.New("the host dies here")
	var turn *gate.Turn
	k := w.caps["read"].(*capability)
	k.recovery = host.RecoverNested
	k.perform = func(ctx context.Context, c *host.Call) (host.Output, error) {
		child := turn.Guest(run(c.Run, c.Path), c.Begun)
		if _, err := child.Call(ctx, "write", []byte(`{"path":"`+path+`"}`)); err != nil {
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
	path = "b"
	turn, g = w.begin(gate.TurnOptions{})
	if _, err := g.Call(t.Context(), "read", []byte(`{"path":"tool"}`)); !errors.Is(err, host.ErrDiverged) {
		t.Errorf("the tool asked for something else: %v", err)
	}
	if got := w.took(); len(got) != 3 { // the tool twice, its effect once
		t.Errorf("performed %v", got)
	}
}

func TestInterruptedEffectsAreUnknown(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	w.caps["write"].(*capability).perform = func(ctx context.Context, _ *host.Call) (host.Output, error) {
		cancel()
		<-ctx.Done()
		return host.Output{}, ctx.Err()
	}
	_, g := w.begin(gate.TurnOptions{})
	b, err := g.Call(ctx, "write", []byte(`{"path":"x"}`))
	if err != nil || !strings.Contains(string(b), string(abi.CodeUnknownOutcome)) {
		t.Errorf("%s %v", b, err)
	}
}

// TestToolsAreEnteredAgainAsTheyBegan: a tool whose plugin was replaced meanwhile goes on
// with the one whose calls are on record.
func TestToolsAreEnteredAgainAsTheyBegan(t *testing.T) {
	w := newWorld(t)
	stop := errors.New("the host dies here")
	k := &activating{capability: capability{w: w, action: "fileRead", kind: host.Observe, recovery: host.RecoverNested}, module: "sha256:old"}
	var entered []string
	k.perform = func(_ context.Context, c *host.Call) (host.Output, error) {
		if entered = append(entered, c.Class.Child.Module); len(entered) == 1 {
			return host.Output{}, &gate.Fatal{Err: stop}
		}
		return host.Output{}, nil
	}
	w.caps["read"] = k
	_, g := w.begin(gate.TurnOptions{})
	if _, err := g.Call(t.Context(), "read", []byte(`{"path":"tool"}`)); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	w.commit()
	w.crash()
	k.module = "sha256:new"
	_, g = w.begin(gate.TurnOptions{})
	call(t, g, "read", `{"path":"tool"}`)
	call(t, g, "read", `{"path":"tool"}`)
	if got := strings.Join(entered, " "); got != "sha256:old sha256:old sha256:new" {
		t.Error(got)
	}
}

// activating is a capability that runs a guest.
type activating struct {
	capability
	module string
}

func (k *activating) Classify(ctx context.Context, c *host.Call) (host.Class, error) {
	class, err := k.capability.Classify(ctx, c)
	class.Child = &host.Child{Module: k.module}
	return class, err
}
