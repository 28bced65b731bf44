package memory

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/store"
)

// Limits of one request, in bytes.
const (
	MaxItem = 512 << 10 // of a value or an item
	MaxKey  = 200
)

// Sealer encrypts what is kept, under the key of the session it belongs to.
type Sealer interface {
	Wrap(ctx context.Context, data []byte) ([]byte, error)
	Unwrap(ctx context.Context, wrapped []byte) ([]byte, error)
}

// Session is the working memory of one session. It holds nothing itself and is safe for
// concurrent use.
type Session struct {
	Store      store.Store
	Sealer     Sealer
	Tenant, ID string
}

// Prefix returns the key prefix of all that a session's working memory keeps.
func Prefix(tenant, session string) []byte {
	return []byte("memory/" + tenant + "/" + session + "/")
}

// Check returns what is wrong with a request, "" for nothing.
func Check(in *abi.SessionMemory) string {
	switch {
	case in.Key == "" || len(in.Key) > MaxKey || strings.Contains(in.Key, "/"):
		return "key must have 1 to " + strconv.Itoa(MaxKey) + " bytes and no /"
	case !slices.Contains([]string{"append", "window", "get", "set"}, in.Op):
		return "op must be append, window, get or set"
	case in.Limit < 0:
		return "limit must not be negative"
	case len(in.Value) > MaxItem:
		return "the value is over " + strconv.Itoa(MaxItem) + " bytes"
	}
	for _, item := range in.Items {
		if len(item) > MaxItem {
			return "an item is over " + strconv.Itoa(MaxItem) + " bytes"
		}
	}
	return ""
}

func (s Session) key(kind, key string) []byte {
	return append(Prefix(s.Tenant, s.ID), kind+"/"+key...)
}

func (s Session) list(key string) []byte { return append(s.key("list", key), '/') }

// Set returns the op that sets the value of key; a null value removes it.
func (s Session) Set(ctx context.Context, key string, value json.RawMessage) ([]store.Op, error) {
	op := store.Op{Key: s.key("value", key)}
	if len(value) > 0 && !bytes.Equal(value, []byte("null")) {
		var err error
		if op.Value, err = s.Sealer.Wrap(ctx, value); err != nil {
			return nil, err
		}
	}
	return []store.Op{op}, nil
}

// Append returns the ops that add items to the list of key. Items are in the order of
// the call paths ("turn/call/sub…") that added them, so that a call needs to read nothing
// to add its own, and adds the same ones when it runs again.
func (s Session) Append(ctx context.Context, path, key string, items []json.RawMessage) ([]store.Op, error) {
	prefix, err := s.place(path, key)
	if err != nil {
		return nil, err
	}
	ops := make([]store.Op, 0, len(items))
	for i, item := range items {
		wrapped, err := s.Sealer.Wrap(ctx, item)
		if err != nil {
			return nil, err
		}
		k := binary.BigEndian.AppendUint32(slices.Clone(prefix), uint32(i))
		ops = append(ops, store.Op{Key: k, Value: wrapped})
	}
	return ops, nil
}

func (s Session) place(path, key string) ([]byte, error) {
	k := s.list(key)
	for part := range strings.SplitSeq(path, "/") {
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("memory: call path %s: %w", path, err)
		}
		k = binary.BigEndian.AppendUint32(k, uint32(n))
	}
	return append(k, 0, 0, 0, 0), nil // so that a call's own items come before those of calls below it
}

// Window returns the newest limit items of a list in their order, 0 for all, and how
// long the list is.
func (s Session) Window(ctx context.Context, key string, limit int) (abi.SessionMemoryResult, error) {
	var out abi.SessionMemoryResult
	var newest [][]byte
	err := s.Store.View(ctx, func(tx store.Tx) error {
		for item, err := range tx.Scan(store.Query{Prefix: s.list(key), Reverse: true}) {
			if err != nil {
				return err
			}
			if out.Count++; limit == 0 || len(newest) < limit {
				newest = append(newest, item.Value)
			}
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	for _, wrapped := range slices.Backward(newest) {
		item, err := s.Sealer.Unwrap(ctx, wrapped)
		if err != nil {
			return out, err
		}
		out.Items = append(out.Items, item)
	}
	return out, nil
}

// Get returns the value of key, none for one that was never set.
func (s Session) Get(ctx context.Context, key string) (abi.SessionMemoryResult, error) {
	var out abi.SessionMemoryResult
	var wrapped []byte
	err := s.Store.View(ctx, func(tx store.Tx) error {
		item, err := tx.Get(s.key("value", key))
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		wrapped = item.Value
		return err
	})
	if err != nil || wrapped == nil {
		return out, err
	}
	out.Value, err = s.Sealer.Unwrap(ctx, wrapped)
	return out, err
}
