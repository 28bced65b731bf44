package session

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/memory"
	"github.com/vespiary/vespiary/policy"
)

// working is the capability memory_session. Writes commit with the record of the call
// that made them.
type working struct {
	store    store.Store
	journals Journals
}

// Classify implements host.Capability.
func (working) Classify(_ context.Context, c *host.Call) (host.Class, error) {
	var in abi.SessionMemory
	if err := decodeRequest(c, &in); err != nil {
		return host.Class{}, err
	}
	if why := memory.Check(&in); why != "" {
		return host.Class{}, &abi.Error{Code: abi.CodeInvalid, Message: "memory_session: " + why}
	}
	class := host.Class{Action: "memoryRead", Kind: host.Observe, Recovery: abi.RecoverTxn, State: in, Resource: policy.Entity{
		UID:   policy.UID{Type: "MemorySpace", ID: "session/" + c.Run.Session},
		Attrs: map[string]any{"owner": policy.UID{Type: "User", ID: c.Run.Owner}, "tier": "session"},
	}}
	if in.Op == "append" || in.Op == "set" {
		// It leaves the session no more than a variable does: it needs no sync of its own.
		class.Action, class.Kind = "memoryWrite", host.Control
	}
	return class, nil
}

// Perform implements host.Capability.
func (w working) Perform(ctx context.Context, c *host.Call) (host.Output, error) {
	in, _ := c.Class.State.(abi.SessionMemory)
	space := memory.Session{Store: w.store, Sealer: sealer{w.journals, c.Run}, Tenant: c.Run.Tenant, ID: c.Run.Session}
	switch in.Op {
	case "append":
		ops, err := space.Append(ctx, c.Path, in.Key, in.Items)
		return host.Output{Derived: true, Ops: ops}, err
	case "set":
		ops, err := space.Set(ctx, in.Key, in.Value)
		return host.Output{Derived: true, Ops: ops}, err
	}
	if err := c.Settle(ctx); err != nil {
		return host.Output{}, err
	}
	read := space.Get
	if in.Op == "window" {
		read = func(ctx context.Context, key string) (abi.SessionMemoryResult, error) {
			return space.Window(ctx, key, in.Limit)
		}
	}
	out, err := read(ctx, in.Key)
	if err != nil {
		return host.Output{}, err
	}
	b, err := json.Marshal(out)
	return host.Output{OK: b, Derived: true}, err
}

// sealer encrypts under the key of a run's session.
type sealer struct {
	journals Journals
	run      *host.Run
}

func (s sealer) Wrap(ctx context.Context, data []byte) ([]byte, error) {
	return s.journals.Wrap(ctx, s.run, data)
}

func (s sealer) Unwrap(ctx context.Context, wrapped []byte) ([]byte, error) {
	return s.journals.Unwrap(ctx, s.run, wrapped)
}

// strict decodes one JSON value and refuses unknown fields and anything after it.
func strict(b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}
