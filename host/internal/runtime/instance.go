package runtime

import (
	"context"
	"fmt"
	"sync"
)

// life is the state machine of an instance: idle, busy, dead. A close that comes
// while a call is under way takes effect when the call returns, because freeing
// the memory under a running guest would crash the process.
type life struct {
	mu   sync.Mutex
	busy bool
	dead string // why, once it is
	free func() // called once, when dead and not busy
}

// begin starts a call. A context that is done already costs no instance.
func (l *life) begin(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("call not started: %w", context.Cause(ctx))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.dead != "":
		return fmt.Errorf("%w: %s; make a new one", ErrUnusable, l.dead)
	case l.busy:
		return fmt.Errorf("%w while another call is under way; use one instance per call", ErrUnusable)
	}
	l.busy = true
	return nil
}

// end finishes a call; a reason kills the instance.
func (l *life) end(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy = false
	l.kill(reason)
}

// close implements Instance.Close.
func (l *life) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kill("it was closed")
}

func (l *life) kill(reason string) {
	if l.dead == "" {
		l.dead = reason
	}
	if l.dead != "" && !l.busy && l.free != nil {
		l.free()
		l.free = nil
	}
}

// callContext finds the instance that a host function is called for. It is found
// by value so that wrapping it does not lose it.
type callContext struct {
	context.Context //nolint:containedctx // it is one
	instance        any
}

func withInstance(ctx context.Context, instance any) context.Context {
	return callContext{ctx, instance}
}

type instanceKey struct{}

// Value implements context.Context.
func (c callContext) Value(key any) any {
	if key == (instanceKey{}) {
		return c.instance
	}
	return c.Context.Value(key)
}
