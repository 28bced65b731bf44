package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// payloadSlack is what a journal may add to a request that it keeps.
const payloadSlack = 64 << 10

// classify finds out what the call would do. It returns the call's time limit, or
// why there is nothing to decide about.
func (t *Turn) classify(ctx context.Context, c *host.Call) (time.Duration, *abi.Error) {
	capability := t.gate.opt.Capabilities[c.Name]
	if errors.Is(context.Cause(ctx), host.ErrCancelled) {
		return 0, &abi.Error{Code: abi.CodeCancelled, Message: "the turn was cancelled"}
	}
	if len(c.Request) > host.MaxPayload-payloadSlack {
		return 0, &abi.Error{Code: abi.CodeInvalid, Message: tooLarge(c.Name, "request", len(c.Request))}
	}
	if capability == nil {
		return 0, &abi.Error{Code: abi.CodeNotFound, Message: "this host has no capability " + c.Name}
	}
	if c.Name != CallReply && !slices.Contains(c.Run.Needs, c.Name) {
		return 0, &abi.Error{Code: abi.CodeDenied, Message: "the manifest of " + c.Run.Plugin + " does not list " + c.Name + " among its needs"}
	}
	limit, refusal := envelope(c)
	if refusal != nil {
		return 0, refusal
	}
	c.Ask = t.asker(c)
	class, err := capability.Classify(ctx, c)
	if err == nil {
		if c.Class = class; class.Child != nil && c.Resume != nil {
			c.Class.Child = c.Resume // its calls are on record: only it repeats them
		}
		return limit, nil
	}
	if refusal, ok := errors.AsType[*abi.Error](err); ok {
		return 0, refusal
	}
	t.gate.opt.Log.ErrorContext(ctx, "call not classified", "call", c.Name, "path", c.Path, "session", c.Run.Session, "error", err)
	return 0, &abi.Error{Code: abi.CodeInternal, Message: c.Name + " could not be prepared; the host's log says why"}
}

// asker returns the function by which a capability asks leave for what it must do
// before the call itself can be decided. A refusal is recorded as the call's own.
func (t *Turn) asker(c *host.Call) func(context.Context, host.Class) error {
	return func(ctx context.Context, class host.Class) error {
		d, r := t.decide(ctx, c, class)
		if d.Allowed {
			return nil
		}
		c.Class, c.Allowed, c.Evidence = class, d, t.evidence(r)
		return denial(c.Name, class, d)
	}
}

// envelope takes the reserved keys out of the request.
func envelope(c *host.Call) (time.Duration, *abi.Error) {
	if bytes.Contains(c.Request, []byte(`"`+abi.KeyHandle+`"`)) {
		return 0, &abi.Error{Code: abi.CodeNotFound, Message: "the request names a handle that this session does not hold"}
	}
	if !bytes.Contains(c.Request, []byte(`"`+abi.KeyTimeout+`"`)) {
		return 0, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(c.Request, &fields); err != nil {
		return 0, &abi.Error{Code: abi.CodeInvalid, Message: "the request is not a JSON object"}
	}
	raw, ok := fields[abi.KeyTimeout]
	if !ok { // it is part of a text deeper down
		return 0, nil
	}
	var ms int64
	if err := json.Unmarshal(raw, &ms); err != nil || ms <= 0 || ms > int64(24*time.Hour/time.Millisecond) {
		return 0, &abi.Error{Code: abi.CodeInvalid, Message: abi.KeyTimeout + " must be a number of milliseconds between 1 and a day"}
	}
	delete(fields, abi.KeyTimeout)
	b, err := json.Marshal(fields)
	if err != nil {
		return 0, &abi.Error{Code: abi.CodeInvalid, Message: "the request is not valid JSON"}
	}
	c.Request = b
	return time.Duration(ms) * time.Millisecond, nil
}

// authorize asks policy about every run that the call is made for, and reserves
// what the call may use of the budget.
func (t *Turn) authorize(ctx context.Context, c *host.Call) *abi.Error {
	if over := t.reserve(c); over != nil {
		return over
	}
	var r *policy.Request
	c.Allowed, r = t.decide(ctx, c, c.Class)
	if c.Allowed.Allowed {
		return nil
	}
	t.release(c.Class.Tokens)
	c.Evidence = t.evidence(r)
	return denial(c.Name, c.Class, c.Allowed)
}

// evidence asks the policy engine to put a request down, where it can.
func (t *Turn) evidence(r *policy.Request) json.RawMessage {
	engine, ok := t.gate.opt.Policy.(interface {
		Evidence(r *policy.Request) json.RawMessage
	})
	if !ok {
		return nil
	}
	return engine.Evidence(r)
}

// decide evaluates the whole chain: the run itself, then each one it acts for. It
// returns the request that the decision answers.
func (t *Turn) decide(ctx context.Context, c *host.Call, class host.Class) (policy.Decision, *policy.Request) {
	var last policy.Decision
	r := &policy.Request{
		Action:   policy.UID{Type: "Action", ID: class.Action},
		Resource: class.Resource.UID,
		Context:  t.context(c, class),
		Entities: append(slices.Clone(class.Entities), class.Resource),
	}
	var lifted policy.Decision // a denial that a person may lift, if nobody denies for good
	for run := c.Run; run != nil; run = run.Parent {
		r.Principal, r.Known = policy.UID{Type: "Run", ID: run.ID}, run.Known
		if last = t.gate.opt.Policy.Authorize(ctx, r); !last.Allowed && last.Approval == "" {
			return last, r
		}
		if !last.Allowed && lifted.Approval == "" {
			lifted = last
		}
	}
	if lifted.Approval != "" {
		return lifted, r
	}
	return last, r
}

func (t *Turn) context(c *host.Call, class host.Class) map[string]any {
	var chain []policy.UID
	for run := c.Run; run != nil; run = run.Parent {
		chain = append(chain, policy.UID{Type: "Run", ID: run.ID})
	}
	out := map[string]any{
		"now":        t.gate.opt.Now(),
		"flow":       t.flow(c, class.Recipient),
		"chain":      chain,
		"left":       t.left(),
		"path":       c.Path,
		"argsDigest": c.Digest,
	}
	if c.Approval != nil {
		out["approval"] = approvalOf(c.Approval)
	}
	maps.Copy(out, class.Context)
	return out
}

func denial(name string, class host.Class, d policy.Decision) *abi.Error {
	var ids []string
	for _, p := range d.Policies {
		ids = append(ids, p.ID)
	}
	e := &abi.Error{Code: abi.CodeDenied, Policy: strings.Join(ids, ",")}
	if d.Approval != "" {
		e.Code = abi.CodeNeedsApproval
	}
	about := class.Action + " on " + class.Resource.UID.Type + " " + class.Resource.UID.ID
	switch {
	case len(d.Errors) > 0:
		e.Message = name + " is denied: a policy could not be evaluated for " + about
	case len(ids) > 0:
		e.Message = name + " is denied by policy " + e.Policy + ": " + about
	default:
		e.Message = name + " is denied: no policy permits " + about
	}
	return e
}
