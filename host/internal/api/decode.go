package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/vespiary/vespiary/host"
)

// Decode reads the request's body, one JSON object, into v and returns its bytes.
// With strict, a field that v does not have is an error that names it.
func Decode(r *http.Request, v any, strict bool) ([]byte, error) {
	if err := jsonMedia(r.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	return body, decode(body, v, strict)
}

// DecodeOptional is a strict Decode for a request that may have no body at all: v then
// stays as it is.
func DecodeOptional(r *http.Request, v any) error {
	in := bufio.NewReader(r.Body)
	if _, err := in.Peek(1); errors.Is(err, io.EOF) {
		return nil
	}
	r.Body = io.NopCloser(in)
	_, err := Decode(r, v, true)
	return err
}

// jsonMedia refuses a media type that is not JSON; none at all is taken for JSON.
func jsonMedia(contentType string) error {
	if contentType == "" {
		return nil
	}
	mt, _, err := mime.ParseMediaType(contentType)
	if err == nil && (mt == "application/json" || strings.HasSuffix(mt, "+json")) {
		return nil
	}
	return host.Errorf(codeMediaType, "the body has the media type %q; send application/json", contentType)
}

// DecodePart decodes a part of a body that a type decodes itself, strictly. at is
// the part's name in errors, such as "content[1]".
func DecodePart(at string, part []byte, v any) error {
	return within(at, decode(part, v, true))
}

// decode refuses what the decoder would let pass: invalid UTF-8, which it replaces,
// and what follows the first value.
func decode(body []byte, v any, strict bool) error {
	if !utf8.Valid(body) {
		return host.Errorf(host.ErrInvalid, "the body is not UTF-8; send JSON in UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if strict {
		dec.DisallowUnknownFields()
	}
	if err := dec.Decode(v); err != nil {
		return explain(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return host.Errorf(host.ErrInvalid, "the body holds more than one JSON value; send one object")
	}
	return nil
}

// explain says what is wrong with a body in the words of the API, not of Go.
func explain(err error) error {
	if _, ok := errors.AsType[*host.Error](err); ok {
		return err // of a type that decodes itself
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return wrongType(e)
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		field = strings.Trim(field, `"`)
		return Invalid(field, "the field %q does not exist here; /openapi.json lists those that do", field)
	}
	if e, ok := errors.AsType[*time.ParseError](err); ok {
		return host.Errorf(host.ErrInvalid, "the body holds the time %q; write times like 2030-01-02T03:04:05Z", e.Value)
	}
	if errors.Is(err, io.EOF) {
		return host.Errorf(host.ErrInvalid, "the body is empty; send a JSON object")
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return host.Errorf(host.ErrInvalid, "the body ends in the middle of its JSON; send it whole")
	}
	return host.Errorf(host.ErrInvalid, "the body is not JSON: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// wrongType names the field by its path in the document.
func wrongType(e *json.UnmarshalTypeError) error {
	if e.Field == "" {
		return host.Errorf(host.ErrInvalid, "the body is a JSON %s; send an object", e.Value)
	}
	return Invalid(e.Field, "%s must not be a JSON %s; /openapi.json says what it is", e.Field, e.Value)
}

// within puts the name of what surrounds it before the field that err is about.
func within(outer string, err error) error {
	e, ok := errors.AsType[*host.Error](err)
	if !ok {
		return err
	}
	field := outer
	if f, ok := errors.AsType[*FieldError](err); ok {
		field += "." + f.Field
	}
	return &FieldError{field, &host.Error{Code: e.Code, Message: outer + ": " + e.Message}}
}
