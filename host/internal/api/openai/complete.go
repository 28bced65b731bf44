package openai

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

// completion is a chat completion, or with another Object a chunk of one.
type completion struct {
	ID       string            `json:"id"`
	Object   string            `json:"object"`
	Created  int64             `json:"created"`
	Model    string            `json:"model"`
	Choices  []any             `json:"choices"` // choice or delta
	Usage    *usage            `json:"usage,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// choice is the only one: an agent has one answer.
type choice struct {
	Index        int     `json:"index"`
	Message      reply   `json:"message"`
	Logprobs     *string `json:"logprobs"` // always null
	FinishReason string  `json:"finish_reason"`
}

// reply is the message of the agent. Content is never null, which some clients do
// not expect without tool calls.
type reply struct {
	Role    string  `json:"role"`
	Content string  `json:"content"`
	Refusal *string `json:"refusal"` // always null
}

// usage counts the model calls of the whole turn, which may be many.
type usage struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Total      int64 `json:"total_tokens"`
	Details    struct {
		Cached int64 `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
}

func usageOf(u abi.Usage) *usage {
	out := usage{Prompt: u.InputTokens, Completion: u.OutputTokens, Total: u.InputTokens + u.OutputTokens}
	out.Details.Cached = u.CacheReadTokens
	return &out
}

// complete answers a chat completion with one turn of the agent.
func (h *handlers) complete(w http.ResponseWriter, r *http.Request) error {
	q, in, err := h.invocation(r)
	if err != nil {
		return err
	}
	turn, err := h.Sessions.Invoke(context.WithoutCancel(r.Context()), in)
	if err != nil {
		return aboutSession(in, err)
	}
	w.Header().Set("X-Session-Id", turn.Session)
	if q.Stream {
		final(w)
		return h.stream(w, r, q, turn)
	}
	return h.whole(r.Context(), w, in.Caller, turn)
}

// aboutSession names the field that is wrong when a session is not found; that the
// agent exists is known.
func aboutSession(in host.Invocation, err error) error {
	e, ok := errors.AsType[*host.Error](err)
	if ok && e.Code == host.ErrNotFound && in.Session != "" {
		return &api.FieldError{Field: "metadata." + sessionKey, Err: e}
	}
	return err
}

// whole waits for the turn and answers with all of it. A turn that is suspended
// is answered too, with the words of what it waits for: there is nothing else that
// a chat client would show.
func (h *handlers) whole(ctx context.Context, w http.ResponseWriter, c host.Caller, turn host.Turn) error {
	ctx, cancel := api.Serving(ctx, h.Wait)
	defer cancel()
	now, err := h.Sessions.Await(ctx, c, turn.Session, turn.Number)
	switch {
	case err != nil && ctx.Err() != nil:
		return writeFailure(w, http.StatusFailedDependency, unfinished(turn))
	case err != nil:
		final(w)
		return err
	}
	if status, f := turnFailure(now); f != nil {
		return writeFailure(w, status, f)
	}
	status, text := http.StatusOK, abi.TextOf(now.Content)
	if !now.Status.Over() {
		status, text = http.StatusAccepted, waiting(now)
		w.Header().Set("Location", fmt.Sprintf("/v1/sessions/%s/turns/%d", now.Session, now.Number))
	}
	out := h.completion("chat.completion", now)
	out.Choices = []any{choice{Message: reply{Role: "assistant", Content: text}, FinishReason: "stop"}}
	out.Usage, out.Metadata = usageOf(now.Usage), metadata(now)
	return api.WriteJSON(w, status, out)
}

// completion begins a completion or chunk of the turn.
func (h *handlers) completion(object string, t host.Turn) completion {
	return completion{
		ID:      fmt.Sprintf("chatcmpl-%s-%d", t.Session, t.Number),
		Object:  object,
		Created: h.Now().Unix(),
		Model:   t.Agent,
	}
}

// waiting is what a chat client shows of a suspended turn.
func waiting(t host.Turn) string { return "Waiting for " + strings.Join(api.WaitsFor(t), ", ") + "." }

// metadata tells where the turn is: session_id in the next request continues the
// session.
func metadata(t host.Turn) map[string]string {
	m := map[string]string{sessionKey: t.Session, "turn": strconv.Itoa(t.Number), "status": string(t.Status)}
	if w := api.WaitsFor(t); len(w) > 0 {
		m["waits_for"] = strings.Join(w, ", ")
	}
	return m
}
