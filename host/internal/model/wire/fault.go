package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"unicode"
)

// Kinds of faults that are found on this side of the wire.
const (
	kindTruncated = "truncated"
	kindMalformed = "malformed"
)

// Fault is what went wrong with a call as the server, or the reader of its
// answer, says it. Providers return it from the function that reads an answer.
type Fault struct {
	Status  int    // of HTTP; 0 for an error inside a stream
	Kind    string // the server's code or type, such as overloaded_error
	Message string
}

// Error implements error.
func (f *Fault) Error() string {
	var parts []string
	if f.Status != 0 {
		parts = append(parts, "HTTP "+strconv.Itoa(f.Status))
	}
	if f.Kind != "" && f.Kind != kindTruncated && f.Kind != kindMalformed {
		parts = append(parts, f.Kind)
	}
	if f.Message != "" {
		parts = append(parts, f.Message)
	}
	return strings.Join(parts, ": ")
}

// Truncated is the fault of a stream that ended before it said so.
func Truncated() *Fault {
	return &Fault{Kind: kindTruncated, Message: "the stream ended before the answer was complete"}
}

// Malformed is the fault of an answer that does not have the dialect's form.
func Malformed(what string) *Fault { return &Fault{Kind: kindMalformed, Message: what} }

// ParseFault reads the error object of a body or an event in the forms that
// servers use: {"error": {"message", "type", "code"}}, {"error": "…"},
// {"object": "error", "message"}, {"detail": …} and {"message": …}. It returns
// nil where there is none.
func ParseFault(data []byte) *Fault {
	var body struct {
		Object  string          `json:"object"`
		Type    json.RawMessage `json:"type"`
		Error   json.RawMessage `json:"error"`
		Message json.RawMessage `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(data, &body) != nil {
		return nil
	}
	switch {
	case present(body.Error):
		return parseErrorField(body.Error)
	case body.Object == "error":
		return &Fault{Kind: plain(body.Type), Message: plain(body.Message)}
	case present(body.Detail):
		return &Fault{Message: plain(body.Detail)}
	default:
		return nil
	}
}

// parseErrorField prefers the code to the type, being the more precise of the two,
// unless the code is an HTTP status.
func parseErrorField(data json.RawMessage) *Fault {
	var e struct {
		Message json.RawMessage `json:"message"`
		Type    json.RawMessage `json:"type"`
		Code    json.RawMessage `json:"code"`
	}
	if json.Unmarshal(data, &e) != nil {
		return &Fault{Message: plain(data)}
	}
	f := &Fault{Kind: plain(e.Type), Message: plain(e.Message)}
	code := plain(e.Code)
	if status, err := strconv.Atoi(code); err == nil {
		f.Status = status
	} else if code != "" {
		f.Kind = code
	}
	if f.Message == "" {
		f.Message = clean(string(data))
	}
	return f
}

func present(raw json.RawMessage) bool {
	return len(raw) > 0 && !bytes.Equal(raw, []byte("null"))
}

// plain returns a JSON string's value, or other JSON as it stands, as one line.
func plain(raw json.RawMessage) string {
	if !present(raw) {
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return clean(s)
	}
	return clean(string(raw))
}

// maxWords bounds what is repeated of a server's words.
const maxWords = 400

// clean makes a server's words fit into one line of an error message.
func clean(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " ")
	s = strings.ToValidUTF8(s, "")
	if len(s) > maxWords {
		s = strings.ToValidUTF8(s[:maxWords], "") + "…"
	}
	return s
}

// asFault returns the fault in err.
func asFault(err error) (*Fault, bool) { return errors.AsType[*Fault](err) }
