package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/vespiary/vespiary/host"
)

// Codes that only the edge knows.
const (
	codeTooLarge    host.ErrorCode = "too_large"
	codeMediaType   host.ErrorCode = "unsupported_media_type"
	codeMethod      host.ErrorCode = "method_not_allowed"
	codeTimeout     host.ErrorCode = "timeout"
	codeMisdirected host.ErrorCode = "misdirected"
	codeStale       host.ErrorCode = "stale"
	codeGone        host.ErrorCode = "gone" // for the log: nobody is left to read it
)

// statuses is the one mapping from error codes to HTTP.
var statuses = map[host.ErrorCode]struct {
	status int
	title  string
}{
	host.ErrInvalid:      {http.StatusBadRequest, "The request is not valid"},
	host.ErrUnauthorized: {http.StatusUnauthorized, "A valid API key is needed"},
	host.ErrForbidden:    {http.StatusForbidden, "This caller may not do this"},
	host.ErrNotFound:     {http.StatusNotFound, "There is no such thing"},
	host.ErrConflict:     {http.StatusConflict, "The request conflicts with what is there"},
	host.ErrTooMany:      {http.StatusTooManyRequests, "Too many requests"},
	host.ErrFull:         {http.StatusInsufficientStorage, "The host has no space left"},
	host.ErrUnavailable:  {http.StatusServiceUnavailable, "The host is not available"},
	host.ErrInternal:     {http.StatusInternalServerError, "The host failed"},
	codeTooLarge:         {http.StatusRequestEntityTooLarge, "The request body is too large"},
	codeMediaType:        {http.StatusUnsupportedMediaType, "The media type is not supported"},
	codeMethod:           {http.StatusMethodNotAllowed, "The method is not allowed here"},
	codeTimeout:          {http.StatusRequestTimeout, "The request took too long to arrive"},
	codeMisdirected:      {http.StatusMisdirectedRequest, "The request is for another host"},
	codeStale:            {http.StatusPreconditionFailed, "It was changed meanwhile"},
	codeGone:             {499, "The client went away"},
}

// Problem is an error as a client sees it: problem details of RFC 9457. Instance
// is the request's id; Field names the part of the request that is wrong, and Problems
// all faults of policies that are not valid.
type Problem struct {
	Type       string              `json:"type"`
	Title      string              `json:"title"`
	Status     int                 `json:"status"`
	Detail     string              `json:"detail"`
	Instance   string              `json:"instance,omitempty"`
	Code       host.ErrorCode      `json:"code"`
	Field      string              `json:"field,omitempty"`
	Problems   host.PolicyProblems `json:"problems,omitempty"`
	RetryAfter time.Duration       `json:"-"` // 0: the client is not told when
}

// FieldError tells what part of a request an error is about, such as
// "content[1].type".
type FieldError struct {
	Field string
	Err   *host.Error
}

// Error implements error.
func (e *FieldError) Error() string { return e.Err.Error() }

// Unwrap returns the error.
func (e *FieldError) Unwrap() error { return e.Err }

// Invalid returns a FieldError with host.ErrInvalid.
func Invalid(field, format string, args ...any) error {
	return &FieldError{field, host.Errorf(host.ErrInvalid, format, args...)}
}

// Stale is the answer to a change of what is not any more as the client saw it (RFC 9110
// section 13.1.1).
func Stale(err error) error {
	e, ok := errors.AsType[*host.Error](err)
	if !ok {
		return err
	}
	return &host.Error{Code: codeStale, Message: e.Message, Cause: e.Cause}
}

// retryError tells when to try again.
type retryError struct {
	cause *host.Error
	after time.Duration
}

func (e *retryError) Error() string { return e.cause.Error() }
func (e *retryError) Unwrap() error { return e.cause }

// problemOf describes err to the client of the request. What is not a *host.Error
// is for the log alone.
func problemOf(ctx context.Context, err error) Problem {
	e := public(ctx, err)
	s, ok := statuses[e.Code]
	if !ok {
		s = statuses[host.ErrInternal]
	}
	p := Problem{
		Type:     "urn:vespiary:problem:" + string(e.Code),
		Title:    s.title,
		Status:   s.status,
		Detail:   e.Message,
		Instance: requestIDOf(ctx),
		Code:     e.Code,
	}
	if f, ok := errors.AsType[*FieldError](err); ok {
		p.Field = f.Field
	}
	if list, ok := errors.AsType[host.PolicyProblems](err); ok {
		p.Problems = list
	}
	p.RetryAfter = retryAfter(err, p.Status)
	return p
}

// retryAfter returns a second where nothing better is known: a client that is told
// nothing often tries again at once.
func retryAfter(err error, status int) time.Duration {
	if r, ok := errors.AsType[*retryError](err); ok {
		return r.after
	}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		return time.Second
	}
	return 0
}

// public returns the part of err that a client may see.
func public(ctx context.Context, err error) *host.Error {
	if e, ok := errors.AsType[*host.Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*echo.HTTPError](err); ok {
		return routing(e.Code)
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return host.Errorf(codeGone, "the client went away before the answer")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return host.Errorf(host.ErrUnavailable, "the host did not answer in time; try again")
	}
	return host.Errorf(host.ErrInternal, "the host failed; its log tells why under request %s", requestIDOf(ctx))
}

// routing describes the router's own errors.
func routing(status int) *host.Error {
	switch status {
	case http.StatusNotFound:
		return host.Errorf(host.ErrNotFound, "no such path; /openapi.json lists them")
	case http.StatusMethodNotAllowed:
		return host.Errorf(codeMethod, "this path has no such method; the Allow header lists them")
	}
	return host.Errorf(host.ErrInternal, "the router failed with %d", status)
}

// writeProblem writes p as application/problem+json.
func writeProblem(w http.ResponseWriter, p Problem) {
	p.headers(w.Header())
	_ = writeAs(w, "application/problem+json", p.Status, p) // it holds nothing that JSON does not
}

// headers sets the headers that belong to an error whatever its dialect.
func (p *Problem) headers(h http.Header) {
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds()))))
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="vespiary"`)
	}
}

// fail is the router's error handler: the only place where an error becomes a
// response.
func (s *Server) fail(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	p := problemOf(c.Request().Context(), err)
	p.headers(c.Response().Header())
	if t := s.route(c); t != nil && t.Fail != nil {
		t.Fail(c.Response(), p)
		return
	}
	writeProblem(c.Response(), p)
}

// WriteJSON writes v as the answer. It returns an error, and writes nothing, when
// v has no JSON form; a connection that breaks leaves nobody to tell.
func WriteJSON(w http.ResponseWriter, status int, v any) error {
	return writeAs(w, "application/json", status, v)
}

func writeAs(w http.ResponseWriter, mediaType string, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
	return nil
}
