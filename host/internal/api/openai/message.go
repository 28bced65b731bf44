package openai

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/api"
)

// message is a message of a request. Content is a text, a list of parts or null.
type message struct {
	Role       string          `json:"role"`
	Content    json.RawMessage `json:"content"`
	Refusal    string          `json:"refusal"`
	ToolCallID string          `json:"tool_call_id"`
	ToolCalls  []struct {
		ID       string `json:"id"`
		Function struct {
			Name      string `json:"name"`
			Arguments string `json:"arguments"`
		} `json:"function"`
	} `json:"tool_calls"`
}

// convert returns the message as agents see it; at is its place in the request.
func (m *message) convert(at string) (abi.Message, error) {
	out := abi.Message{ToolCallID: m.ToolCallID}
	switch m.Role {
	case "system", "developer":
		out.Role = abi.RoleSystem
	case "user", "assistant", "tool":
		out.Role = abi.Role(m.Role)
	default:
		return out, api.Invalid(at+".role", "%s.role is %q; use system, developer, user, assistant or tool", at, m.Role)
	}
	content, err := convertContent(m.Content, at+".content")
	if err != nil {
		return out, err
	}
	if m.Refusal != "" {
		content = append(content, abi.Text(m.Refusal))
	}
	out.Content = content
	out.ToolCalls, err = m.toolCalls(at)
	return out, err
}

// toolCalls keeps the calls that another model made earlier in the conversation.
func (m *message) toolCalls(at string) ([]abi.ToolCall, error) {
	var out []abi.ToolCall
	for i, c := range m.ToolCalls {
		if !json.Valid([]byte(c.Function.Arguments)) {
			return nil, api.Invalid(fmt.Sprintf("%s.tool_calls[%d].function.arguments", at, i),
				"the arguments of %q are not JSON; send them as the model wrote them", c.Function.Name)
		}
		out = append(out, abi.ToolCall{ID: c.ID, Name: c.Function.Name, Arguments: json.RawMessage(c.Function.Arguments)})
	}
	return out, nil
}

// part is a content part of any type; Type decides which other field is set.
type part struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	Refusal  string `json:"refusal"`
	ImageURL *struct {
		URL string `json:"url"`
	} `json:"image_url"`
	InputAudio *struct {
		Data   []byte `json:"data"`
		Format string `json:"format"`
	} `json:"input_audio"`
	File *struct {
		FileData string `json:"file_data"`
		Filename string `json:"filename"`
	} `json:"file"`
}

// convertContent returns none for an absent, null or empty content, which an
// assistant's message with tool calls has.
func convertContent(raw json.RawMessage, at string) ([]abi.Content, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || raw[0] == 'n' { // absent or null
		return nil, nil
	}
	var text string
	if raw[0] == '"' {
		if err := json.Unmarshal(raw, &text); err != nil || text == "" {
			return nil, err
		}
		return []abi.Content{abi.Text(text)}, nil
	}
	var parts []part
	if err := json.Unmarshal(raw, &parts); err != nil {
		return nil, api.Invalid(at, "%s must be a text or a list of content parts", at)
	}
	out := make([]abi.Content, len(parts))
	for i := range parts {
		c, err := parts[i].convert(fmt.Sprintf("%s[%d]", at, i))
		if err != nil {
			return nil, err
		}
		out[i] = c
	}
	return out, nil
}

// convert returns the part in the shape that agents know, the Model Context
// Protocol's.
func (p *part) convert(at string) (abi.Content, error) {
	switch {
	case p.Type == "text":
		return abi.Text(p.Text), nil
	case p.Type == "refusal":
		return abi.Text(p.Refusal), nil
	case p.Type == "image_url" && p.ImageURL != nil:
		return p.image(at)
	case p.Type == "input_audio" && p.InputAudio != nil:
		return abi.Content{Type: "audio", Data: p.InputAudio.Data, MimeType: "audio/" + p.InputAudio.Format}, nil
	case p.Type == "file" && p.File != nil:
		return p.file(at)
	}
	return abi.Content{}, api.Invalid(at+".type",
		"%s is of type %q, or lacks the field of that name; use text, image_url, input_audio or file", at, p.Type)
}

// image returns an image that is in the request, or a link to one elsewhere: the
// host fetches nothing that an agent did not ask for.
func (p *part) image(at string) (abi.Content, error) {
	if strings.HasPrefix(p.ImageURL.URL, "https://") || strings.HasPrefix(p.ImageURL.URL, "http://") {
		return abi.Content{Type: "resource_link", URI: p.ImageURL.URL}, nil
	}
	mime, data, err := dataURL(p.ImageURL.URL)
	if err != nil {
		return abi.Content{}, api.Invalid(at+".image_url.url", "%s.image_url.url is neither an http address nor a base64 data URL", at)
	}
	return abi.Content{Type: "image", Data: data, MimeType: mime}, nil
}

// file embeds a file that is in the request. Its address is made up, because a
// resource must have one.
func (p *part) file(at string) (abi.Content, error) {
	mime, data, err := dataURL(p.File.FileData)
	if err != nil {
		return abi.Content{}, api.Invalid(at+".file.file_data", "%s.file.file_data is not a base64 data URL; this host keeps no uploads", at)
	}
	name := p.File.Filename
	if name == "" {
		name = "file"
	}
	return abi.Content{Type: "resource", Resource: &abi.Resource{URI: "attachment:" + name, MimeType: mime, Blob: data}}, nil
}

// dataURL decodes a base64 data URL (RFC 2397).
func dataURL(s string) (mime string, data []byte, err error) {
	head, body, ok := strings.Cut(s, ",")
	mime, isData := strings.CutPrefix(head, "data:")
	mime, isBase64 := strings.CutSuffix(mime, ";base64")
	if !ok || !isData || !isBase64 {
		return "", nil, fmt.Errorf("not a base64 data URL")
	}
	data, err = base64.StdEncoding.DecodeString(body)
	return mime, data, err
}
