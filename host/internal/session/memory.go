package session

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// memory is a session's working memory: lists that grow and values that are set.
// Writes commit with the record of the call that made them.
type memory struct {
	store  store.Store
	sealer sealer
}

// sealer encrypts values under a session's key.
type sealer interface {
	Wrap(ctx context.Context, run *host.Run, data []byte) ([]byte, error)
	Unwrap(ctx context.Context, run *host.Run, wrapped []byte) ([]byte, error)
}

const (
	maxMemoryItem = 512 << 10
	maxMemoryKey  = 200
)

func (m memory) Classify(_ context.Context, c *host.Call) (host.Class, error) {
	var in abi.SessionMemory
	if err := decodeRequest(c, &in); err != nil {
		return host.Class{}, err
	}
	if why := checkMemory(&in); why != "" {
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

func checkMemory(in *abi.SessionMemory) string {
	switch {
	case in.Key == "" || len(in.Key) > maxMemoryKey || strings.Contains(in.Key, "/"):
		return "key must have 1 to " + strconv.Itoa(maxMemoryKey) + " bytes and no /"
	case !slices.Contains([]string{"append", "window", "get", "set"}, in.Op):
		return "op must be append, window, get or set"
	case in.Limit < 0:
		return "limit must not be negative"
	case len(in.Value) > maxMemoryItem:
		return "the value is over " + strconv.Itoa(maxMemoryItem) + " bytes"
	}
	for _, item := range in.Items {
		if len(item) > maxMemoryItem {
			return "an item is over " + strconv.Itoa(maxMemoryItem) + " bytes"
		}
	}
	return ""
}

func (m memory) Perform(ctx context.Context, c *host.Call) (host.Output, error) {
	in, _ := c.Class.State.(abi.SessionMemory)
	switch in.Op {
	case "append":
		return m.append(ctx, c, in)
	case "set":
		return m.set(ctx, c, in)
	}
	if err := c.Settle(ctx); err != nil {
		return host.Output{}, err
	}
	out, err := m.read(ctx, c.Run, in)
	if err != nil {
		return host.Output{}, err
	}
	b, err := json.Marshal(out)
	return host.Output{OK: b, Derived: true}, err
}

func (m memory) set(ctx context.Context, c *host.Call, in abi.SessionMemory) (host.Output, error) {
	op := store.Op{Key: valueKey(c.Run, in.Key)}
	if len(in.Value) > 0 && !bytes.Equal(in.Value, []byte("null")) {
		var err error
		if op.Value, err = m.sealer.Wrap(ctx, c.Run, in.Value); err != nil {
			return host.Output{}, err
		}
	}
	return host.Output{Derived: true, Ops: []store.Op{op}}, nil
}

func (m memory) append(ctx context.Context, c *host.Call, in abi.SessionMemory) (host.Output, error) {
	prefix, err := itemPrefix(c, in.Key)
	if err != nil {
		return host.Output{}, err
	}
	var ops []store.Op
	for i, item := range in.Items {
		wrapped, err := m.sealer.Wrap(ctx, c.Run, item)
		if err != nil {
			return host.Output{}, err
		}
		k := binary.BigEndian.AppendUint32(slices.Clone(prefix), uint32(i))
		ops = append(ops, store.Op{Key: k, Value: wrapped})
	}
	return host.Output{Derived: true, Ops: ops}, nil
}

func memoryKey(run *host.Run, kind, key string) []byte {
	return []byte(memoryPrefix + run.Tenant + "/" + run.Session + "/" + kind + "/" + key)
}

func valueKey(run *host.Run, key string) []byte { return memoryKey(run, "value", key) }

func listPrefix(run *host.Run, key string) []byte { return append(memoryKey(run, "list", key), '/') }

// itemPrefix orders items by the call path that added them, so that a call needs to
// read nothing to add its own, and adds the same ones when it runs again.
func itemPrefix(c *host.Call, key string) ([]byte, error) {
	k := listPrefix(c.Run, key)
	for part := range strings.SplitSeq(c.Path, "/") {
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("session: call path %s: %w", c.Path, err)
		}
		k = binary.BigEndian.AppendUint32(k, uint32(n))
	}
	return append(k, 0, 0, 0, 0), nil // so that a call's own items come before those of calls below it
}

func (m memory) read(ctx context.Context, run *host.Run, in abi.SessionMemory) (abi.SessionMemoryResult, error) {
	var out abi.SessionMemoryResult
	wrapped, count, err := m.stored(ctx, run, in)
	if err != nil {
		return out, err
	}
	out.Count = count
	for _, w := range wrapped {
		item, err := m.sealer.Unwrap(ctx, run, w)
		if err != nil {
			return out, err
		}
		out.Items = append(out.Items, item)
	}
	if in.Op == "get" && len(out.Items) > 0 {
		out.Items, out.Value, out.Count = nil, out.Items[0], 0
	}
	return out, nil
}

// stored returns the wrapped values that the request asks for, and the length of the
// list.
func (m memory) stored(ctx context.Context, run *host.Run, in abi.SessionMemory) (out [][]byte, count int, err error) {
	q := store.Query{Prefix: listPrefix(run, in.Key), Reverse: true}
	if in.Op == "get" {
		q = store.Query{Prefix: valueKey(run, in.Key), From: valueKey(run, in.Key), Limit: 1}
	}
	err = m.store.View(ctx, func(tx store.Tx) error {
		for item, err := range tx.Scan(q) {
			if err != nil {
				return err
			}
			if in.Op == "get" && !bytes.Equal(item.Key, q.Prefix) {
				continue
			}
			if count++; in.Limit == 0 || len(out) < in.Limit {
				out = append(out, item.Value)
			}
		}
		return nil
	})
	slices.Reverse(out)
	return out, count, err
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
