package openai

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

// delta is a choice of a chunk.
type delta struct {
	Index        int     `json:"index"`
	Delta        words   `json:"delta"`
	Logprobs     *string `json:"logprobs"` // always null
	FinishReason *string `json:"finish_reason"`
}

// words is what a chunk adds. Content is a pointer because the first chunk has an
// empty one and the last has none.
type words struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

// chunks turns the events of one turn into chunks of a completion.
type chunks struct {
	h     *handlers
	turn  host.Turn
	begun bool // an event of the turn was seen
	usage bool // the client wants a last chunk with the usage
	said  transcript
}

// stream answers with chunks as the agent emits text, and what its reply adds to
// that at the end. While the turn is suspended the stream stays open.
func (h *handlers) stream(w http.ResponseWriter, r *http.Request, q *request, turn host.Turn) error {
	c := &chunks{h: h, turn: turn, usage: q.StreamOptions != nil && q.StreamOptions.IncludeUsage}
	caller := api.Caller(r)
	return api.Follow{
		Events: func(ctx context.Context) iter.Seq2[host.StreamEvent, error] {
			return h.Sessions.Events(ctx, caller, turn.Session, strconv.Itoa(turn.Number))
		},
		Begin: c.begin,
		Each:  c.event,
		Fail:  func(s *api.Stream, p api.Problem) { _ = s.Send("", "", encode(newFailure(p))) },
		Stop:  func(s *api.Stream) { _ = s.Send("", "", encode(unfinished(turn))) },
	}.Serve(w, r)
}

// begin sends the chunk that every stream begins with.
func (c *chunks) begin(s *api.Stream) error {
	empty := ""
	chunk := c.chunk(delta{Delta: words{Role: "assistant", Content: &empty}})
	chunk.Metadata = map[string]string{sessionKey: c.turn.Session}
	return c.send(s, chunk)
}

// event writes what an event of the session means to the client of one turn. Calls
// and their results mean nothing to it.
func (c *chunks) event(s *api.Stream, e host.StreamEvent) (more bool, err error) {
	ours := e.Turn == c.turn.Number
	c.begun = c.begun || ours
	switch {
	case c.begun && e.Type == host.StreamParked: // and not one from before
		return false, s.Send("", "", encode(parked(c.turn, e)))
	case !ours:
		return true, nil
	}
	switch e.Type {
	case host.StreamDelta:
		return true, c.delta(s, e)
	case host.StreamReset:
		c.said.reset(call(e.ID))
	case host.StreamEnd:
		return false, c.end(s, e)
	}
	return true, nil
}

// delta says the text of an emission. Images and the like have no form in a chunk;
// they are in the turn.
func (c *chunks) delta(s *api.Stream, e host.StreamEvent) error {
	var emit abi.Emit
	if err := json.Unmarshal(e.Data, &emit); err != nil {
		return fmt.Errorf("event %s: %w", e.ID, err)
	}
	return c.say(s, c.said.add(call(e.ID), abi.TextOf(emit.Content)))
}

// call returns the part of an event's id, turn.call.attempt.offset, that names the
// call.
func call(id string) string {
	if parts := strings.Split(id, "."); len(parts) > 1 {
		return parts[1]
	}
	return id
}

// say writes text, if there is any: an empty chunk would be taken for progress.
func (c *chunks) say(s *api.Stream, text string) error {
	if text == "" {
		return nil
	}
	return c.send(s, c.chunk(delta{Delta: words{Content: &text}}))
}

// end completes the text and tells how the turn ended.
func (c *chunks) end(s *api.Stream, e host.StreamEvent) error {
	t := c.turn
	if err := json.Unmarshal(e.Data, &t); err != nil {
		return fmt.Errorf("event %s: %w", e.ID, err)
	}
	if _, f := turnFailure(t); f != nil {
		return s.Send("", "", encode(f))
	}
	if err := c.say(s, c.said.finish(abi.TextOf(t.Content))); err != nil {
		return err
	}
	stop := "stop"
	last := c.chunk(delta{FinishReason: &stop})
	last.Metadata = metadata(t)
	if err := c.send(s, last); err != nil {
		return err
	}
	if c.usage {
		u := c.chunk()
		u.Usage = usageOf(t.Usage)
		if err := c.send(s, u); err != nil {
			return err
		}
	}
	return s.Send("", "", []byte("[DONE]"))
}

// chunk begins a chunk; without choices it is the one that carries the usage.
func (c *chunks) chunk(choices ...any) completion {
	out := c.h.completion("chat.completion.chunk", c.turn)
	out.Choices = append([]any{}, choices...) // never null
	return out
}

func (c *chunks) send(s *api.Stream, chunk completion) error {
	return s.Send("", "", encode(chunk))
}
