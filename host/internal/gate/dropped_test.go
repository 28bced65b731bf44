package gate_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/gate"
	"github.com/vespiary/vespiary/host/store"
)

// TestWritesAfterTheirGuestWasDropped lets a call write whose guest is gone: the guest of
// the next passage, which waits for it again, must see what it wrote.
func TestWritesAfterTheirGuestWasDropped(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	w.caps["keyed"].(*capability).perform = func(context.Context, *host.Call) (host.Output, error) {
		<-release
		return host.Output{Ops: []store.Op{{Key: []byte("written"), Value: []byte("yes")}}}, nil
	}
	w.caps["read"].(*capability).perform = func(ctx context.Context, c *host.Call) (host.Output, error) {
		err := errors.Join(c.Settle(ctx), w.store.View(ctx, func(tx store.Tx) error {
			_, err := tx.Get([]byte("written"))
			return err
		}))
		if err != nil {
			return host.Output{}, &abi.Error{Code: abi.CodeNotFound, Message: err.Error()}
		}
		return host.Output{}, nil
	}
	first, g := w.begin(gate.TurnOptions{Patience: time.Millisecond, Life: t.Context()})
	if _, err := g.Call(t.Context(), "keyed", []byte(`{"path":"a"}`)); !errors.Is(err, host.ErrSuspended) {
		t.Fatalf("a slow call: %v", err)
	}
	g.Drain()
	_, g = w.begin(gate.TurnOptions{Patience: time.Hour, Life: t.Context(), From: first})
	close(release)
	call(t, g, "keyed", `{"path":"a"}`)
	if r := call(t, g, "read", `{"path":"b"}`); r.Error != nil {
		t.Errorf("what the call wrote is not seen: %v", r.Error)
	}
}

// TestLandingIsToldToWhomItConcerns looks for the token that wakes a turn whose guest was
// dropped: a call that its guest waited for leaves none behind.
func TestLandingIsToldToWhomItConcerns(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	w.caps["keyed"].(*capability).perform = func(_ context.Context, c *host.Call) (host.Output, error) {
		if c.Class.State == "slow" {
			<-release
		}
		return host.Output{}, nil
	}
	turn, g := w.begin(gate.TurnOptions{Patience: 50 * time.Millisecond, Life: t.Context()})
	call(t, g, "keyed", `{"path":"quick"}`)
	if _, err := g.Call(t.Context(), "keyed", []byte(`{"path":"slow"}`)); !errors.Is(err, host.ErrSuspended) {
		t.Fatalf("a slow call: %v", err)
	}
	g.Drain()
	select {
	case <-turn.Landed():
		t.Error("the turn is woken while its call is under way")
	default:
	}
	close(release)
	<-turn.Landed()
}
