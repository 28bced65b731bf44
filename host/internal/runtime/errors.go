package runtime

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero/sys"
)

var (
	// ErrRefused is wrapped by errors about modules that this host never runs.
	ErrRefused = errors.New("module refused")
	// ErrUnusable is wrapped by the error of a call to an instance that was
	// closed, by its owner or by a trap.
	ErrUnusable = errors.New("instance is unusable")
)

// GuestError is a failure that the guest reported: by Extism's error_set, by a
// result other than zero, or both. The instance remains usable.
type GuestError struct {
	Export  string
	Code    uint32 // what the export returned
	Message string // what it set, or empty
}

// Error implements error.
func (e *GuestError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("plugin function %s returned code %d without a message", e.Export, e.Code)
	}
	return fmt.Sprintf("plugin function %s failed: %s", e.Export, e.Message)
}

// TrapError tells why a guest ended before its call did. Unwrap gives the cause:
// the context's, or the error of Host.
type TrapError struct {
	Export string
	Reason string
	Stack  []string // the guest's frames, innermost first, at most maxFrames
	Err    error    // may be nil
}

const maxFrames = 12

// Error implements error.
func (e *TrapError) Error() string {
	s := fmt.Sprintf("plugin function %s ended: %s", e.Export, e.Reason)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if len(e.Stack) > 0 {
		s += " (in " + e.Stack[0] + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *TrapError) Unwrap() error { return e.Err }

// refuse makes an error for a module that can never run.
func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, args...))
}

// trapped explains why a call failed with err. Cause is the error that a host
// function ended the guest with, if one did.
func trapped(ctx context.Context, export string, cause, err error) *TrapError {
	t := &TrapError{Export: export, Stack: frames(err)}
	var exit *sys.ExitError
	switch stopped := errors.As(err, &exit) || strings.Contains(err.Error(), closedByContext); {
	case ctx.Err() != nil && (stopped && cause == nil || isContext(cause)):
		t.Reason, t.Err = "its time is over", context.Cause(ctx)
	case cause != nil:
		t.Reason, t.Err = "the host stopped it", cause
	case exit != nil:
		t.Reason = fmt.Sprintf("it exited with code %d", exit.ExitCode())
	default:
		t.Reason = reason(err)
	}
	return t
}

// closedByContext is in the text of wazero's error, which Extism's SDK does not
// always wrap.
const closedByContext = "module closed with context"

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// hints add to wazero's terse reasons what an author should look at.
var hints = map[string]string{
	"unreachable":                 "it panicked or ran out of memory; see what it logged",
	"stack overflow":              "it recursed too deeply",
	"out of bounds memory access": "it read or wrote outside of its memory",
}

// reason extracts the first line of a wazero error.
func reason(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	line = strings.TrimPrefix(line, "wasm error: ")
	line = strings.TrimSuffix(line, " (recovered by wazero)")
	if hint := hints[line]; hint != "" {
		line += ": " + hint
	}
	return line
}

const traceHeader = "wasm stack trace:\n"

// frames extracts the guest's stack from a wazero error.
func frames(err error) []string {
	_, trace, ok := strings.Cut(err.Error(), traceHeader)
	if !ok {
		return nil
	}
	var stack []string
	for line := range strings.Lines(trace) {
		if line = strings.Trim(line, "\t\n ."); line == "" || len(stack) == maxFrames {
			break
		}
		stack = append(stack, line)
	}
	return stack
}
