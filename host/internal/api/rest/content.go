package rest

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/api"
)

// content is a text or a list of content parts.
type content []abi.Content

// UnmarshalJSON decodes strictly: the decoder around it does not pass that on.
func (c *content) UnmarshalJSON(b []byte) error {
	b = bytes.TrimSpace(b)
	switch b[0] {
	case 'n': // null
		return nil
	case '"':
		return c.text(b)
	case '[':
		return c.parts(b)
	}
	return api.Invalid("content", "content must be a text or a list of content parts")
}

// text takes an empty text for no content, which a message is then missing.
func (c *content) text(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if s != "" {
		*c = content{abi.Text(s)}
	}
	return nil
}

// parts decodes one part at a time, so that an error names the part by its index.
func (c *content) parts(b []byte) error {
	var raw []json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	out := make(content, len(raw))
	for i, r := range raw {
		at := fmt.Sprintf("content[%d]", i)
		if err := api.DecodePart(at, r, &out[i]); err != nil {
			return err
		}
		if err := check(out[i], at); err != nil {
			return err
		}
	}
	*c = out
	return nil
}

// check reports what a part of its type lacks.
func check(p abi.Content, at string) error {
	need := func(field string, ok bool) error {
		if ok {
			return nil
		}
		return api.Invalid(at+"."+field, "%s is of type %s and needs %s", at, p.Type, field)
	}
	switch p.Type {
	case "text":
		return need("text", p.Text != "")
	case "image", "audio":
		if err := need("data", len(p.Data) > 0); err != nil {
			return err
		}
		return need("mimeType", p.MimeType != "")
	case "resource_link":
		return need("uri", p.URI != "")
	case "resource":
		return need("resource", p.Resource != nil && p.Resource.URI != "")
	}
	return api.Invalid(at+".type", "%s.type is %q; use text, image, audio, resource_link or resource", at, p.Type)
}
