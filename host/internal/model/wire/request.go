package wire

import (
	"bytes"
	"encoding/json"

	"github.com/vespiary/vespiary/abi"
)

// Values of Request.ToolChoice; any other value is the name of the tool to call.
const (
	ChoiceAuto     = "auto"     // the model decides; the same as ""
	ChoiceNone     = "none"     // the model must not call a tool
	ChoiceRequired = "required" // the model must call some tool
)

// Request asks a provider for the next message of a conversation. The model is
// the provider's own; whether to stream is the caller's delta function.
type Request struct {
	Messages    []abi.Message
	Tools       []abi.Tool
	ToolChoice  string   // ChoiceAuto, ChoiceNone, ChoiceRequired or a tool's name
	MaxTokens   int      // the longest answer in tokens; 0 means the configured one
	Temperature *float64 // nil means the provider's own
}

// Limit returns the longest answer in tokens under a configured ceiling. Zero on
// either side means no limit of that side.
func (r Request) Limit(ceiling int) int {
	switch {
	case r.MaxTokens <= 0:
		return max(ceiling, 0)
	case ceiling <= 0:
		return r.MaxTokens
	default:
		return min(r.MaxTokens, ceiling)
	}
}

// PartText renders a content part that a dialect has no own form for as text: a
// resource with its address, a link, or a note that something was left out.
func PartText(c abi.Content) string {
	switch {
	case c.Type == "text":
		return c.Text
	case c.Type == "resource" && c.Resource != nil && c.Resource.Text != "":
		return c.Resource.URI + ":\n" + c.Resource.Text
	case c.Type == "resource" && c.Resource != nil:
		return "[" + c.Resource.MimeType + " resource, not shown: " + c.Resource.URI + "]"
	case c.Type == "resource_link":
		return "[" + c.Name + "](" + c.URI + ")"
	default:
		return "[" + c.Type + " " + c.MimeType + ", not shown]"
	}
}

// PartsText joins the text of all parts with newlines, images aside when
// withoutImages says that the caller sends those in another way.
func PartsText(parts []abi.Content, withoutImages bool) string {
	var out string
	for _, c := range parts {
		if c.Type == "image" && withoutImages {
			continue
		}
		text := PartText(c)
		if out != "" && text != "" {
			out += "\n"
		}
		out += text
	}
	return out
}

// Schema returns a tool's input schema, or that of a tool without arguments
// where there is none.
func Schema(raw json.RawMessage) json.RawMessage {
	if len(bytes.TrimSpace(raw)) == 0 {
		return json.RawMessage(`{"type":"object","properties":{}}`)
	}
	return raw
}
