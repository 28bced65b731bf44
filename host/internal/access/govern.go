package access

import (
	"cmp"
	"context"
	"io"
	"iter"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// Keys puts the guard before a service.
func (g *Guard) Keys(inner Keys) Keys { return &keys{inner, g} }

type keys struct {
	inner Keys
	guard *Guard
}

// created is a key with its token.
type created struct {
	host.APIKey
	token string
}

// List implements Keys.
func (k *keys) List(ctx context.Context, c host.Caller) ([]host.APIKey, error) {
	if err := k.guard.read(ctx, c, "Keys.List", "readKeys"); err != nil {
		return nil, err
	}
	return k.inner.List(ctx, c)
}

// Create implements Keys. A key with scopes makes no key that can do more.
func (k *keys) Create(ctx context.Context, c host.Caller, spec host.APIKeySpec) (host.APIKey, string, error) {
	const call, action = "Keys.Create", "createKey"
	if err := wider(c, spec.Scopes); err != nil {
		v := &visit{guard: k.guard, caller: c, call: call}
		v.refuse(hostUID, action, policy.Cause{ID: "scopes of key " + c.Key})
		return host.APIKey{}, "", err
	}
	facts := map[string]any{"forUser": cmp.Or(spec.User, c.User)}
	if !spec.Expires.IsZero() {
		facts["expiresAt"] = spec.Expires
	}
	out, err := changeWith(ctx, k.guard, c, call, action, facts, func() (created, error) {
		key, token, err := k.inner.Create(ctx, c, spec)
		return created{key, token}, err
	})
	return out.APIKey, out.token, err
}

// Revoke implements Keys.
func (k *keys) Revoke(ctx context.Context, c host.Caller, id string) (host.APIKey, error) {
	return change(ctx, k.guard, c, "Keys.Revoke", "revokeKey", func() (host.APIKey, error) { return k.inner.Revoke(ctx, c, id) })
}

// Policies puts the guard before a service.
func (g *Guard) Policies(inner Policies) Policies { return &policies{inner, g} }

type policies struct {
	inner Policies
	guard *Guard
}

// Active implements Policies.
func (p *policies) Active(ctx context.Context, c host.Caller) (host.PolicySet, error) {
	if err := p.guard.read(ctx, c, "Policies.Active", "readPolicies"); err != nil {
		return host.PolicySet{}, err
	}
	return p.inner.Active(ctx, c)
}

// Set implements Policies.
func (p *policies) Set(ctx context.Context, c host.Caller, digest string) (host.PolicySet, error) {
	if err := p.guard.read(ctx, c, "Policies.Set", "readPolicies"); err != nil {
		return host.PolicySet{}, err
	}
	return p.inner.Set(ctx, c, digest)
}

// Change implements Policies.
func (p *policies) Change(ctx context.Context, c host.Caller, with host.PolicyChange) (host.PolicySet, error) {
	return change(ctx, p.guard, c, "Policies.Change", "writePolicies", func() (host.PolicySet, error) {
		return p.inner.Change(ctx, c, with)
	})
}

// Check implements Policies. The answer tells which tools there are.
func (p *policies) Check(ctx context.Context, c host.Caller, files []host.PolicyFile) (host.PolicyCheck, error) {
	if err := p.guard.read(ctx, c, "Policies.Check", "readPolicies"); err != nil {
		return host.PolicyCheck{}, err
	}
	return p.inner.Check(ctx, c, files)
}

// Schema implements Policies.
func (p *policies) Schema(ctx context.Context, c host.Caller) (string, error) {
	if err := p.guard.read(ctx, c, "Policies.Schema", "readPolicies"); err != nil {
		return "", err
	}
	return p.inner.Schema(ctx, c)
}

// Simulate implements Policies. The answer shows records of the audit.
func (p *policies) Simulate(ctx context.Context, c host.Caller, files []host.PolicyFile, since time.Time) (host.Simulation, error) {
	if err := p.guard.read(ctx, c, "Policies.Simulate", "readPolicies", "readAudit"); err != nil {
		return host.Simulation{}, err
	}
	return p.inner.Simulate(ctx, c, files, since)
}

// Explain implements Policies. The answer shows a record of the audit.
func (p *policies) Explain(ctx context.Context, c host.Caller, decision string) (host.Explanation, error) {
	if err := p.guard.read(ctx, c, "Policies.Explain", "readPolicies", "readAudit"); err != nil {
		return host.Explanation{}, err
	}
	return p.inner.Explain(ctx, c, decision)
}

// Reach implements Policies. The answer tells of policies and of an agent.
func (p *policies) Reach(ctx context.Context, c host.Caller, agent string) (host.Reach, error) {
	if err := p.guard.readAgent(ctx, c, "Policies.Reach", agent, "readPolicies"); err != nil {
		return host.Reach{}, err
	}
	return p.inner.Reach(ctx, c, agent)
}

// Tightest implements Policies. The answer tells what an agent did.
func (p *policies) Tightest(ctx context.Context, c host.Caller, agent string, since time.Time) (host.Suggestion, error) {
	if err := p.guard.readAgent(ctx, c, "Policies.Tightest", agent, "readPolicies", "readAudit"); err != nil {
		return host.Suggestion{}, err
	}
	return p.inner.Tightest(ctx, c, agent, since)
}

// readAgent decides about reading what the host itself knows of an agent.
func (g *Guard) readAgent(ctx context.Context, c host.Caller, call, agent string, actions ...string) error {
	v, err := g.visit(c, call, agentUID(agent), actions...)
	if err != nil {
		return err
	}
	t, ok := g.agentTarget(agent)
	if !ok {
		return v.absent(t, actions[0])
	}
	if err := v.see(ctx, t); err != nil {
		return err
	}
	if err := v.mayAll(ctx, hostTarget, actions); err != nil {
		return err
	}
	return v.taken()
}

// Audit puts the guard before a service.
func (g *Guard) Audit(inner Audit) Audit { return &audit{inner, g} }

type audit struct {
	inner Audit
	guard *Guard
}

// Search implements Audit.
func (a *audit) Search(ctx context.Context, c host.Caller, f host.AuditFilter) ([]policy.Record, string, error) {
	if err := a.guard.read(ctx, c, "Audit.Search", "readAudit"); err != nil {
		return nil, "", err
	}
	return a.inner.Search(ctx, c, f)
}

// Record implements Audit.
func (a *audit) Record(ctx context.Context, c host.Caller, id string) (policy.Record, error) {
	if err := a.guard.read(ctx, c, "Audit.Record", "readAudit"); err != nil {
		return policy.Record{}, err
	}
	return a.inner.Record(ctx, c, id)
}

// Tail implements Audit.
func (a *audit) Tail(ctx context.Context, c host.Caller, f host.AuditFilter) iter.Seq2[policy.Record, error] {
	const call, action = "Audit.Tail", "readAudit"
	if err := a.guard.read(ctx, c, call, action); err != nil {
		return failed[policy.Record](err)
	}
	w := &watch{
		visit:  &visit{guard: a.guard, caller: c, call: call},
		target: hostTarget, action: action, decided: a.guard.opt.Now(),
	}
	return follow(ctx, w, a.inner.Tail(ctx, c, f))
}

// Export implements Audit. Records leave the host in bulk.
func (a *audit) Export(ctx context.Context, c host.Caller, f host.AuditFilter, format string, w io.Writer) error {
	_, err := change(ctx, a.guard, c, "Audit.Export", "readAudit", nothing(func() error { return a.inner.Export(ctx, c, f, format, w) }))
	return err
}

// Checkpoint implements Audit.
func (a *audit) Checkpoint(ctx context.Context, c host.Caller) (string, error) {
	if err := a.guard.read(ctx, c, "Audit.Checkpoint", "readAudit"); err != nil {
		return "", err
	}
	return a.inner.Checkpoint(ctx, c)
}

// Verify implements Audit.
func (a *audit) Verify(ctx context.Context, c host.Caller, checkpoint string) (host.AuditCheck, error) {
	if err := a.guard.read(ctx, c, "Audit.Verify", "readAudit"); err != nil {
		return host.AuditCheck{}, err
	}
	return a.inner.Verify(ctx, c, checkpoint)
}
