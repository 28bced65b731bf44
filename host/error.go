package host

import (
	"errors"
	"fmt"
)

// ErrorCode classifies an error for the edge, which maps it to HTTP, MCP or an
// exit code in one place.
type ErrorCode string

// The error codes.
const (
	ErrInvalid      ErrorCode = "invalid"
	ErrUnauthorized ErrorCode = "unauthorized" // no or a wrong key
	ErrForbidden    ErrorCode = "forbidden"
	ErrNotFound     ErrorCode = "not_found"
	ErrConflict     ErrorCode = "conflict"
	ErrTooMany      ErrorCode = "too_many" // over an admission limit; try later
	ErrFull         ErrorCode = "full"     // no space left for new work
	ErrUnavailable  ErrorCode = "unavailable"
	ErrInternal     ErrorCode = "internal"
)

// Error is an error that a person or program outside sees. Message says what was
// tried, what went wrong and what to do next, in one line.
type Error struct {
	Code    ErrorCode
	Message string
	Cause   error // for the log; not shown
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Errorf makes an Error; a %w in the format also becomes its Cause.
func Errorf(code ErrorCode, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Cause: errors.Unwrap(err)}
}

// CodeOf returns the code of the first Error in err's chain, ErrInternal for any
// other error, and "" for nil.
func CodeOf(err error) ErrorCode {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ErrInternal
}

// The causes that end a turn from inside a call. They are the cause of the call's
// context, or what a guest's host call returns.
var (
	// ErrStopping means that the host stops. Nothing is recorded of the call; the turn goes on
	// when a host takes the session up again.
	ErrStopping = errors.New("the host is stopping")
	// ErrCancelled means that somebody cancelled the turn.
	ErrCancelled = errors.New("the turn was cancelled")
	// ErrDiverged means that the guest did not repeat the calls that its journal records.
	ErrDiverged = errors.New("the guest diverged from its journal")
	// ErrSuspended means that the guest is dropped while its calls wait: the turn is run again
	// when one of them is over.
	ErrSuspended = errors.New("the turn waits")
	// ErrJournalEnds means that a replayed guest made a call that is not recorded.
	ErrJournalEnds = errors.New("the journal ends here")
)
