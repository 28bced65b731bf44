package openai

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

// failure is OpenAI's form of an error.
type failure struct {
	Error failureBody `json:"error"`
}

// failureBody has all four fields always: the official clients read each of them.
type failureBody struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// newFailure describes a problem in the words that OpenAI's clients know.
func newFailure(p api.Problem) failure {
	f := failureBody{Message: p.Detail, Type: "invalid_request_error"}
	code := string(p.Code)
	switch {
	case p.Code == host.ErrUnauthorized:
		code = "invalid_api_key"
	case p.Code == host.ErrNotFound && p.Field == "model":
		code = "model_not_found"
	case p.Code == host.ErrTooMany:
		f.Type, code = "rate_limit_error", "rate_limit_exceeded"
	case p.Status >= http.StatusInternalServerError:
		f.Type = "server_error"
	}
	f.Code = &code
	if p.Field != "" {
		f.Param = &p.Field
	}
	return failure{f}
}

// writeError writes a problem of the server's or a route's, such as a missing key.
func writeError(w http.ResponseWriter, p api.Problem) {
	_ = api.WriteJSON(w, p.Status, newFailure(p)) // it holds nothing that JSON does not
}

// turnStatus maps how a turn failed to a status that no client takes for a reason
// to try again, as many do after 409, 429 and 5xx by themselves: the turn was
// accepted, and repeating it would repeat its effects.
func turnStatus(c abi.Code) int {
	if c == abi.CodeDenied || c == abi.CodeNeedsApproval {
		return http.StatusForbidden
	}
	return http.StatusFailedDependency
}

// turnFailure describes a turn that ended without an answer, or nil.
func turnFailure(t host.Turn) (status int, f *failure) {
	e := t.Error
	switch {
	case t.Status == host.TurnCancelled && e == nil:
		e = &abi.Error{Code: abi.CodeCancelled, Message: "the turn was cancelled"}
	case t.Status == host.TurnFailed && e == nil:
		e = &abi.Error{Code: abi.CodeInternal, Message: "the agent failed without saying why"}
	case t.Status != host.TurnFailed && t.Status != host.TurnCancelled && t.Status != host.TurnParked:
		return 0, nil
	}
	code := string(e.Code)
	return turnStatus(e.Code), &failure{failureBody{
		Message: fmt.Sprintf("%s (turn %d of session %s)", e.Message, t.Number, t.Session),
		Type:    "agent_error",
		Code:    &code,
	}}
}

// unfinished describes a turn that goes on after the client's time is up.
func unfinished(t host.Turn) *failure {
	code := "turn_unfinished"
	return &failure{failureBody{
		Message: fmt.Sprintf("the agent is still at work; GET /v1/sessions/%s/turns/%d shows its answer later", t.Session, t.Number),
		Type:    "agent_error",
		Code:    &code,
	}}
}

// parked describes a session that was stopped in the middle of the turn.
func parked(t host.Turn, e host.StreamEvent) *failure {
	var p host.Parked
	_ = json.Unmarshal(e.Data, &p) // without a reason the rest is still true
	code := "session_parked"
	return &failure{failureBody{
		Message: fmt.Sprintf("the session %s was stopped until a person looks at it: %s", t.Session, p.Reason),
		Type:    "agent_error",
		Code:    &code,
	}}
}

// final keeps the SDKs from repeating a request whose turn was accepted: its
// effects would happen again.
func final(w http.ResponseWriter) { w.Header().Set("X-Should-Retry", "false") }

// writeFailure writes how a turn failed.
func writeFailure(w http.ResponseWriter, status int, f *failure) error {
	final(w)
	return api.WriteJSON(w, status, f)
}

// encode never fails on what this package sends.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil { // plain structs of strings and numbers
		return []byte(`{"error":{"message":"the host failed","type":"server_error"}}`)
	}
	return b
}
