package abi

// Content is one content part, in the shape of a content block of the Model
// Context Protocol: Type is text, image, audio, resource_link or resource, and
// decides which other fields are set.
type Content struct {
	Type     string    `json:"type"`
	Text     string    `json:"text,omitempty"`
	Data     []byte    `json:"data,omitempty"` // image and audio; base64 in JSON
	MimeType string    `json:"mimeType,omitempty"`
	URI      string    `json:"uri,omitempty"`
	Name     string    `json:"name,omitempty"`
	Resource *Resource `json:"resource,omitempty"`
}

// Resource is an embedded resource: Text or Blob holds its contents.
type Resource struct {
	URI      string `json:"uri"`
	MimeType string `json:"mimeType,omitempty"`
	Text     string `json:"text,omitempty"`
	Blob     []byte `json:"blob,omitempty"` // base64 in JSON
}

// Text returns a text part.
func Text(s string) Content { return Content{Type: "text", Text: s} }

// TextOf joins the text parts of content with newlines and leaves the others out.
func TextOf(content []Content) string {
	var out string
	for _, c := range content {
		if c.Type != "text" || c.Text == "" {
			continue
		}
		if out != "" {
			out += "\n"
		}
		out += c.Text
	}
	return out
}
