package app

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/host/internal/identity"
)

// delegation implements api.Delegation. To hand a task over is a call in the task, which
// passes the gate as all others do.
type delegation struct {
	call   func(ctx context.Context, c host.Caller, task string, call host.TaskCall) (json.RawMessage, error)
	signer *identity.Signer // nil: other hosts know this one by no URL
}

var _ api.Delegation = delegation{}

// Delegate implements api.Delegation.
func (d delegation) Delegate(ctx context.Context, c host.Caller, task, audience string) (string, time.Time, error) {
	request, err := json.Marshal(abi.DelegateToken{Audience: audience})
	if err != nil {
		return "", time.Time{}, err
	}
	result, err := d.call(ctx, c, task, host.TaskCall{Name: abi.CallDelegateToken, Request: request})
	if err != nil {
		return "", time.Time{}, err
	}
	var out abi.DelegatedToken
	if err := unpackResult(result, &out); err != nil {
		return "", time.Time{}, fmt.Errorf("delegate task %s: %w", task, err)
	}
	return out.Token, out.Expires, nil
}

// KeySet implements api.Delegation.
func (d delegation) KeySet(context.Context) ([]byte, error) { return identity.KeySet(d.signer), nil }

// unpackResult reads what a call returned, or its error in the words of the host.
func unpackResult(result json.RawMessage, into any) error {
	var r abi.Result
	if err := json.Unmarshal(result, &r); err != nil {
		return err
	}
	if r.Error != nil {
		return host.Errorf(codeFor(r.Error.Code), "%w", r.Error)
	}
	return json.Unmarshal(r.OK, into)
}

// codeFor is what the error of a call means to a client of the API.
func codeFor(code abi.Code) host.ErrorCode {
	switch code {
	case abi.CodeDenied, abi.CodeNeedsApproval:
		return host.ErrForbidden
	case abi.CodeInvalid:
		return host.ErrInvalid
	case abi.CodeNotFound:
		return host.ErrNotFound
	case abi.CodeBudgetExceeded, abi.CodeRateLimited:
		return host.ErrTooMany
	case abi.CodeCancelled:
		return host.ErrConflict
	case abi.CodeUnavailable, abi.CodeTimeout:
		return host.ErrUnavailable
	default:
		return host.ErrInternal
	}
}
