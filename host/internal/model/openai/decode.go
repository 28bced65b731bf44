package openai

import (
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/model/wire"
)

// completion is an answer, or one chunk of a streamed one.
type completion struct {
	Model   string   `json:"model"`
	Choices []choice `json:"choices"`
	Usage   *usage   `json:"usage"`
}

type choice struct {
	Index        int    `json:"index"`
	Message      part   `json:"message"`
	Delta        part   `json:"delta"`
	FinishReason string `json:"finish_reason"`
}

// part is a message or a piece of one.
type part struct {
	Content   flexText   `json:"content"`
	Refusal   flexText   `json:"refusal"`
	ToolCalls []callPart `json:"tool_calls"`
}

type callPart struct {
	Index    *int   `json:"index"`
	ID       string `json:"id"`
	Function struct {
		Name      string   `json:"name"`
		Arguments flexArgs `json:"arguments"`
	} `json:"function"`
}

type usage struct {
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	Details          struct {
		CachedTokens int64 `json:"cached_tokens"`
	} `json:"prompt_tokens_details"`
	CacheHitTokens int64 `json:"prompt_cache_hit_tokens"` // DeepSeek's name for the same
}

// tokens returns nil for counts of zero, which servers send that do not count.
func (u *usage) tokens() *wire.Tokens {
	if u == nil || u.PromptTokens == 0 && u.CompletionTokens == 0 {
		return nil
	}
	return &wire.Tokens{
		Input: u.PromptTokens, Output: u.CompletionTokens,
		CacheRead: max(u.Details.CachedTokens, u.CacheHitTokens),
	}
}

// flexText is text that some servers send as a list of parts.
type flexText string

// UnmarshalJSON accepts a string, null, or parts with text.
func (t *flexText) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*t = flexText(s)
		return nil
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if err := json.Unmarshal(data, &parts); err != nil {
		return errors.New("content is neither text nor parts")
	}
	for _, p := range parts {
		*t += flexText(p.Text)
	}
	return nil
}

// flexArgs is the JSON text of arguments, which some servers send as an object.
type flexArgs string

// UnmarshalJSON accepts a string that holds JSON, or the JSON itself.
func (a *flexArgs) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) != nil {
		s = string(data)
	}
	*a = flexArgs(s)
	return nil
}

const endOfStream = "[DONE]"

// readStream reads chunks until the stream says that it is done. A stream that
// ends without saying so, or without a finish reason, was cut.
func readStream(r io.Reader, deliver func(string) error) (wire.Reply, error) {
	var s assembler
	for ev, err := range wire.Events(r) {
		if err != nil {
			return wire.Reply{}, err
		}
		data := strings.TrimSpace(string(ev.Data))
		if data == endOfStream {
			return s.reply(), nil
		}
		if err := s.chunk([]byte(data), deliver); err != nil {
			return wire.Reply{}, err
		}
	}
	if !s.finished {
		return wire.Reply{}, wire.Truncated()
	}
	return s.reply(), nil
}

// maxCalls bounds the tool calls of one message.
const maxCalls = 256

// assembler puts an answer together from its pieces. A whole answer is one piece.
type assembler struct {
	model    string
	text     strings.Builder
	refusal  strings.Builder
	calls    []*pendingCall
	finish   abi.Finish
	finished bool
	usage    *usage
}

// pendingCall is a tool call whose arguments are still coming in.
type pendingCall struct {
	index    int
	id, name string
	args     strings.Builder
}

// chunk takes one event of a stream. Events without a choice carry the usage.
func (s *assembler) chunk(data []byte, deliver func(string) error) error {
	if len(data) == 0 {
		return nil
	}
	if fault := wire.ParseFault(data); fault != nil {
		return fault
	}
	var c completion
	if err := json.Unmarshal(data, &c); err != nil {
		return wire.Malformed("an event of the stream is not the JSON of this dialect: " + err.Error())
	}
	var p part
	if len(c.Choices) > 0 {
		p = c.Choices[0].Delta
	}
	return s.add(c, p, deliver)
}

// add takes one piece. Only the first choice counts: no more are asked for.
func (s *assembler) add(c completion, p part, deliver func(string) error) error {
	if c.Model != "" {
		s.model = c.Model
	}
	if c.Usage != nil {
		s.usage = c.Usage
	}
	if len(c.Choices) == 0 || c.Choices[0].Index != 0 {
		return nil
	}
	s.stop(c.Choices[0].FinishReason)
	for _, call := range p.ToolCalls {
		if err := s.addCall(call); err != nil {
			return err
		}
	}
	s.text.WriteString(string(p.Content))
	s.refusal.WriteString(string(p.Refusal))
	if err := deliver(string(p.Content)); err != nil {
		return err
	}
	return deliver(string(p.Refusal))
}

// stop maps the reason to stop; unknown ones count as an end.
func (s *assembler) stop(reason string) {
	switch reason {
	case "":
		return
	case "length":
		s.finish = abi.FinishLength
	case "tool_calls", "function_call":
		s.finish = abi.FinishTools
	case "content_filter":
		s.finish = abi.FinishRefusal
	default:
		s.finish = abi.FinishStop
	}
	s.finished = true
}

// addCall takes a piece of a call. The first id and name stay: some servers repeat
// them, or send empty ones, with every piece.
func (s *assembler) addCall(p callPart) error {
	call := s.find(p)
	if call == nil {
		if len(s.calls) >= maxCalls {
			return wire.Malformed("the answer calls more than 256 tools")
		}
		call = &pendingCall{index: len(s.calls)}
		if p.Index != nil {
			call.index = *p.Index
		}
		s.calls = append(s.calls, call)
	}
	if call.id == "" {
		call.id = p.ID
	}
	if call.name == "" {
		call.name = p.Function.Name
	}
	call.args.WriteString(string(p.Function.Arguments))
	return nil
}

// find returns the call that a piece continues, nil if it begins one. Some
// servers send no index, or the index 0 for every call: a name that comes with
// another id, or without an index with none, then begins a new call.
func (s *assembler) find(p callPart) *pendingCall {
	named := p.Function.Name != ""
	for _, call := range slices.Backward(s.calls) {
		same := p.ID != "" && p.ID == call.id
		switch {
		case p.Index == nil && (same || !named):
			return call
		case p.Index == nil:
			return nil
		case call.index == *p.Index && (same || !named || p.ID == "" || call.id == ""):
			return call
		}
	}
	return nil
}

func (s *assembler) reply() wire.Reply {
	out := wire.Reply{
		Model: s.model, Text: s.text.String(), Refusal: s.refusal.String(),
		Finish: s.finish, Tokens: s.usage.tokens(),
	}
	for _, c := range s.calls {
		out.Calls = append(out.Calls, wire.Call{ID: c.id, Name: c.name, Args: c.args.String()})
	}
	return out
}
