package gate

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
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
		if !decided {
			if err := t.mayEmit(ctx, c); err != nil {
				return err
			}
			decided = true
		}
		b, err := json.Marshal(e)
		if err != nil {
			return err
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

func (t *Turn) mayEmit(ctx context.Context, c *host.Call) error {
	class := SessionClass(c.Run, "emit", host.Egress)
	if d := t.decide(ctx, c, class); !d.Allowed {
		return denial(abi.CallEmit, class, d)
	}
	return nil
}

// SessionClass is the class of a call about the session itself.
func SessionClass(run *host.Run, action string, kind host.Kind) host.Class {
	return host.Class{
		Action: action, Kind: kind, Recovery: abi.RecoverTxn,
		Resource: policy.Entity{
			UID:   policy.UID{Type: "Session", ID: run.Session},
			Attrs: map[string]any{"owner": policy.UID{Type: "User", ID: run.Owner}},
		},
		Recipient: []string{run.User},
	}
}
