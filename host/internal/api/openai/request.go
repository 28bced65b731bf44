package openai

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

// request is the body of a chat completion. Fields that are not here (sampling,
// lengths, ids of users) are accepted and not used: an agent's configuration
// decides those. Fields that would change what the answer means are refused.
type request struct {
	Model         string            `json:"model"`
	Messages      []message         `json:"messages"`
	Stream        bool              `json:"stream"`
	StreamOptions *streamOptions    `json:"stream_options"`
	Metadata      map[string]string `json:"metadata"`

	N              *int              `json:"n"`
	Tools          []json.RawMessage `json:"tools"`
	Functions      []json.RawMessage `json:"functions"`
	Modalities     []string          `json:"modalities"`
	Logprobs       bool              `json:"logprobs"`
	ResponseFormat *struct {
		Type string `json:"type"`
	} `json:"response_format"`
}

// streamOptions may be there only with stream, as in OpenAI's own API.
type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// sessionKey is the key of metadata that continues a session.
const sessionKey = "session_id"

// invocation reads the request and what it asks of which agent.
func (h *handlers) invocation(r *http.Request) (*request, host.Invocation, error) {
	var q request
	var in host.Invocation
	body, err := api.Decode(r, &q, false)
	if err != nil {
		return nil, in, err
	}
	if err := q.check(); err != nil {
		return nil, in, err
	}
	if _, err := h.agent(r, q.Model); err != nil {
		return nil, in, err
	}
	in = host.Invocation{
		Caller:  api.Caller(r),
		Agent:   q.Model,
		Session: q.Metadata[sessionKey],
		Body:    append([]byte(r.URL.Path+"\n"), body...),
	}
	if in.Event, err = q.event(in.Session == ""); err != nil {
		return nil, in, err
	}
	in.IdempotencyKey, err = api.IdempotencyKey(r.Header)
	return &q, in, err
}

// check refuses what an agent cannot do.
func (q *request) check() error {
	switch {
	case q.Model == "":
		return api.Invalid("model", "the request names no model; set it to the name of an agent")
	case len(q.Messages) == 0:
		return api.Invalid("messages", "the request has no messages; send at least one from the user")
	case len(q.Tools) > 0:
		return api.Invalid("tools", "agents bring their own tools; configure them on the agent %q and leave tools out", q.Model)
	case len(q.Functions) > 0:
		return api.Invalid("functions", "agents bring their own tools; configure them on the agent %q and leave functions out", q.Model)
	case q.N != nil && *q.N != 1:
		return api.Invalid("n", "n is %d, but an agent gives one answer; leave it out", *q.N)
	case q.Logprobs:
		return api.Invalid("logprobs", "agents give no log probabilities; leave logprobs out")
	case q.ResponseFormat != nil && q.ResponseFormat.Type != "text":
		return api.Invalid("response_format", "agents answer in text; ask for another form in the message and leave response_format out")
	case q.StreamOptions != nil && !q.Stream:
		return api.Invalid("stream_options", "stream_options needs stream to be true; set it or leave the options out")
	}
	for _, m := range q.Modalities {
		if m != "text" {
			return api.Invalid("modalities", "agents answer in text, not %s; leave modalities out", m)
		}
	}
	return nil
}

// event returns the last message, which must be the user's, as an event. A new
// session gets the messages before it as context; a session that goes on has
// them in its own memory already.
func (q *request) event(opens bool) (abi.Event, error) {
	last := len(q.Messages) - 1
	if role := q.Messages[last].Role; role != string(abi.RoleUser) {
		return abi.Event{}, api.Invalid(fmt.Sprintf("messages[%d].role", last),
			"the last message is from %q; an agent answers the user, so end with a message of the role user", role)
	}
	e := abi.Event{Type: abi.EventMessage}
	for i, m := range q.Messages {
		if i < last && !opens {
			continue
		}
		converted, err := m.convert(fmt.Sprintf("messages[%d]", i))
		if err != nil {
			return e, err
		}
		if i < last {
			e.History = append(e.History, converted)
			continue
		}
		e.Content = converted.Content
	}
	if len(e.Content) == 0 {
		return e, api.Invalid(fmt.Sprintf("messages[%d].content", last), "the last message is empty; write something")
	}
	return e, nil
}
