package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/vespiary/vespiary/host"
)

// maxEvent bounds one line of a stream, in bytes.
const maxEvent = 32 << 20

// sse yields the data of server-sent events with their types ("" for none), until
// the stream ends. The last pair of a stream that broke holds the error.
func sse(r io.Reader) iter.Seq2[sseEvent, error] {
	return func(yield func(sseEvent, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, maxEvent)
		var e sseEvent
		for lines.Scan() {
			field, value, _ := bytes.Cut(lines.Bytes(), []byte(":"))
			value = bytes.TrimPrefix(value, []byte(" "))
			switch string(field) {
			case "event":
				e.kind = string(value)
			case "data":
				if len(e.data) > 0 {
					e.data = append(e.data, '\n')
				}
				e.data = append(e.data, value...)
			case "":
				if len(lines.Bytes()) > 0 { // a comment
					continue
				}
				if len(e.data) > 0 && !yield(e, nil) {
					return
				}
				e = sseEvent{}
			}
		}
		if err := lines.Err(); err != nil {
			yield(e, err)
		}
	}
}

type sseEvent struct {
	kind string
	data []byte
}

// errBroken ends a stream whose connection was lost before its last event.
var errBroken = errors.New("the stream broke off")

// events yields what the host tells in a stream, and closes it.
func events[T any](stream io.ReadCloser) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		defer stream.Close() //nolint:errcheck // read to its end, or of no more use
		for e, err := range sse(stream) {
			var event T
			switch {
			case err != nil:
				yield(event, fmt.Errorf("%w: %w", errBroken, err))
				return
			case e.kind == "problem":
				yield(event, problem(e.data))
				return
			case json.Unmarshal(e.data, &event) != nil:
				yield(event, errors.New("read the host's stream: an event is not JSON"))
				return
			case !yield(event, nil):
				return
			}
		}
		var none T
		yield(none, errBroken)
	}
}

func problem(data []byte) error {
	var p struct {
		Detail string         `json:"detail"`
		Code   host.ErrorCode `json:"code"`
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("read the host's stream: %w", err)
	}
	return &host.Error{Code: p.Code, Message: clean(p.Detail)}
}

// invoke gives an agent a message and yields the events of its turn, the last one
// included. When the connection is lost, as by a restart of the host, it goes on
// where it was: the turn is durable.
func (r *runner) invoke(ctx context.Context, agent, text, session string) iter.Seq2[host.StreamEvent, error] {
	return r.send(ctx, agent, message{Content: text, Session: session})
}

// message is what an agent is sent, and what the task is opened with that it works in.
type message struct {
	Content string   `json:"content"`
	Session string   `json:"session,omitempty"`
	Task    taskBody `json:"task,omitzero"`
}

// send is invoke with a task that a person says something of.
func (r *runner) send(ctx context.Context, agent string, m message) iter.Seq2[host.StreamEvent, error] {
	return func(yield func(host.StreamEvent, error) bool) {
		stream, session, err := r.post(ctx, agent, m)
		if err != nil {
			yield(host.StreamEvent{}, err)
			return
		}
		f := follower{session: session}
		for {
			more, err := f.take(events[host.StreamEvent](stream), yield)
			if err == nil && !more {
				return
			}
			if err == nil || errors.Is(err, errBroken) {
				stream, err = r.resume(ctx, f)
			}
			if err != nil {
				yield(host.StreamEvent{}, err)
				return
			}
		}
	}
}

// post gives an agent a message and returns the stream of its turn with the session.
func (r *runner) post(ctx context.Context, agent string, m message) (io.ReadCloser, string, error) {
	c, err := r.connect(ctx)
	if err != nil {
		return nil, "", err
	}
	body, err := json.Marshal(m)
	if err != nil {
		return nil, "", err
	}
	header := http.Header{"Content-Type": {"application/json"}, "Accept": {"text/event-stream"}}
	response, err := c.send(ctx, http.MethodPost, "/v1/agents/"+url.PathEscape(agent)+"/invocations", nil, body, header)
	if err != nil {
		return nil, "", err
	}
	return response.Body, response.Header.Get("X-Session-Id"), nil
}

// follower remembers how far a turn was followed.
type follower struct {
	session string
	turn    int
	last    string // id of the last event
}

// take passes events of the turn on; more is false after the last one, and when
// nobody wants more.
func (f *follower) take(in iter.Seq2[host.StreamEvent, error], yield func(host.StreamEvent, error) bool) (more bool, err error) {
	for e, err := range in {
		switch {
		case err != nil:
			return true, err
		case f.turn == 0:
			f.turn = e.Turn
		case e.Turn != f.turn && e.Type != host.StreamParked:
			continue
		}
		f.last = e.ID
		if !yield(e, nil) || e.Type == host.StreamEnd || e.Type == host.StreamParked {
			return false, nil
		}
	}
	return true, errBroken
}

// Patience with a host that restarts.
const (
	attempts     = 30
	attemptPause = time.Second
)

// final are the refusals that patience does not change.
var final = []host.ErrorCode{host.ErrUnauthorized, host.ErrForbidden, host.ErrNotFound, host.ErrInvalid}

// resume connects again and returns the stream of what follows the last event.
func (r *runner) resume(ctx context.Context, f follower) (io.ReadCloser, error) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	var failed error
	for range attempts {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-pause.C:
		}
		pause.Reset(attemptPause)
		stream, err := r.reconnect(ctx, f)
		if err == nil || slices.Contains(final, host.CodeOf(err)) {
			return stream, err
		}
		failed = err
	}
	return nil, fmt.Errorf("follow session %s: %w; the turn goes on, see vespiary sessions show %s", f.session, failed, f.session)
}

// reconnect looks for the host anew: after a restart it may answer elsewhere.
func (r *runner) reconnect(ctx context.Context, f follower) (io.ReadCloser, error) {
	c, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Accept": {"text/event-stream"}}
	if f.last != "" {
		header.Set("Last-Event-ID", f.last)
	}
	response, err := c.send(ctx, http.MethodGet, "/v1/sessions/"+url.PathEscape(f.session)+"/events", nil, nil, header)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}
