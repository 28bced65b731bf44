package anthropic

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/model/wire"
)

type message struct {
	Type       string  `json:"type"`
	Model      string  `json:"model"`
	Content    []block `json:"content"`
	StopReason string  `json:"stop_reason"`
	Usage      usage   `json:"usage"`
}

type block struct {
	Type  string          `json:"type"`
	Text  string          `json:"text"`
	ID    string          `json:"id"`
	Name  string          `json:"name"`
	Input json.RawMessage `json:"input"`
}

// usage counts the input in three parts that do not overlap. In a stream the
// counts grow from event to event, and an event may leave some out.
type usage struct {
	Input      *int64 `json:"input_tokens"`
	Output     *int64 `json:"output_tokens"`
	CacheRead  *int64 `json:"cache_read_input_tokens"`
	CacheWrite *int64 `json:"cache_creation_input_tokens"`
}

// update takes over the counts that an event has. They are totals, not additions.
func (u *usage) update(v usage) {
	for _, f := range []struct{ to, from **int64 }{
		{&u.Input, &v.Input},
		{&u.Output, &v.Output},
		{&u.CacheRead, &v.CacheRead},
		{&u.CacheWrite, &v.CacheWrite},
	} {
		if *f.from != nil {
			*f.to = *f.from
		}
	}
}

// tokens adds the three parts of the input up, because the abi counts what was
// read from the cache as a part of the input.
func (u usage) tokens() *wire.Tokens {
	if u.Input == nil && u.Output == nil {
		return nil
	}
	t := wire.Tokens{Output: count(u.Output), CacheRead: count(u.CacheRead), CacheWrite: count(u.CacheWrite)}
	t.Input = count(u.Input) + t.CacheRead + t.CacheWrite
	return &t
}

// count bounds what a server says, so that sums cannot overflow.
func count(n *int64) int64 {
	if n == nil {
		return 0
	}
	return min(max(*n, 0), 1<<40)
}

// event is any event of a stream; Type says which fields are set.
type event struct {
	Type         string  `json:"type"`
	Message      message `json:"message"`
	Index        int     `json:"index"`
	ContentBlock block   `json:"content_block"`
	Delta        struct {
		Type        string `json:"type"`
		Text        string `json:"text"`
		PartialJSON string `json:"partial_json"`
		StopReason  string `json:"stop_reason"`
	} `json:"delta"`
	Usage usage `json:"usage"`
}

// readStream reads events until message_stop. A stream that ends before was cut.
func readStream(r io.Reader, deliver func(string) error) (wire.Reply, error) {
	var s assembler
	for raw, err := range wire.Events(r) {
		if err != nil {
			return wire.Reply{}, err
		}
		var ev event
		if err := decode(raw, &ev); err != nil {
			return wire.Reply{}, err
		}
		if ev.Type == "message_stop" {
			return s.reply(), nil
		}
		if err := s.add(ev, deliver); err != nil {
			return wire.Reply{}, err
		}
	}
	return wire.Reply{}, wire.Truncated()
}

// decode finds an error before it looks at the type: some proxies put plain error
// objects into a stream.
func decode(raw wire.Event, ev *event) error {
	if fault := wire.ParseFault(raw.Data); fault != nil {
		return fault
	}
	if err := json.Unmarshal(raw.Data, ev); err != nil {
		return wire.Malformed("an event of the stream is not the JSON of this dialect: " + err.Error())
	}
	if ev.Type == "error" {
		return &wire.Fault{Kind: "api_error", Message: "the stream ended with an error that says nothing"}
	}
	return nil
}

// maxBlocks bounds the content blocks of one message.
const maxBlocks = 1024

// assembler puts a message together from the events of a stream. The blocks of a
// whole message are opened one by one and never grow.
type assembler struct {
	model   string
	text    strings.Builder
	calls   []*pendingCall
	growing map[int]*pendingCall
	blocks  int
	finish  abi.Finish
	usage   usage
}

// pendingCall is a tool call whose arguments are still coming in.
type pendingCall struct {
	id, name string
	initial  string // what the block opened with: {} in a stream
	args     strings.Builder
}

// add takes one event of a stream.
func (s *assembler) add(ev event, deliver func(string) error) error {
	switch ev.Type {
	case "message_start":
		s.start(ev.Message)
	case "content_block_start":
		if err := s.open(ev.ContentBlock, deliver); err != nil {
			return err
		}
		s.track(ev.Index, ev.ContentBlock)
	case "content_block_delta":
		return s.grow(ev, deliver)
	case "message_delta":
		s.stop(ev.Delta.StopReason)
		s.usage.update(ev.Usage)
	}
	return nil // ping, content_block_stop, and what later versions add
}

func (s *assembler) start(m message) {
	s.model = m.Model
	s.usage.update(m.Usage)
	s.stop(m.StopReason)
}

// open begins a block. Blocks of other types, such as thinking, are left out: the
// abi has no word for them.
func (s *assembler) open(b block, deliver func(string) error) error {
	if s.blocks++; s.blocks > maxBlocks {
		return wire.Malformed("the answer has more than 1024 blocks")
	}
	switch b.Type {
	case "text":
		s.text.WriteString(b.Text)
		return deliver(b.Text)
	case "tool_use":
		s.calls = append(s.calls, &pendingCall{id: b.ID, name: b.Name, initial: string(bytes.TrimSpace(b.Input))})
	}
	return nil
}

// track remembers which call the pieces of a block belong to: blocks are numbered
// by position, and text stands among them.
func (s *assembler) track(index int, b block) {
	if b.Type != "tool_use" {
		return
	}
	if s.growing == nil {
		s.growing = map[int]*pendingCall{}
	}
	s.growing[index] = s.calls[len(s.calls)-1]
}

// grow appends to a block. Arguments of a call that was never opened would be lost
// without notice, so they are a fault.
func (s *assembler) grow(ev event, deliver func(string) error) error {
	switch ev.Delta.Type {
	case "text_delta":
		s.text.WriteString(ev.Delta.Text)
		return deliver(ev.Delta.Text)
	case "input_json_delta":
		call, ok := s.growing[ev.Index]
		if !ok {
			return wire.Malformed("the stream continues a tool call that it did not begin")
		}
		call.args.WriteString(ev.Delta.PartialJSON)
	}
	return nil
}

// stop maps the reason to stop; unknown ones of later versions count as an end.
func (s *assembler) stop(reason string) {
	switch reason {
	case "":
	case "max_tokens", "model_context_window_exceeded":
		s.finish = abi.FinishLength
	case "tool_use":
		s.finish = abi.FinishTools
	case "refusal":
		s.finish = abi.FinishRefusal
	default:
		s.finish = abi.FinishStop
	}
}

func (s *assembler) reply() wire.Reply {
	out := wire.Reply{Model: s.model, Text: s.text.String(), Finish: s.finish, Tokens: s.usage.tokens()}
	for _, c := range s.calls {
		args := c.args.String()
		if args == "" {
			args = c.initial
		}
		out.Calls = append(out.Calls, wire.Call{ID: c.id, Name: c.name, Args: args})
	}
	return out
}
