package api

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/vespiary/vespiary/host"
)

// retry tells clients how long to wait before they connect again.
const retry = "retry: 1000\n"

// Stream writes server-sent events, each flushed as it is written. It is not safe
// for concurrent use.
type Stream struct {
	w      http.ResponseWriter
	rc     *http.ResponseController
	server *Server
	buf    bytes.Buffer
}

// Send writes one event. An empty id or event leaves the field out; neither may
// hold a line break. An error means that the client is gone.
func (s *Stream) Send(id, event string, data []byte) error {
	s.buf.Reset()
	if id != "" {
		fmt.Fprintf(&s.buf, "id: %s\n", id)
	}
	if event != "" {
		fmt.Fprintf(&s.buf, "event: %s\n", event)
	}
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		fmt.Fprintf(&s.buf, "data: %s\n", line)
	}
	s.buf.WriteByte('\n')
	return s.flush(s.buf.Bytes())
}

// flush gives the client Limits.Write to take b. The deadline is lifted again: in
// HTTP/2 it would end a stream that is merely quiet.
func (s *Stream) flush(b []byte) error {
	_ = s.rc.SetWriteDeadline(s.server.opts.Now().Add(s.server.limits.Write))
	defer s.rc.SetWriteDeadline(time.Time{}) //nolint:errcheck // as above: not all connections have one
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.rc.Flush()
}

// Follow streams the events of a session in a route's dialect.
type Follow struct {
	// Events begins the sequence; it stops when ctx ends.
	Events func(ctx context.Context) iter.Seq2[host.StreamEvent, error]
	// Begin writes what the stream begins with; nil writes nothing.
	Begin func(s *Stream) error
	// Each writes what an event becomes; more is false after the last one.
	Each func(s *Stream, e host.StreamEvent) (more bool, err error)
	// Fail tells of an error of Events or Each in the stream, which then ends.
	Fail func(s *Stream, p Problem)
	// Stop says that the stream ends early, because the server stops or the session
	// is gone; nil leaves it at a comment.
	Stop func(s *Stream)
}

// Serve writes the stream until its last event, the client's leaving or the
// server's stop. Comments keep a quiet connection alive. It returns an error that
// comes before the first event; a later one is told in the stream. The request
// must have come through a Server.
func (f Follow) Serve(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := Serving(r.Context(), 0)
	defer cancel()
	items, wait := pump(ctx, f.Events)
	defer func() { cancel(); wait() }()
	first := peek(ctx, items)
	if first != nil && first.err != nil {
		return first.err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // or proxies hold events back
	w.WriteHeader(http.StatusOK)
	s := &Stream{w: w, rc: http.NewResponseController(w), server: exchangeOf(r.Context()).server}
	if s.flush([]byte(retry+"\n")) != nil || f.Begin != nil && f.Begin(s) != nil {
		return nil
	}
	if first == nil || f.item(ctx, r, s, *first) {
		f.follow(ctx, r, s, items)
	}
	return nil
}

// headTime is how long the head of a stream waits for the first event.
const headTime = 100 * time.Millisecond

// peek waits a moment for the first item: an error that shows at once is told by a
// status, which makes browsers give up, and not in a stream, which they would ask
// for again and again. It returns nil when there is none yet.
func peek(ctx context.Context, items <-chan item) *item {
	moment := time.NewTimer(headTime)
	defer moment.Stop()
	select {
	case it, ok := <-items:
		if ok {
			return &it
		}
	case <-moment.C:
	case <-ctx.Done():
	}
	return nil
}

// follow writes items as they come, and comments while none do.
func (f Follow) follow(ctx context.Context, r *http.Request, s *Stream, items <-chan item) {
	beat := time.NewTicker(s.server.limits.Beat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			f.end(r, s)
			return
		case <-beat.C:
			if s.flush([]byte(": \n\n")) != nil {
				return
			}
		case it, ok := <-items:
			if !ok {
				f.end(r, s)
				return
			}
			if !f.item(ctx, r, s, it) {
				return
			}
		}
	}
}

// item handles one item and reports whether there may be more.
func (f Follow) item(ctx context.Context, r *http.Request, s *Stream, it item) bool {
	more, err := true, it.err
	if err == nil {
		more, err = f.Each(s, it.event)
	}
	switch {
	case err == nil:
		return more
	case ctx.Err() != nil:
		f.end(r, s)
	default:
		s.server.log.WarnContext(ctx, "a stream broke off", "request", requestIDOf(ctx), "error", err)
		f.Fail(s, problemOf(ctx, err))
	}
	return false
}

// end says goodbye to a client that is still there.
func (f Follow) end(r *http.Request, s *Stream) {
	if r.Context().Err() != nil {
		return
	}
	if f.Stop != nil {
		f.Stop(s)
	}
	_ = s.flush([]byte(retry + ": no more events here; come back with Last-Event-ID\n\n"))
}

// item is a pair of the sequence on its way to the stream.
type item struct {
	event host.StreamEvent
	err   error
}

// pump runs the sequence beside the stream, which must beat while the sequence
// waits. wait returns when it is over; cancel ctx first.
func pump(ctx context.Context, events func(context.Context) iter.Seq2[host.StreamEvent, error]) (items <-chan item, wait func()) {
	out := make(chan item)
	go func() {
		defer close(out)
		send := func(it item) bool {
			select {
			case out <- it:
				return it.err == nil
			case <-ctx.Done():
				return false
			}
		}
		defer func() {
			if v := recover(); v != nil { // not in the request's goroutine, where it would be caught
				send(item{err: fmt.Errorf("panic in a stream of events: %v\n%s", v, debug.Stack())})
			}
		}()
		for e, err := range events(ctx) {
			if !send(item{e, err}) {
				return
			}
		}
	}()
	return out, func() {
		for range out { // what was under way
			continue
		}
	}
}
