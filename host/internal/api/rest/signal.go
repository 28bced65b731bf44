package rest

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

// signal is the body of a request that wakes a session.
type signal struct {
	Name    string          `json:"name"`
	Content content         `json:"content"`
	Data    json.RawMessage `json:"data"`
}

// signal hands a named event to a session: to the call that waits for it, else to a
// turn of its own. It waits for neither.
func (h *handlers) signal(w http.ResponseWriter, r *http.Request) error {
	var b signal
	body, err := api.Decode(r, &b, true)
	if err != nil {
		return err
	}
	if b.Name == "" {
		return api.Invalid("name", "a signal needs a name; set name to the one the agent waits for")
	}
	if string(b.Data) == "null" {
		b.Data = nil
	}
	in := host.Signal{
		Caller: api.Caller(r), Session: r.PathValue("id"), Name: b.Name, Content: b.Content, Data: b.Data,
		Body: signed(r, body),
	}
	if in.IdempotencyKey, err = api.IdempotencyKey(r.Header); err != nil {
		return err
	}
	turn, err := h.Durable.Signal(context.WithoutCancel(r.Context()), in)
	if err != nil {
		return err
	}
	accepted(w, turn, in.IdempotencyKey)
	return pending(w, turn)
}
