package app

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/identity"
)

// TestDelegate: a token is what a call in the task returns, and a refusal of it is one of
// the host.
func TestDelegate(t *testing.T) {
	expires := time.Date(2030, 1, 1, 0, 5, 0, 0, time.UTC)
	for _, tc := range []struct {
		name   string
		result abi.Result
		err    error
		code   host.ErrorCode
	}{
		{"a token", abi.Result{OK: json.RawMessage(`{"token":"a.b.c","audience":"https://b.example.com","expires":"2030-01-01T00:05:00Z"}`)}, nil, ""},
		{"denied", abi.Result{Error: &abi.Error{Code: abi.CodeDenied, Message: "no policy permits it"}}, nil, host.ErrForbidden},
		{"to be approved", abi.Result{Error: &abi.Error{Code: abi.CodeNeedsApproval}}, nil, host.ErrForbidden},
		{"no URL", abi.Result{Error: &abi.Error{Code: abi.CodeInvalid}}, nil, host.ErrInvalid},
		{"no signer", abi.Result{Error: &abi.Error{Code: abi.CodeUnavailable}}, nil, host.ErrUnavailable},
		{"no budget", abi.Result{Error: &abi.Error{Code: abi.CodeBudgetExceeded}}, nil, host.ErrTooMany},
		{"cancelled", abi.Result{Error: &abi.Error{Code: abi.CodeCancelled}}, nil, host.ErrConflict},
		{"a fault", abi.Result{Error: &abi.Error{Code: abi.CodeInternal}}, nil, host.ErrInternal},
		{"no such task", abi.Result{}, host.Errorf(host.ErrNotFound, "there is none"), host.ErrNotFound},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var made host.TaskCall
			d := delegation{call: func(_ context.Context, c host.Caller, task string, call host.TaskCall) (json.RawMessage, error) {
				if c.User != "user1" || task != "T1" {
					t.Errorf("called as %s in %s", c.User, task)
				}
				made = call
				b, err := json.Marshal(tc.result)
				return b, errors.Join(err, tc.err)
			}}
			token, until, err := d.Delegate(t.Context(), user1, "T1", "https://b.example.com")
			if made.Name != abi.CallDelegateToken || string(made.Request) != `{"audience":"https://b.example.com"}` {
				t.Errorf("the call is %s %s", made.Name, made.Request)
			}
			if host.CodeOf(err) != tc.code {
				t.Errorf("%v, want %q", err, tc.code)
			}
			if tc.code == "" && (token != "a.b.c" || !until.Equal(expires)) || tc.code != "" && token != "" {
				t.Errorf("token %q until %v", token, until)
			}
		})
	}
}

func TestKeySet(t *testing.T) {
	none, err := delegation{}.KeySet(t.Context())
	if err != nil || string(none) != `{"keys":[]}` {
		t.Errorf("without a signer: %s, %v", none, err)
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := identity.NewSigner(identity.SignerOptions{URL: "https://a.example.com", Keys: []ed25519.PrivateKey{key}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	set, err := delegation{signer: signer}.KeySet(t.Context())
	if err != nil || !strings.Contains(string(set), `"crv":"Ed25519"`) || strings.Contains(string(set), `"d"`) {
		t.Errorf("keys %s, %v", set, err)
	}
}
