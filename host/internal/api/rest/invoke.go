package rest

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

// invocation is the body of a request to an agent.
type invocation struct {
	Content content         `json:"content"`
	Session string          `json:"session"`
	Type    abi.EventType   `json:"type"`
	Name    string          `json:"name"`
	Data    json.RawMessage `json:"data"`
	Task    taskSpec        `json:"task"`
}

// event checks the invocation and returns what the agent is to handle.
func (in *invocation) event() (abi.Event, error) {
	e := abi.Event{Type: in.Type, Name: in.Name, Content: in.Content, Data: in.Data}
	switch in.Type {
	case "", abi.EventMessage:
		e.Type = abi.EventMessage
		return e, in.message()
	case abi.EventSignal:
		if in.Name == "" {
			return e, api.Invalid("name", "a signal needs a name; set name to the one the agent waits for")
		}
		return e, nil
	}
	return e, api.Invalid("type", "the type %q cannot be sent; use message or signal", in.Type)
}

// message checks what only messages must and must not have. The fields of a signal
// are not dropped silently: the agent would never see them.
func (in *invocation) message() error {
	switch {
	case len(in.Content) == 0:
		return api.Invalid("content", "a message needs content; set it to a text or a list of content parts")
	case in.Name != "":
		return api.Invalid("name", "only a signal has a name; remove it, or set type to signal")
	case len(in.Data) > 0:
		return api.Invalid("data", "only a signal has data; remove it, or set type to signal")
	}
	return nil
}

// invoke hands an event to an agent and answers with the turn: streamed, when it
// is over, or at once, as the client likes. The turn is the agent's from its
// acceptance on; a client that leaves ends nothing.
func (h *handlers) invoke(w http.ResponseWriter, r *http.Request) error {
	in, err := h.request(r)
	if err != nil {
		return err
	}
	p, err := preferences(r.Header)
	if err != nil {
		return err
	}
	turn, err := h.Sessions.Invoke(context.WithoutCancel(r.Context()), in)
	if err != nil {
		return err
	}
	accepted(w, turn, in.IdempotencyKey)
	if wantsStream(r.Header) {
		return h.streamTurn(w, r, turn)
	}
	p.applied(w.Header())
	if limit := p.limit(h.Wait); limit > 0 {
		if turn, err = h.await(r.Context(), in.Caller, turn, limit); err != nil {
			return err
		}
	}
	return answer(w, turn)
}

// accepted tells a client where its event went, and whether it was there before.
func accepted(w http.ResponseWriter, t host.Turn, key string) {
	if key != "" && !t.Created {
		w.Header().Set("Idempotent-Replayed", "true")
	}
	w.Header().Set("X-Session-Id", t.Session)
}

// signed is what must be equal under one idempotency key: the path, too, because the
// same words to another agent are another request.
func signed(r *http.Request, body []byte) []byte {
	return append([]byte(r.URL.Path+"\n"), body...)
}

// request reads the invocation.
func (h *handlers) request(r *http.Request) (host.Invocation, error) {
	var b invocation
	body, err := api.Decode(r, &b, true)
	if err != nil {
		return host.Invocation{}, err
	}
	if string(b.Data) == "null" {
		b.Data = nil
	}
	e, err := b.event()
	if err != nil {
		return host.Invocation{}, err
	}
	task, err := b.Task.spec("task.", h.Now)
	if err != nil {
		return host.Invocation{}, err
	}
	in := host.Invocation{
		Caller:  api.Caller(r),
		Agent:   r.PathValue("agent"),
		Session: b.Session,
		Event:   e,
		Task:    task,
		Body:    signed(r, body),
	}
	in.IdempotencyKey, err = api.IdempotencyKey(r.Header)
	return in, err
}

// await waits for the turn within limit. Running out of time is no error: the
// turn goes on, and the answer says so. So is that the caller may begin turns and not
// read sessions.
func (h *handlers) await(ctx context.Context, c host.Caller, t host.Turn, limit time.Duration) (host.Turn, error) {
	ctx, cancel := api.Serving(ctx, limit)
	defer cancel()
	now, err := h.Sessions.Await(ctx, c, t.Session, t.Number)
	switch {
	case err == nil:
		return now, nil
	case slices.Contains([]host.ErrorCode{host.ErrForbidden, host.ErrNotFound}, host.CodeOf(err)):
		return t, nil
	case ctx.Err() == nil:
		return t, err
	case now.Number == 0: // it ended before the state was read
		return t, nil
	}
	return now, nil
}

// streamTurn streams the events of one turn. The session may be in the middle of
// earlier turns, whose events are left out.
func (h *handlers) streamTurn(w http.ResponseWriter, r *http.Request, t host.Turn) error {
	c, begun := api.Caller(r), false
	return api.Follow{
		Events: func(ctx context.Context) iter.Seq2[host.StreamEvent, error] {
			return h.Sessions.Events(ctx, c, t.Session, strconv.Itoa(t.Number))
		},
		Each: func(s *api.Stream, e host.StreamEvent) (bool, error) {
			ours := e.Turn == t.Number
			begun = begun || ours
			switch {
			case begun && e.Type == host.StreamParked: // and not one from before
				return false, send(s, e)
			case !ours:
				return true, nil
			}
			return e.Type != host.StreamEnd, send(s, e)
		},
		Fail: fail,
	}.Serve(w, r)
}

// send writes an event whole: its id and type are in the data again, so that a
// client can decode one line and know everything.
func send(s *api.Stream, e host.StreamEvent) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return s.Send(e.ID, string(e.Type), data)
}

// fail tells of an error in a stream. The event is not named error: browsers give
// that name to events of their own.
func fail(s *api.Stream, p api.Problem) {
	data, err := json.Marshal(p)
	if err == nil {
		_ = s.Send("", "problem", data) // or nobody is left to tell
	}
}
