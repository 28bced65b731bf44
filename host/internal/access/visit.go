package access

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// visit is one call of a method by a caller, from the first question to the outcome.
type visit struct {
	guard   *Guard
	caller  host.Caller
	call    string           // "Sessions.Invoke"
	pending []*policy.Record // of what was allowed and is not taken down yet
	shared  map[string]*policy.Known
	of      string // id of the last decision, once it is durable
}

// visit begins a call that will ask for actions. It refuses what no policy is asked about:
// anything by the holder of a task's token, and what the caller's key is not for. Both are
// the same whether the thing on exists or not.
func (g *Guard) visit(c host.Caller, call string, on policy.UID, actions ...string) (*visit, error) {
	v := &visit{guard: g, caller: c, call: call}
	if c.Via == host.ViaTask {
		v.refuse(on, actions[0], policy.Cause{ID: "token of task " + c.Task})
		return nil, host.Errorf(host.ErrForbidden, "the token of a task serves for calls in that task, to look at it and to end it; use an API key for anything else")
	}
	for _, a := range actions {
		if !inScope(c.Scopes, a) {
			v.refuse(on, a, policy.Cause{ID: "scopes of key " + c.Key})
			return nil, outOfScope(c, a)
		}
	}
	return v, nil
}

// refuse records a denial that no policy made.
func (v *visit) refuse(on policy.UID, action string, why policy.Cause) {
	v.denied(v.record(cutID(on), "", action, policy.Decision{Policies: []policy.Cause{why}}))
}

// cutID cuts the id of what may not exist: the audit is kept for ever, and callers choose it.
func cutID(on policy.UID) policy.UID {
	const most = 256 // bytes, more than any id here has
	if len(on.ID) > most {
		on.ID = strings.ToValidUTF8(on.ID[:most], "") + "…"
	}
	return on
}

// absent records that a caller asked for what is not there, and returns what they hear.
func (v *visit) absent(t target, action string) error {
	r := v.record(cutID(t.uid), "", action, policy.Decision{})
	r.Note = "there is none"
	v.denied(r)
	return t.missing
}

// see reports whether the caller may know of t. It takes down a denial only: what follows
// is decided by itself.
func (v *visit) see(ctx context.Context, t target) error {
	d, r := v.decide(ctx, t, t.read, nil)
	if d.Allowed {
		return nil
	}
	v.denied(v.evident(ctx, v.record(t.uid, t.session, t.read, d), r))
	return t.missing
}

// show decides about reading t: it is there for the caller, or not.
func (v *visit) show(ctx context.Context, t target) error {
	if err := v.may(ctx, t, t.read, nil); err != nil {
		return err
	}
	return v.taken()
}

// may decides about an action with t, and remembers to take down that it is allowed.
func (v *visit) may(ctx context.Context, t target, action string, context map[string]any) error {
	d, r := v.decide(ctx, t, action, context)
	record := v.evident(ctx, v.record(t.uid, t.session, action, d), r)
	if !d.Allowed {
		v.denied(record)
		if action == t.read {
			return t.missing
		}
		return forbidden(v.caller, t, action, d)
	}
	v.pending = append(v.pending, record)
	return nil
}

// mayAll decides about several actions with t.
func (v *visit) mayAll(ctx context.Context, t target, actions []string) error {
	for _, a := range actions {
		if err := v.may(ctx, t, a, nil); err != nil {
			return err
		}
	}
	return nil
}

// own records what the holder of a task's token does in their task.
func (v *visit) own(action string) *policy.Record {
	return v.record(policy.UID{Type: "Task", ID: v.caller.Task}, "", action, policy.Decision{
		Allowed: true, Policies: []policy.Cause{{ID: "token of task " + v.caller.Task}},
	})
}

// taken leaves what was allowed to be taken down soon.
func (v *visit) taken() error {
	for _, r := range v.pending {
		if err := v.later(r); err != nil {
			return err
		}
	}
	v.pending = nil
	return nil
}

// durable takes down what was allowed before it returns, or refuses it.
func (v *visit) durable(ctx context.Context) error {
	last := len(v.pending) - 1
	r := v.pending[last]
	v.pending = v.pending[:last] // which r takes along
	if err := v.taken(); err != nil {
		return err
	}
	if err := v.guard.opt.Audit.Write(ctx, r); err != nil {
		return unrecorded(err)
	}
	v.of = r.ID
	return nil
}

// unrecorded says that something was not done because it could not be taken down.
func unrecorded(err error) *host.Error {
	if errors.Is(err, store.ErrFull) || host.CodeOf(err) == host.ErrFull {
		return host.Errorf(host.ErrFull, "nothing was done, because the audit has no space left to record it; free some and try again: %w", err)
	}
	return host.Errorf(host.ErrUnavailable, "nothing was done, because the audit cannot record it now; try again: %w", err)
}

// outcome takes down what came of a change.
func (v *visit) outcome(begun time.Time, err error, note string) {
	now := v.guard.opt.Now()
	r := v.base(now)
	r.Kind, r.Of, r.Code, r.Took, r.Note = policy.RecordOutcome, v.of, "ok", now.Sub(begun), note
	if err != nil {
		r.Code, r.Note = string(host.CodeOf(err)), ""
	}
	_ = v.later(r) // it has happened: there is nothing to refuse any more
}

// denied takes down a denial, which stands whether that can be done or not.
func (v *visit) denied(r *policy.Record) { _ = v.later(r) }

func (v *visit) later(r *policy.Record) error {
	if err := v.guard.opt.Audit.Later(r); err != nil {
		return unrecorded(err)
	}
	return nil
}

// record is a decision.
func (v *visit) record(on policy.UID, session, action string, d policy.Decision) *policy.Record {
	r := v.base(v.guard.opt.Now())
	r.Kind, r.Session, r.Action, r.Resource, r.Decision = policy.RecordDecision, session, action, on, &d
	return r
}

// evident adds the request that a decision answers.
func (v *visit) evident(ctx context.Context, r *policy.Record, q *policy.Request) *policy.Record {
	r.Evidence = v.guard.opt.Evidence(ctx, r.Tenant, r.Session, q)
	return r
}

// base says who calls what, and when. Each day has a chain of its own.
func (v *visit) base(now time.Time) *policy.Record {
	c := v.caller
	r := &policy.Record{
		Chain: v.guard.opt.Chain + "-" + now.UTC().Format(time.DateOnly), Time: now,
		Tenant: c.Tenant, Key: c.Key, Remote: c.Remote, Call: v.call,
	}
	for _, name := range c.Actors {
		r.Who = append(r.Who, policy.Actor{Agent: name})
	}
	r.Who = append(r.Who, policy.Actor{User: c.User, Task: c.Task})
	return r
}

// forbidden says who may not do what, why, and what to do.
func forbidden(c host.Caller, t target, action string, d policy.Decision) *host.Error {
	why := "no policy permits it"
	switch {
	case len(d.Errors) > 0:
		why = "the policies about it cannot be evaluated, which denies it"
	case len(d.Policies) > 0:
		names := make([]string, len(d.Policies))
		for i, p := range d.Policies {
			names[i] = p.ID
		}
		why = "forbidden by " + strings.Join(names, ", ")
	}
	return host.Errorf(host.ErrForbidden, "%s: user %s may not %s: %s; ask whoever keeps the policies of this host", t.name(), c.User, action, why)
}

func (t *target) name() string {
	if t.uid == hostUID {
		return "the host"
	}
	return fmt.Sprintf("%s %s", strings.ToLower(t.uid.Type), t.uid.ID)
}
