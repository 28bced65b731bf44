package openai

import (
	"encoding/base64"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/model/wire"
)

type object map[string]any

// message is a message of the dialect.
type message struct {
	Role       string     `json:"role"`
	Content    any        `json:"content,omitempty"` // a string, or parts
	ToolCalls  []toolCall `json:"tool_calls,omitempty"`
	ToolCallID string     `json:"tool_call_id,omitempty"`
}

type toolCall struct {
	ID       string   `json:"id"`
	Type     string   `json:"type"`
	Function function `json:"function"`
}

type function struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

func (p *Provider) encode(r wire.Request, names wire.Names, stream bool) (object, error) {
	messages, err := encodeMessages(r.Messages, names)
	if err != nil {
		return nil, err
	}
	body := object{"model": p.model, "messages": messages}
	if len(r.Tools) > 0 {
		body["tools"] = encodeTools(r.Tools, names)
		if choice := encodeChoice(r.ToolChoice, names); choice != nil {
			body["tool_choice"] = choice
		}
	}
	if n := r.Limit(p.limit); n > 0 {
		body[p.param] = n
	}
	if r.Temperature != nil {
		body["temperature"] = *r.Temperature
	}
	if stream {
		body["stream"] = true
		body["stream_options"] = object{"include_usage": true}
	}
	return body, nil
}

func encodeTools(tools []abi.Tool, names wire.Names) []object {
	out := make([]object, len(tools))
	for i, t := range tools {
		f := object{"name": names.Out(t.Name), "parameters": wire.Schema(t.InputSchema)}
		if t.Description != "" {
			f["description"] = t.Description
		}
		out[i] = object{"type": "function", "function": f}
	}
	return out
}

// encodeChoice returns nil for the default, which some servers do not know by name.
func encodeChoice(choice string, names wire.Names) any {
	switch choice {
	case "", wire.ChoiceAuto:
		return nil
	case wire.ChoiceNone, wire.ChoiceRequired:
		return choice
	default:
		return object{"type": "function", "function": object{"name": names.Out(choice)}}
	}
}

// encodeMessages keeps the order of the conversation. Images that tools returned
// follow in a message of the user after all results of the same turn, because a
// tool message can hold text only.
func encodeMessages(in []abi.Message, names wire.Names) ([]message, error) {
	var out []message
	var shown []object
	flush := func() {
		if len(shown) > 0 {
			out = append(out, message{Role: "user", Content: shown})
			shown = nil
		}
	}
	for _, m := range in {
		if m.Role != abi.RoleTool {
			flush()
		}
		encoded, err := encodeMessage(m, names)
		if err != nil {
			return nil, err
		}
		out = append(out, encoded)
		if m.Role == abi.RoleTool {
			shown = append(shown, toolImages(m)...)
		}
	}
	flush()
	return out, nil
}

// encodeMessage leaves the content of an assistant out where there are only calls:
// some servers refuse an empty one.
func encodeMessage(m abi.Message, names wire.Names) (message, error) {
	out := message{Role: string(m.Role)}
	switch m.Role {
	case abi.RoleSystem:
		out.Content = wire.PartsText(m.Content, false)
	case abi.RoleUser:
		out.Content = encodeParts(m.Content)
	case abi.RoleAssistant:
		if text := wire.PartsText(m.Content, false); text != "" || len(m.ToolCalls) == 0 {
			out.Content = text
		}
		for _, c := range m.ToolCalls {
			out.ToolCalls = append(out.ToolCalls, encodeCall(c, names))
		}
	case abi.RoleTool:
		out.ToolCallID, out.Content = m.ToolCallID, toolText(m)
	default:
		return out, &wire.Fault{Message: "a message has the unknown role " + string(m.Role)}
	}
	return out, nil
}

func encodeCall(c abi.ToolCall, names wire.Names) toolCall {
	args := string(c.Arguments)
	if strings.TrimSpace(args) == "" {
		args = "{}"
	}
	return toolCall{ID: c.ID, Type: "function", Function: function{Name: names.Out(c.Name), Arguments: args}}
}

// toolText marks failures in the text, since the dialect has no field for them.
func toolText(m abi.Message) string {
	text := wire.PartsText(m.Content, true)
	if m.IsError {
		return "Error: " + text
	}
	return text
}

// toolImages returns the images of a result, each under a line that says whose it is.
func toolImages(m abi.Message) []object {
	var out []object
	for _, c := range m.Content {
		if c.Type == "image" {
			out = append(out, textPart("Returned by the tool call "+m.ToolCallID+":"), encodePart(c))
		}
	}
	return out
}

// encodeParts uses the plain string where there is only text: some servers know
// no other form.
func encodeParts(parts []abi.Content) any {
	out := make([]object, 0, len(parts))
	plain := true
	for _, c := range parts {
		part := encodePart(c)
		plain = plain && part["type"] == "text"
		out = append(out, part)
	}
	if plain {
		return wire.PartsText(parts, false)
	}
	return out
}

// encodePart never sends an image as an address: the provider would fetch it, past
// all policies.
func encodePart(c abi.Content) object {
	data := base64.StdEncoding.EncodeToString(c.Data)
	switch {
	case c.Type == "image" && data != "":
		return object{"type": "image_url", "image_url": object{"url": "data:" + c.MimeType + ";base64," + data}}
	case c.Type == "audio" && data != "":
		return object{"type": "input_audio", "input_audio": object{"data": data, "format": audioFormat(c.MimeType)}}
	default:
		return textPart(wire.PartText(c))
	}
}

func textPart(text string) object { return object{"type": "text", "text": text} }

func audioFormat(mime string) string {
	switch mime {
	case "audio/mpeg", "audio/mp3":
		return "mp3"
	default:
		return "wav"
	}
}
