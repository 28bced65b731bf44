package access

import (
	"context"
	"io"

	"github.com/vespiary/vespiary/host"
)

// Agents puts the guard before a list of agents.
func (g *Guard) Agents(inner Agents) Agents { return &agents{inner, g} }

type agents struct {
	inner Agents
	guard *Guard
}

// List implements Agents.
func (a *agents) List(ctx context.Context, c host.Caller) ([]host.AgentInfo, error) {
	v, err := a.guard.visit(c, "Agents.List", agentUID(""), "readAgent")
	if err != nil {
		return nil, err
	}
	list, err := a.inner.List(ctx, c)
	if err != nil {
		return nil, err
	}
	sieve := newSieve(ctx, v, func(x *host.AgentInfo) string { return x.Name }, func(x *host.AgentInfo) (target, error) {
		t, ok := a.guard.agentTarget(x.Name)
		if !ok {
			return t, t.missing
		}
		return t, nil
	})
	return sieve.keep(list, "Agent", "readAgent")
}

// Admin puts the guard before a service; find has the sessions.
func (g *Guard) Admin(inner Admin, find Finder) Admin { return &admin{inner, find, g} }

type admin struct {
	inner Admin
	find  Finder
	guard *Guard
}

// Install implements Admin.
func (a *admin) Install(ctx context.Context, c host.Caller, name string, wasm []byte) (string, error) {
	return change(ctx, a.guard, c, "Admin.Install", "installModule", func() (string, error) {
		return a.inner.Install(ctx, c, name, wasm)
	})
}

// Decisions implements Admin: those of sessions that the caller may read.
func (a *admin) Decisions(ctx context.Context, c host.Caller, f host.DecisionFilter) ([]host.DecisionRecord, error) {
	v, err := a.guard.visit(c, "Admin.Decisions", sessionUID(""), "readSession")
	if err != nil {
		return nil, err
	}
	heads := newSieve(ctx, v, func(x *host.Session) string { return x.ID }, func(x *host.Session) (target, error) { return sessionTarget(x), nil })
	sieve := newSieve(ctx, v, func(x *host.DecisionRecord) string { return x.Session }, func(x *host.DecisionRecord) (target, error) {
		return a.guard.named(ctx, a.find, c, x.Session)
	})
	sieve.verdict, sieve.causes = heads.verdict, heads.causes
	f.Visible = heads.visible
	list, err := a.inner.Decisions(ctx, c, f)
	if err != nil {
		return nil, err
	}
	sieve.set = heads.set
	return sieve.keep(list, "Session", "readSession")
}

// Reload implements Admin.
func (a *admin) Reload(ctx context.Context, c host.Caller) error {
	_, err := change(ctx, a.guard, c, "Admin.Reload", "reloadHost", nothing(func() error { return a.inner.Reload(ctx, c) }))
	return err
}

// Backup puts the guard before a service.
func (g *Guard) Backup(inner Backup) Backup { return &backup{inner, g} }

type backup struct {
	inner Backup
	guard *Guard
}

// Backup implements Backup. All that there is leaves the host.
func (b *backup) Backup(ctx context.Context, c host.Caller, w io.Writer) error {
	_, err := change(ctx, b.guard, c, "Backup.Backup", "backupHost", nothing(func() error { return b.inner.Backup(ctx, c, w) }))
	return err
}
