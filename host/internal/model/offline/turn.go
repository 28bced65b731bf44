package offline

import (
	"bytes"
	"encoding/json"

	"github.com/vespiary/vespiary/abi"
)

// turn is the last question and what was done about it since.
type turn struct {
	question string
	calls    []*outcome // since the question
	earlier  []*outcome // before it
	rounds   int        // how often tools were called since the question
}

// outcome is a call that was made, with what came back.
type outcome struct {
	invocation
	parts  []string
	failed bool
}

// readTurn finds the last message of the user that has text, and pairs the calls
// since then with their results by id.
func readTurn(messages []abi.Message) turn {
	var t turn
	byID := map[string]*outcome{}
	for _, m := range messages {
		switch m.Role {
		case abi.RoleUser:
			if text := abi.TextOf(m.Content); text != "" {
				t.question, t.rounds = text, 0
				t.earlier, t.calls = append(t.earlier, t.calls...), nil
			}
		case abi.RoleAssistant:
			t.record(m.ToolCalls, byID)
		case abi.RoleTool:
			if o := byID[m.ToolCallID]; o != nil {
				o.parts, o.failed = texts(m.Content), m.IsError
			}
		}
	}
	return t
}

// record keeps numbers as they were written, so that arguments compare equal to
// those that are computed again.
func (t *turn) record(calls []abi.ToolCall, byID map[string]*outcome) {
	if len(calls) > 0 {
		t.rounds++
	}
	for _, c := range calls {
		o := &outcome{invocation: invocation{tool: c.Name}}
		d := json.NewDecoder(bytes.NewReader(c.Arguments))
		d.UseNumber()
		_ = d.Decode(&o.args)
		if o.args == nil {
			o.args = map[string]any{}
		}
		byID[c.ID] = o
		t.calls = append(t.calls, o)
	}
}

func texts(parts []abi.Content) []string {
	var out []string
	for _, c := range parts {
		switch {
		case c.Type == "text":
			out = append(out, c.Text)
		case c.Resource != nil && c.Resource.Text != "":
			out = append(out, c.Resource.Text)
		}
	}
	return out
}

// made returns the outcome of a call that was made in this turn.
func (t turn) made(c invocation) *outcome {
	for _, o := range t.calls {
		if o.same(c) {
			return o
		}
	}
	return nil
}

// ofTool returns the outcomes of a tool in this turn.
func (t turn) ofTool(name string) []*outcome {
	var out []*outcome
	for _, o := range t.calls {
		if o.tool == name {
			out = append(out, o)
		}
	}
	return out
}
