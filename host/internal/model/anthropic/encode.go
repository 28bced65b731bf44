package anthropic

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/model/wire"
)

type object map[string]any

// turn is a message of the dialect, which knows the roles user and assistant only.
type turn struct {
	Role    string   `json:"role"`
	Content []object `json:"content"`
}

func (p *Provider) encode(r wire.Request, names wire.Names, stream bool) (object, error) {
	system, turns, err := encodeMessages(r.Messages, names)
	if err != nil {
		return nil, err
	}
	limit := r.Limit(p.limit)
	if limit == 0 {
		limit = defaultMaxTokens
	}
	body := object{"model": p.model, "max_tokens": limit, "messages": turns}
	if len(r.Tools) > 0 {
		body["tools"] = encodeTools(r.Tools, names)
		if choice := encodeChoice(r.ToolChoice, names); choice != nil {
			body["tool_choice"] = choice
		}
	}
	if r.Temperature != nil {
		body["temperature"] = *r.Temperature
	}
	if stream {
		body["stream"] = true
	}
	if system != "" {
		body["system"] = []object{textBlock(system)}
	}
	if p.cache {
		markCache(body, turns)
	}
	return body, nil
}

// markCache puts one breakpoint after the system text, which is the same for all
// sessions of an agent, and one after the newest message, which the next request
// of this session begins with.
func markCache(body object, turns []turn) {
	mark := object{"type": "ephemeral"}
	if system, ok := body["system"].([]object); ok {
		system[0]["cache_control"] = mark
	}
	if len(turns) > 0 {
		content := turns[len(turns)-1].Content
		content[len(content)-1]["cache_control"] = mark
	}
}

func encodeTools(tools []abi.Tool, names wire.Names) []object {
	out := make([]object, len(tools))
	for i, t := range tools {
		out[i] = object{"name": names.Out(t.Name), "input_schema": wire.Schema(t.InputSchema)}
		if t.Description != "" {
			out[i]["description"] = t.Description
		}
	}
	return out
}

// encodeChoice returns nil for the default, so that the request stays small.
func encodeChoice(choice string, names wire.Names) any {
	switch choice {
	case "", wire.ChoiceAuto:
		return nil
	case wire.ChoiceNone:
		return object{"type": "none"}
	case wire.ChoiceRequired:
		return object{"type": "any"}
	default:
		return object{"type": "tool", "name": names.Out(choice)}
	}
}

// encodeMessages takes the system text out and joins neighbours of one role: all
// results of parallel calls have to stand in the one message of the user that
// follows the calls.
func encodeMessages(in []abi.Message, names wire.Names) (string, []turn, error) {
	var system []string
	var turns []turn
	for _, m := range in {
		if m.Role == abi.RoleSystem {
			system = append(system, wire.PartsText(m.Content, false))
			continue
		}
		role, blocks, err := encodeMessage(m, names)
		if err != nil {
			return "", nil, err
		}
		switch {
		case len(blocks) == 0: // the dialect refuses empty messages
		case len(turns) > 0 && turns[len(turns)-1].Role == role:
			turns[len(turns)-1].Content = append(turns[len(turns)-1].Content, blocks...)
		default:
			turns = append(turns, turn{role, blocks})
		}
	}
	return strings.Join(system, "\n\n"), turns, nil
}

// encodeMessage returns the role and the blocks of one message; a tool's result is
// a block of the user.
func encodeMessage(m abi.Message, names wire.Names) (string, []object, error) {
	switch m.Role {
	case abi.RoleUser:
		return "user", encodeParts(m.Content), nil
	case abi.RoleTool:
		result := object{"type": "tool_result", "tool_use_id": m.ToolCallID}
		if blocks := encodeParts(m.Content); len(blocks) > 0 {
			result["content"] = blocks
		}
		if m.IsError {
			result["is_error"] = true
		}
		return "user", []object{result}, nil
	case abi.RoleAssistant:
		blocks := encodeParts(m.Content)
		for _, c := range m.ToolCalls {
			blocks = append(blocks, encodeCall(c, names))
		}
		return "assistant", blocks, nil
	default:
		return "", nil, &wire.Fault{Message: "a message has the unknown role " + string(m.Role)}
	}
}

func encodeCall(c abi.ToolCall, names wire.Names) object {
	args := c.Arguments
	if len(bytes.TrimSpace(args)) == 0 {
		args = json.RawMessage("{}")
	}
	return object{"type": "tool_use", "id": c.ID, "name": names.Out(c.Name), "input": args}
}

// encodeParts leaves empty text out, which the dialect refuses, and sends no image
// as an address, which the provider would fetch past all policies.
func encodeParts(parts []abi.Content) []object {
	var out []object
	for _, c := range parts {
		if c.Type == "image" && len(c.Data) > 0 {
			source := object{"type": "base64", "media_type": c.MimeType, "data": c.Data}
			out = append(out, object{"type": "image", "source": source})
		} else if text := wire.PartText(c); strings.TrimSpace(text) != "" {
			out = append(out, textBlock(text))
		}
	}
	return out
}

func textBlock(text string) object { return object{"type": "text", "text": text} }
