package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// A request to a model repeats the whole conversation, so storing requests as they
// are costs the square of its length. Here the messages form a chain of nodes, each
// named by a digest over its message and the name of the node before, and the
// request is kept as the name of its last node and whatever else it holds.

// recipe is a request without its messages.
type recipe struct {
	Rest map[string]json.RawMessage `json:"rest"`
	Last string                     `json:"last"`
	Len  int                        `json:"len"`
}

type node struct {
	Before  string          `json:"before,omitempty"`
	Message json.RawMessage `json:"message"`
}

// recipeMark begins a recipe. A JSON request cannot begin with it.
const recipeMark = 0x01

// split returns raw as a recipe, and the ops and names of nodes not stored yet. It
// returns raw itself when it is not a conversation worth splitting.
func (l *Log) split(ctx context.Context, raw []byte) ([]byte, []store.Op, []string, error) {
	if !bytes.Contains(raw, []byte(`"messages"`)) {
		return raw, nil, nil, nil
	}
	var rest map[string]json.RawMessage
	var messages []json.RawMessage
	if json.Unmarshal(raw, &rest) != nil || json.Unmarshal(rest["messages"], &messages) != nil || len(messages) == 0 {
		return raw, nil, nil, nil
	}
	delete(rest, "messages")
	names := make([]string, len(messages))
	before := ""
	for i, m := range messages {
		before = l.domain.digest(ofNode, []byte(before), []byte{0}, m)
		names[i] = before
	}
	have, err := l.stored(ctx, names)
	if err != nil {
		return nil, nil, nil, err
	}
	ops, err := l.nodes(names, messages, have)
	if err != nil {
		return nil, nil, nil, err
	}
	b, err := plain(recipe{Rest: rest, Last: before, Len: len(messages)})
	return append([]byte{recipeMark}, b...), ops, names[have:], err
}

// stored tells how many of the chain's nodes are there already. A node is written
// after those before it, so the search goes from the end.
func (l *Log) stored(ctx context.Context, names []string) (int, error) {
	n := len(names)
	err := l.store.View(ctx, func(tx store.Tx) error {
		for ; n > 0; n-- {
			if l.known[names[n-1]] {
				return nil
			}
			_, err := tx.Get(chunkKey(l.tenant, l.session, names[n-1], 0))
			if !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	return n, err
}

func (l *Log) nodes(names []string, messages []json.RawMessage, have int) ([]store.Op, error) {
	var ops []store.Op
	for i := have; i < len(names); i++ {
		nd := node{Message: messages[i]}
		if i > 0 {
			nd.Before = names[i-1]
		}
		b, err := plain(nd)
		if err != nil {
			return nil, err
		}
		if len(b) > host.MaxPayload {
			return nil, ErrTooLarge
		}
		ops = append(ops, l.domain.chunks(l.tenant, l.session, names[i], b)...)
	}
	return ops, nil
}

// plain encodes without the escapes that HTML needs and that make a text six times as
// long.
func plain(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

// join makes a request of a recipe. The order of its fields may differ from the
// original's; their values do not.
func (k *Keys) join(ctx context.Context, tenant, session string, b []byte) ([]byte, error) {
	if len(b) == 0 || b[0] != recipeMark {
		return b, nil
	}
	r := recipe{Rest: map[string]json.RawMessage{}}
	if err := json.Unmarshal(b[1:], &r); err != nil {
		return nil, fmt.Errorf("%w: %w", errCodec, err)
	}
	messages := make([]json.RawMessage, 0, r.Len)
	for name := r.Last; name != ""; {
		nd, err := k.node(ctx, tenant, session, name)
		if err != nil {
			return nil, err
		}
		messages = append(messages, nd.Message)
		name = nd.Before
	}
	if len(messages) != r.Len {
		return nil, fmt.Errorf("%w: a conversation has %d messages, not %d", errCodec, len(messages), r.Len)
	}
	slices.Reverse(messages)
	list, err := plain(messages)
	if err != nil {
		return nil, err
	}
	r.Rest["messages"] = list
	return plain(r.Rest)
}

func (k *Keys) node(ctx context.Context, tenant, session, name string) (node, error) {
	b, err := k.chunked(ctx, tenant, session, name)
	if err != nil {
		return node{}, err
	}
	var nd node
	if err := json.Unmarshal(b, &nd); err != nil {
		return node{}, fmt.Errorf("%w: %w", errCodec, err)
	}
	return nd, nil
}
