package gate

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
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
	c.Ask, c.Could, c.Left = t.asker(c), t.could(c), t.Left()
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
			return t.permitted(ctx, c, class, d, r)
		}
		c.Class, c.Allowed, c.Asked = class, d, r
		return denial(c.Name, class, d)
	}
}

// permitted records what a call was allowed before it could be decided itself, durably.
func (t *Turn) permitted(ctx context.Context, c *host.Call, class host.Class, d policy.Decision, asked *policy.Request) error {
	if err := t.noteDecision(ctx, c, class, d, asked); err != nil {
		return &Fatal{Err: err}
	}
	if err := t.opt.Journal.Commit(ctx); err != nil {
		return &Fatal{Err: err}
	}
	return nil
}

// noteDecision records a decision that is part of a call and not the call's own.
func (t *Turn) noteDecision(ctx context.Context, c *host.Call, class host.Class, d policy.Decision, asked *policy.Request) error {
	r := t.decided(ctx, c, class, d, asked)
	return t.note(ctx, r, func(ops ...store.Op) error {
		d.Candidate = nil // the audit has it
		body := host.Intent{
			Name: c.Name, Hash: c.Digest, Action: class.Action, Resource: class.Resource.UID, Kind: class.Kind,
			Run: c.Run.ID, Module: c.Run.Module, Decision: d, Flow: t.Label(), Audit: r.ID,
		}
		_, err := t.opt.Journal.Append(ctx, host.Entry{Kind: host.EntryDecision, Turn: c.Run.Turn, Path: c.Path}, body, nil, ops...)
		return err
	})
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
	c.Allowed, c.Asked = policy.Decision{}, nil // of an earlier attempt
	if over := t.reserve(c); over != nil {
		return over
	}
	c.Allowed, c.Asked = t.decide(ctx, c, c.Class)
	if c.Allowed.Allowed {
		return nil
	}
	t.release(c)
	return denial(c.Name, c.Class, c.Allowed)
}

// decide asks policy about the run and all that it acts for. It returns the request that
// the decision answers. What acts in a task that is over is denied whatever policies say.
func (t *Turn) decide(ctx context.Context, c *host.Call, class host.Class) (policy.Decision, *policy.Request) {
	r := &policy.Request{
		Principal: policy.UID{Type: "Run", ID: c.Run.ID}, Action: policy.UID{Type: "Action", ID: class.Action},
		Resource: class.Resource.UID, Known: c.Run.Known, Context: t.context(c, class),
		Entities: append(slices.Clone(class.Entities), class.Resource),
	}
	if why := cmp.Or(class.Deny, t.bind(ctx, c.Run, class, r)); why != "" {
		return policy.Decision{Errors: []string{why}}, r
	}
	return t.gate.opt.Policy.Authorize(ctx, r), r
}

// bind adds the chain of a run to a request, with the tasks of its links as they stand. It
// returns why nothing may be done in them.
func (t *Turn) bind(ctx context.Context, run *host.Run, class host.Class, r *policy.Request) string {
	var last *host.Standing
	for ; run != nil; run = run.Parent {
		hop := policy.Hop{Principal: policy.UID{Type: "Run", ID: run.ID}}
		if t.opt.Tasks != nil {
			if last == nil || last.Task.ID != run.Task {
				s, why := t.standing(ctx, run)
				if why != "" {
					return why
				}
				r.Entities = append(r.Entities, s.Entity)
				last = s
			}
			if !ownAffair(class) {
				hop.Grants = last.Grants
			}
		}
		r.Chain = append(r.Chain, hop)
	}
	return ""
}

// standing is what the task of a run is worth, or why nothing.
func (t *Turn) standing(ctx context.Context, run *host.Run) (*host.Standing, string) {
	s, err := t.opt.Tasks.Standing(ctx, run.Tenant, run.Session, run.Task)
	if err != nil {
		t.gate.opt.Log.ErrorContext(ctx, "a task cannot be looked up", "task", run.Task, "session", run.Session, "error", err)
		return nil, "task " + run.Task + " cannot be looked up; the host's log says why"
	}
	if !s.Live(t.gate.opt.Now()) {
		return nil, "task " + run.Task + " is over, and with it all that it was granted"
	}
	return s, ""
}

// isOver tells why nothing may be done in the task of a run any more, empty while it may.
// It asks about those above it as well.
func (t *Turn) isOver(ctx context.Context, run *host.Run) string {
	if t.opt.Tasks == nil {
		return ""
	}
	_, why := t.standing(ctx, run)
	return why
}

// ownAffair tells whether a call touches nothing but the run's own session: it answers its
// user, waits, or remembers what was said. Grants are about all else; policies decide these.
func ownAffair(class host.Class) bool {
	switch class.Action {
	case "emit", "reply", "await":
		return true
	case "memoryRead", "memoryWrite":
		return class.Resource.Attrs["tier"] == "session"
	}
	return false
}

// could returns the function by which a capability finds out what a run could ever be
// allowed.
func (t *Turn) could(c *host.Call) func(context.Context, host.Class) bool {
	engine, ok := t.gate.opt.Policy.(interface {
		Could(ctx context.Context, r *policy.Request) bool
	})
	if !ok {
		return func(context.Context, host.Class) bool { return true }
	}
	return func(ctx context.Context, class host.Class) bool {
		r := &policy.Request{
			Principal: policy.UID{Type: "Run", ID: c.Run.ID}, Action: policy.UID{Type: "Action", ID: class.Action},
			Resource: class.Resource.UID, Known: c.Run.Known,
			Entities: append(slices.Clone(class.Entities), class.Resource),
		}
		return t.bind(ctx, c.Run, class, r) == "" && engine.Could(ctx, r)
	}
}

func (t *Turn) context(c *host.Call, class host.Class) map[string]any {
	line := t.lineage(c.Run)
	out := map[string]any{
		"now":        t.gate.opt.Now(),
		"flow":       t.flow(c, class),
		"chain":      line.chain,
		"agents":     line.agents,
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
	case d.Set == "" && len(d.Errors) > 0: // no policy was asked
		e.Message = name + " is denied: " + d.Errors[0]
	case len(d.Errors) > 0:
		e.Message = name + " is denied: a policy could not be evaluated for " + about
	case len(ids) > 0:
		e.Message = name + " is denied by policy " + e.Policy + ": " + about
	default:
		e.Message = name + " is denied: no policy permits " + about
	}
	return e
}
