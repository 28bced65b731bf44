package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
)

// maxResult is how much of one tool's result the model is given, in bytes.
const maxResult = 64 << 10

// perform answers each of the model's tool calls with a message, several calls at
// the same time.
func (t *turn) perform(calls []abi.ToolCall) []abi.Message {
	c := t.limited()
	if len(calls) == 1 {
		return []abi.Message{t.call(c, calls[0])}
	}
	messages, errs := vespiary.All(c, calls, func(c *vespiary.Context, call abi.ToolCall) (abi.Message, error) {
		return t.call(c, call), nil
	})
	for i, err := range errs {
		if err != nil {
			messages[i] = failure(calls[i], vespiary.Explain(err))
		}
	}
	return messages
}

func (t *turn) call(c *vespiary.Context, call abi.ToolCall) abi.Message {
	if !slices.ContainsFunc(t.tools, func(tool abi.Tool) bool { return tool.Name == call.Name }) {
		return failure(call, fmt.Sprintf("not_found: there is no tool %q; there are: %s", call.Name, t.toolNames()))
	}
	arguments, ok := object(call.Arguments)
	if !ok {
		return failure(call, fmt.Sprintf("invalid: the arguments of %s must be a JSON object, not %s", call.Name, prefix(string(call.Arguments), 200)))
	}
	r, err := c.CallTool(call.Name, arguments)
	if err != nil {
		return failure(call, vespiary.Explain(err))
	}
	if len(r.Content) == 0 && len(r.StructuredContent) > 0 {
		r.Content = []abi.Content{abi.Text(string(r.StructuredContent))}
	}
	return abi.Message{Role: abi.RoleTool, ToolCallID: call.ID, Content: capped(r.Content, maxResult), IsError: r.IsError}
}

func (t *turn) toolNames() string {
	names := make([]string, len(t.tools))
	for i, tool := range t.tools {
		names[i] = tool.Name
	}
	return strings.Join(names, ", ")
}

func failure(call abi.ToolCall, why string) abi.Message {
	m := text(abi.RoleTool, why)
	m.ToolCallID, m.IsError = call.ID, true
	return m
}

// object returns a tool call's arguments if they are a JSON object; none are {}.
func object(arguments json.RawMessage) (json.RawMessage, bool) {
	trimmed := bytes.TrimSpace(arguments)
	if len(trimmed) == 0 || string(trimmed) == "null" {
		return json.RawMessage("{}"), true
	}
	return trimmed, trimmed[0] == '{' && json.Valid(trimmed)
}

// wellFormed returns the calls as they are recorded: with an object for
// arguments, as every provider wants to see them again.
func wellFormed(calls []abi.ToolCall) []abi.ToolCall {
	out := slices.Clone(calls)
	for i := range out {
		arguments, ok := object(out[i].Arguments)
		if !ok {
			arguments = json.RawMessage("{}")
		}
		out[i].Arguments = arguments
	}
	return out
}

// capped cuts content to limit bytes and says so.
func capped(content []abi.Content, limit int) []abi.Content {
	var out []abi.Content
	total, kept := 0, 0
	for _, part := range content {
		n := sizeOf(part)
		total += n
		if n > limit-kept {
			if part.Type != "text" {
				continue
			}
			part.Text = prefix(part.Text, limit-kept)
			n = len(part.Text)
		}
		kept += n
		if n > 0 || part.Type != "text" {
			out = append(out, part)
		}
	}
	if kept < total {
		out = append(out, abi.Text(fmt.Sprintf("[cut: this is %d of %d bytes of the result; ask for less to see the rest]", kept, total)))
	}
	return out
}

// prefix is the longest whole-character prefix of s in n bytes.
func prefix(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
