package access

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// Options join a Guard to the host. Policy, Audit, Now and Agents are needed.
type Options struct {
	Policy policy.Authorizer
	Audit  policy.Auditor
	Now    func() time.Time
	// Chain begins the names of the chains that records go to, one a day; empty: "people".
	// Hosts that share a store need one each, for a chain has one writer.
	Chain string
	// Agents finds an agent of the configuration by name.
	Agents func(name string) (*host.Agent, bool)
	// Groups returns the groups that somebody is in by the configuration of now, who may be
	// known by tenant and name alone; nil: those that they are said to be in.
	Groups func(c host.Caller) []string
	// Still returns an error once what the caller proved who they are with is worth nothing
	// any more. It is asked while a caller follows something for long; nil: it never ends.
	Still func(ctx context.Context, c host.Caller) error
	// Evidence seals a request for the record of its decision, session being empty where it
	// is about none; nil: records hold no evidence.
	Evidence func(ctx context.Context, tenant, session string, r *policy.Request) []byte
}

// Guard decides what callers may ask of the host. It is safe for concurrent use.
type Guard struct{ opt Options }

// New makes a guard. It fails when an option is missing.
func New(o Options) (*Guard, error) {
	if o.Policy == nil || o.Audit == nil || o.Now == nil || o.Agents == nil {
		return nil, errors.New("access: Options.Policy, Audit, Now and Agents are needed")
	}
	o.Chain = cmp.Or(o.Chain, "people")
	if o.Groups == nil {
		o.Groups = func(c host.Caller) []string { return c.Groups }
	}
	if o.Still == nil {
		o.Still = func(context.Context, host.Caller) error { return nil }
	}
	if o.Evidence == nil {
		o.Evidence = func(context.Context, string, string, *policy.Request) []byte { return nil }
	}
	return &Guard{o}, nil
}

// ReadMetrics reports whether the caller may read the host's metrics.
func (g *Guard) ReadMetrics(ctx context.Context, c host.Caller) error {
	return g.read(ctx, c, "Host.ReadMetrics", "readMetrics")
}

// read decides about reading something of the host itself.
func (g *Guard) read(ctx context.Context, c host.Caller, call string, actions ...string) error {
	v, err := g.visit(c, call, hostUID, actions...)
	if err != nil {
		return err
	}
	if err := v.mayAll(ctx, hostTarget, actions); err != nil {
		return err
	}
	return v.taken()
}

// change decides about changing something of the host itself, and does it.
func change[T any](ctx context.Context, g *Guard, c host.Caller, call, action string, do func() (T, error)) (T, error) {
	return changeWith(ctx, g, c, call, action, nil, do)
}

// changeWith is change with what the action's context has beside who asks.
func changeWith[T any](ctx context.Context, g *Guard, c host.Caller, call, action string, facts map[string]any, do func() (T, error)) (T, error) {
	var none T
	v, err := g.visit(c, call, hostUID, action)
	if err != nil {
		return none, err
	}
	if err := v.may(ctx, hostTarget, action, facts); err != nil {
		return none, err
	}
	return done(ctx, v, do)
}

// done makes the decisions durable, does what was decided about, and records the outcome.
func done[T any](ctx context.Context, v *visit, do func() (T, error)) (T, error) {
	var none T
	if err := v.durable(ctx); err != nil {
		return none, err
	}
	begun := v.guard.opt.Now()
	out, err := do()
	v.outcome(begun, err, noteOf(out))
	return out, err
}

// nothing fits a function without a result to done.
func nothing(do func() error) func() (struct{}, error) {
	return func() (struct{}, error) { return struct{}{}, do() }
}

// noteOf names what came of a change, where the record would not say it otherwise.
func noteOf(out any) string {
	switch out := out.(type) {
	case host.Turn:
		return "turn " + out.Session
	case host.Session:
		return "session " + out.ID
	case opened:
		return "task " + out.ID
	case created:
		return "key " + out.ID
	case host.PolicySet:
		return "policies " + out.Digest
	case string:
		return out
	}
	return ""
}
