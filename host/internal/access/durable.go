package access

import (
	"context"
	"io"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// Durable puts the guard before a service; find is the same one.
func (g *Guard) Durable(inner Durable, find Finder) Durable { return &durable{inner, find, g} }

type durable struct {
	inner Durable
	find  Finder
	guard *Guard
}

// Signal implements Durable. Who may not begin a turn there reaches what waits for the signal
// and nothing else.
func (d *durable) Signal(ctx context.Context, in host.Signal) (host.Turn, error) {
	const action = "signalSession"
	v, err := d.guard.visit(in.Caller, "Durable.Signal", sessionUID(in.Session), action)
	if err != nil {
		return host.Turn{}, err
	}
	_, t, err := v.find(ctx, d.find, in.Session, action)
	if err != nil {
		return host.Turn{}, err
	}
	if err := v.see(ctx, t); err != nil {
		return host.Turn{}, err
	}
	in.Awaited = !v.begins(ctx, t)
	if err := v.may(ctx, t, action, nil); err != nil {
		return host.Turn{}, err
	}
	return done(ctx, v, func() (host.Turn, error) { return d.inner.Signal(ctx, in) })
}

// begins reports whether the caller may begin a turn in a session, and remembers to take
// that down. That they may not is no denial yet.
func (v *visit) begins(ctx context.Context, session target) bool {
	agent, ok := v.guard.agentTarget(session.agent)
	if !ok {
		return false
	}
	if d, _ := v.decide(ctx, agent, agent.read, nil); !d.Allowed {
		return false
	}
	var records []*policy.Record
	for _, one := range []struct {
		target
		action string
	}{{agent, "invokeAgent"}, {session, "continueSession"}} {
		d, r := v.decide(ctx, one.target, one.action, nil)
		if !d.Allowed || !inScope(v.caller.Scopes, one.action) {
			return false
		}
		records = append(records, v.evident(ctx, v.record(one.uid, one.session, one.action, d), r))
	}
	v.pending = append(v.pending, records...)
	return true
}

// Unpark implements Durable.
func (d *durable) Unpark(ctx context.Context, c host.Caller, session, note string) (host.Session, error) {
	return changeSession(ctx, d.guard, d.find, c, "Durable.Unpark", session, "resumeSession", func() (host.Session, error) {
		return d.inner.Unpark(ctx, c, session, note)
	})
}

// Erase implements Durable.
func (d *durable) Erase(ctx context.Context, c host.Caller, session string) (host.Session, error) {
	return changeSession(ctx, d.guard, d.find, c, "Durable.Erase", session, "eraseSession", func() (host.Session, error) {
		return d.inner.Erase(ctx, c, session)
	})
}

// Settle implements Durable.
func (d *durable) Settle(ctx context.Context, c host.Caller, session string, s host.Settlement) (host.Unsettled, error) {
	return changeSession(ctx, d.guard, d.find, c, "Durable.Settle", session, "settleCall", func() (host.Unsettled, error) {
		return d.inner.Settle(ctx, c, session, s)
	})
}

// Unsettled implements Durable: the calls of the sessions that the caller may read.
func (d *durable) Unsettled(ctx context.Context, c host.Caller) ([]host.Unsettled, error) {
	v, err := d.guard.visit(c, "Durable.Unsettled", sessionUID(""), "readSession")
	if err != nil {
		return nil, err
	}
	list, err := d.inner.Unsettled(ctx, c)
	if err != nil {
		return nil, err
	}
	sieve := newSieve(ctx, v, func(u *host.Unsettled) string { return u.Session }, func(u *host.Unsettled) (target, error) {
		return d.guard.named(ctx, d.find, c, u.Session)
	})
	return sieve.keep(list, "Session", "readSession")
}

// named is a session by its id.
func (g *Guard) named(ctx context.Context, find Finder, c host.Caller, id string) (target, error) {
	s, err := find.Get(ctx, c, id)
	if err != nil {
		return target{}, err
	}
	return sessionTarget(&s), nil
}

// Fork implements Durable.
func (d *durable) Fork(ctx context.Context, c host.Caller, session string, at uint64) (host.Session, error) {
	return changeSession(ctx, d.guard, d.find, c, "Durable.Fork", session, "forkSession", func() (host.Session, error) {
		return d.inner.Fork(ctx, c, session, at)
	})
}

// Revert implements Durable.
func (d *durable) Revert(ctx context.Context, c host.Caller, session string, to uint64) (host.Session, error) {
	return changeSession(ctx, d.guard, d.find, c, "Durable.Revert", session, "revertSession", func() (host.Session, error) {
		return d.inner.Revert(ctx, c, session, to)
	})
}

// Replay implements Durable. It changes nothing, but may ask a model.
func (d *durable) Replay(ctx context.Context, c host.Caller, session string, o host.ReplayOptions) (host.Replayed, error) {
	return changeSession(ctx, d.guard, d.find, c, "Durable.Replay", session, "replaySession", func() (host.Replayed, error) {
		return d.inner.Replay(ctx, c, session, o)
	})
}

// Upgrade implements Durable.
func (d *durable) Upgrade(ctx context.Context, c host.Caller, session string, o host.UpgradeOptions) (host.Upgraded, error) {
	return changeSession(ctx, d.guard, d.find, c, "Durable.Upgrade", session, "upgradeSession", func() (host.Upgraded, error) {
		return d.inner.Upgrade(ctx, c, session, o)
	})
}

// Diff implements Durable: both sessions are read.
func (d *durable) Diff(ctx context.Context, c host.Caller, a, b string) (host.Comparison, error) {
	for _, id := range []string{a, b} {
		if _, _, err := d.guard.readSession(ctx, d.find, c, "Durable.Diff", id); err != nil {
			return host.Comparison{}, err
		}
	}
	return d.inner.Diff(ctx, c, a, b)
}

// Export implements Durable. All of a session leaves the host.
func (d *durable) Export(ctx context.Context, c host.Caller, session string, w io.Writer) error {
	_, err := changeSession(ctx, d.guard, d.find, c, "Durable.Export", session, "exportSession", nothing(func() error {
		return d.inner.Export(ctx, c, session, w)
	}))
	return err
}

// Verify implements Durable.
func (d *durable) Verify(ctx context.Context, c host.Caller, session string) (host.Verified, error) {
	if _, _, err := d.guard.readSession(ctx, d.find, c, "Durable.Verify", session); err != nil {
		return host.Verified{}, err
	}
	return d.inner.Verify(ctx, c, session)
}

// Import asks for the agent that the session will have, which the file may name.
func (d *durable) Import(ctx context.Context, c host.Caller, o host.ImportOptions, r io.Reader) (host.Session, error) {
	v, err := d.guard.visit(c, "Durable.Import", agentUID(o.Agent), "importSession")
	if err != nil {
		return host.Session{}, err
	}
	asked := map[string]error{}
	o.Allow = func(agent string) error {
		err, known := asked[agent]
		if !known {
			err = v.importFor(ctx, agent)
			asked[agent] = err
		}
		return err
	}
	if o.Agent != "" { // or a stranger sends a large file for nothing
		if err := o.Allow(o.Agent); err != nil {
			return host.Session{}, err
		}
	}
	begun := d.guard.opt.Now()
	s, err := d.inner.Import(ctx, c, o, r)
	if v.of != "" {
		v.outcome(begun, err, noteOf(s))
	}
	return s, err
}

// importFor decides about an import for an agent, durably.
func (v *visit) importFor(ctx context.Context, agent string) error {
	const action = "importSession"
	t, ok := v.guard.agentTarget(agent)
	if !ok {
		return v.absent(t, action)
	}
	if err := v.see(ctx, t); err != nil {
		return err
	}
	if err := v.may(ctx, t, action, nil); err != nil {
		return err
	}
	return v.durable(ctx)
}
