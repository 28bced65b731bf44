package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Before payloads were cut, a request to a model was kept as a chain of its messages.
// This reads it.

// conversation is a request without its messages.
type conversation struct {
	Rest map[string]json.RawMessage `json:"rest"`
	Last string                     `json:"last"`
	Len  int                        `json:"len"`
}

// message is a node of a conversation, named by a digest over the name before and itself.
type message struct {
	Before  string          `json:"before,omitempty"`
	Message json.RawMessage `json:"message"`
}

// conversation makes a request of its messages. The order of its fields may differ from
// the original's; their values do not.
func (s *shelf) conversation(b []byte) ([]byte, error) {
	r := conversation{Rest: map[string]json.RawMessage{}}
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", errCodec, err)
	}
	messages := make([]json.RawMessage, 0, max(0, min(r.Len, 1<<10)))
	for name := r.Last; name != ""; {
		m, err := s.message(name)
		if err != nil {
			return nil, err
		}
		messages = append(messages, m.Message)
		name = m.Before
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

// message reads a node. That its name is of it was checked when it was decrypted.
func (s *shelf) message(id string) (m message, err error) {
	b, err := s.chunked(id)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, fmt.Errorf("%w: %w", errCodec, err)
	}
	return m, nil
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
