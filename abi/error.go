package abi

// Code classifies a failed call. Codes are stable: guests branch on them.
type Code string

// The error codes.
const (
	CodeDenied         Code = "denied"          // policy forbids it; Error.Policy names which
	CodeNeedsApproval  Code = "needs_approval"  // a person must approve first
	CodeNotFound       Code = "not_found"       // no such tool, file, model, …
	CodeInvalid        Code = "invalid"         // the request does not have the form the call needs
	CodeTimeout        Code = "timeout"         // the call's own time limit passed
	CodeRateLimited    Code = "rate_limited"    // try later
	CodeBudgetExceeded Code = "budget_exceeded" // the task's budget is used up
	CodeUnavailable    Code = "unavailable"     // the other side cannot be reached or is failing
	CodeUnknownOutcome Code = "unknown_outcome" // a crash hid whether the effect happened; it is not repeated
	CodeCancelled      Code = "cancelled"       // the turn was cancelled
	CodeInternal       Code = "internal"        // a fault of the host
)

// Error is a failed host call as the guest sees it. It is a value to reason
// about, never a trap.
type Error struct {
	Code      Code   `json:"code"`
	Message   string `json:"message"`
	Retryable bool   `json:"retryable,omitempty"`
	Policy    string `json:"policy,omitempty"` // ids of the policies that decided, comma separated
}

// Error implements error.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Is reports whether target is an *Error with the same code and an empty
// message, so that errors.Is(err, &abi.Error{Code: abi.CodeDenied}) asks for a
// class of errors.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == ""
}
