package access

import (
	"context"

	"github.com/vespiary/vespiary/host"
)

// Who may answer a question may read it, and nobody else: it shows what an agent is about
// to do in somebody's name.

// Approvals implements Durable.
func (d *durable) Approvals(ctx context.Context, c host.Caller, f host.ApprovalFilter) ([]host.Approval, error) {
	v, err := d.guard.visit(c, "Durable.Approvals", approvalUID(""), "approve")
	if err != nil {
		return nil, err
	}
	sieve := newSieve(ctx, v, func(q *host.Approval) string { return q.ID }, func(q *host.Approval) (target, error) { return approvalTarget(q), nil })
	f.Visible = sieve.visible
	page, err := d.inner.Approvals(ctx, c, f)
	if err != nil {
		return nil, err
	}
	return sieve.keep(page, "Approval", "approve")
}

// Approval implements Durable.
func (d *durable) Approval(ctx context.Context, c host.Caller, id string) (host.Approval, error) {
	v, q, t, err := d.question(ctx, c, "Durable.Approval", id)
	if err != nil {
		return host.Approval{}, err
	}
	if err := v.show(ctx, t); err != nil {
		return host.Approval{}, err
	}
	return q, nil
}

// Answer implements Durable.
func (d *durable) Answer(ctx context.Context, c host.Caller, id string, a host.Answer) (host.Approval, error) {
	v, _, t, err := d.question(ctx, c, "Durable.Answer", id)
	if err != nil {
		return host.Approval{}, err
	}
	if err := v.may(ctx, t, t.read, nil); err != nil {
		return host.Approval{}, err
	}
	return done(ctx, v, func() (host.Approval, error) { return d.inner.Answer(ctx, c, id, a) })
}

// question finds an approval.
func (d *durable) question(ctx context.Context, c host.Caller, call, id string) (*visit, host.Approval, target, error) {
	const action = "approve"
	v, err := d.guard.visit(c, call, approvalUID(id), action)
	if err != nil {
		return nil, host.Approval{}, target{}, err
	}
	q, err := d.inner.Approval(ctx, c, id)
	switch {
	case host.CodeOf(err) == host.ErrNotFound:
		return nil, q, target{}, v.absent(target{uid: approvalUID(id), missing: noApproval(id)}, action)
	case err != nil:
		return nil, q, target{}, err
	}
	return v, q, approvalTarget(&q), nil
}
