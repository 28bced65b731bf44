package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// Handover is the capability delegate_token: it makes the token by which an agent elsewhere
// acts in the task of a call.
type Handover struct {
	// Signer makes the tokens; a host without one, which other hosts know by no URL, hands
	// nothing over.
	Signer *Signer
	Now    func() time.Time
}

var _ host.Capability = Handover{}

// usual is what a token is for that is asked for without scopes: to talk with an agent, and
// to hear what it says.
var usual = []string{"continueSession", "invokeAgent", "readSession"}

// Classify implements host.Capability. Nothing of the task's budget is handed on, as the
// other host spends its own.
func (h Handover) Classify(_ context.Context, c *host.Call) (host.Class, error) {
	in, err := h.understand(c)
	if err != nil {
		return host.Class{}, err
	}
	purpose := []string{}
	if in.Purpose != "" {
		purpose = append(purpose, in.Purpose)
	}
	return host.Class{
		Action: "delegateRemote", Kind: host.Control | host.Egress, Recovery: abi.RecoverRetry,
		Resource:  policy.Entity{UID: policy.UID{Type: "Peer", ID: in.Audience}},
		Recipient: []string{in.Audience},
		Control:   append([]string{in.Audience}, in.Scopes...), Data: purpose,
		Context: map[string]any{
			"requested":      in.Scopes,
			"childBudget":    map[string]any{"tokens": int64(0), "usdMicros": int64(0), "calls": int64(0)},
			"childExpiresAt": h.until(c.Run),
		},
		State: in,
	}, nil
}

func (h Handover) understand(c *host.Call) (*abi.DelegateToken, error) {
	if h.Signer == nil {
		return nil, refused(c, abi.CodeUnavailable, "this host has no URL that others know it by; set identity.audience in its configuration")
	}
	in := &abi.DelegateToken{}
	d := json.NewDecoder(bytes.NewReader(c.Request))
	d.DisallowUnknownFields()
	if err := d.Decode(in); err != nil {
		return nil, refused(c, abi.CodeInvalid, "the request is not as it must be: "+err.Error())
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, refused(c, abi.CodeInvalid, "something follows the request")
	}
	if len(in.Scopes) == 0 {
		in.Scopes = slices.Clone(usual)
	}
	slices.Sort(in.Scopes)
	in.Scopes = slices.Compact(in.Scopes)
	err := checkURL(in.Audience)
	if err == nil && in.Audience == h.Signer.URL {
		err = errors.New("the audience is this host itself; name another one")
	}
	if err == nil {
		claims := h.claims(c.Run, in)
		err = claims.check()
	}
	if err != nil {
		return nil, refused(c, abi.CodeInvalid, err.Error())
	}
	return in, nil
}

func refused(c *host.Call, code abi.Code, why string) error {
	return &abi.Error{Code: code, Message: c.Name + ": " + why}
}

// until is when a token that is made now expires, in whole seconds.
func (h Handover) until(run *host.Run) time.Time {
	end := h.Now().Add(lifetime)
	if !run.Expires.IsZero() && run.Expires.Before(end) {
		end = run.Expires
	}
	return end.UTC().Truncate(time.Second)
}

func (h Handover) claims(run *host.Run, in *abi.DelegateToken) Claims {
	return Claims{
		Audience: in.Audience, User: run.User, Actors: actorsOf(run), Task: run.Task, Scopes: in.Scopes, Purpose: in.Purpose,
		Expires: run.Expires,
	}
}

// actorsOf are the agents that act for the user, the nearest first. A tool acts as the
// agent that called it.
func actorsOf(run *host.Run) []string {
	var out []string
	session := ""
	for r := run; r != nil; r = r.Parent {
		if n := len(out); n > 0 && r.Session == session && out[n-1] == r.Agent.Name {
			continue
		}
		out, session = append(out, r.Agent.Name), r.Session
	}
	return out
}

// Perform implements host.Capability. A crash may have it make another token, which is of
// no harm: the first one was given to nobody.
func (h Handover) Perform(_ context.Context, c *host.Call) (host.Output, error) {
	in, ok := c.Class.State.(*abi.DelegateToken)
	if !ok {
		return host.Output{}, fmt.Errorf("%s: it was not classified", c.Name)
	}
	token, expires, err := h.Signer.Issue(h.claims(c.Run, in))
	if err != nil {
		return host.Output{}, refused(c, abi.CodeUnavailable, err.Error())
	}
	b, err := json.Marshal(abi.DelegatedToken{Token: token, Audience: in.Audience, Expires: expires.UTC()})
	return host.Output{OK: b, Derived: true}, err
}

// KeySet returns the public keys of a signer as a JWK Set (RFC 7517, section 5), one
// without keys for no signer.
func KeySet(s *Signer) []byte {
	if s == nil {
		return []byte(`{"keys":[]}`)
	}
	return s.JWKS()
}
