package gate

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// emitter returns the function by which a call streams to the session's caller.
// What streams is egress: unless the call itself is the emission, it is decided once
// as one; and it is durable before anybody sees it.
func (t *Turn) emitter(c *host.Call) func(context.Context, abi.Emit) error {
	var mu sync.Mutex
	offset := 0
	decided := c.Name == abi.CallEmit
	return func(ctx context.Context, e abi.Emit) error {
		mu.Lock()
		defer mu.Unlock()
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if !decided {
			if err := t.mayEmit(ctx, c, b); err != nil {
				return err
			}
			decided = true
		} else if why := t.isOver(ctx, c.Run); why != "" { // a stream may outlast what allowed it
			return &abi.Error{Code: abi.CodeDenied, Message: abi.CallEmit + " is denied: " + why}
		}
		chunk := host.Chunk{Attempt: c.Attempt, Offset: offset}
		if _, err := t.opt.Journal.Append(ctx, host.Entry{Kind: host.EntryChunk, Turn: c.Run.Turn, Path: c.Path}, chunk, b); err != nil {
			return &Fatal{Err: err}
		}
		offset++
		if err := t.opt.Journal.Commit(ctx); err != nil {
			return &Fatal{Err: err}
		}
		return nil
	}
}

// mayEmit decides the stream of a call as the emission that it is.
func (t *Turn) mayEmit(ctx context.Context, c *host.Call, request []byte) error {
	capability := t.gate.opt.Capabilities[abi.CallEmit]
	if capability == nil {
		return &abi.Error{Code: abi.CodeNotFound, Message: "this host has no capability " + abi.CallEmit}
	}
	class, err := capability.Classify(ctx, &host.Call{Run: c.Run, Path: c.Path, Name: abi.CallEmit, Request: request})
	if err != nil {
		return err
	}
	d, asked := t.decide(ctx, c, class)
	if err := t.noteDecision(ctx, c, class, d, asked); err != nil { // durable with what it lets out
		return &Fatal{Err: err}
	}
	if !d.Allowed {
		return denial(abi.CallEmit, class, d)
	}
	return nil
}
