package gate

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// asks tells whether a person is asked about a call that was decided.
func (t *Turn) asks(c *host.Call) bool {
	return !c.Allowed.Allowed && c.Allowed.Approval != "" && t.opt.Approvals != nil && t.opt.Mode == Live
}

// ask records once that the call was denied and may be approved, and asks.
func (t *Turn) ask(ctx context.Context, c *host.Call, p *past, limit time.Duration) (Delivered, error) {
	if p == nil || p.intent == nil || p.intent.Decision.Approval == "" {
		attempt := c.Attempt
		c.Attempt = 0 // nothing has been tried
		if err := t.intend(ctx, c); err != nil {
			return Delivered{}, err
		}
		c.Attempt = attempt
	}
	return t.launch(ctx, c, true, func(ctx context.Context, f *flight) (Delivered, *host.Outcome, error) {
		return t.approve(ctx, c, f, limit)
	})
}

// approve asks a person about a call that was denied and may be approved. With the
// approval the call is decided anew, under the policies and the moment of then.
func (t *Turn) approve(ctx context.Context, c *host.Call, f *flight, limit time.Duration) (Delivered, *host.Outcome, error) {
	got, err := t.opt.Approvals.Ask(ctx, t.question(c))
	failure, fatal := t.failure(ctx, c, err)
	switch {
	case fatal != nil:
		return Delivered{}, nil, fatal
	case failure != nil:
		return t.refuse(ctx, c, failure)
	case got.Status != host.ApprovalGranted:
		return t.refuse(ctx, c, unapproved(c, got))
	}
	if c.Class.Child != nil && t.air.sleeping() || !t.air.shared.acts(f) {
		return Delivered{}, nil, host.ErrSuspended // its guest needs others that are there
	}
	c.Approval = &got
	if refusal := t.authorize(ctx, c); refusal != nil {
		if stop := stopped(ctx); stop != nil {
			return Delivered{}, nil, stop
		}
		refusal.Code = abi.CodeDenied // nobody is asked twice
		if err := t.intend(ctx, c); err != nil {
			return Delivered{}, nil, err
		}
		return t.refuse(ctx, c, refusal)
	}
	if err := t.intend(ctx, c); err != nil {
		return Delivered{}, nil, err
	}
	return t.perform(ctx, c, limit)
}

// question is what a person is asked about the call.
func (t *Turn) question(c *host.Call) host.Approval {
	a := host.Approval{
		Tenant: c.Run.Tenant, Session: c.Run.Session, Owner: c.Run.Owner, Agent: c.Run.Agent.Name,
		Task: c.Run.Task, User: c.Run.User, Turn: c.Run.Turn, Path: c.Path, Call: c.Name,
		Action: c.Class.Action, Resource: c.Class.Resource.UID, Digest: c.Digest, Note: c.Allowed.Approval,
		Request: c.Request,
	}
	a.ID = t.approvalID(c)
	return a
}

// typable is for names that people type: no letter that a shell or an eye takes for another.
var typable = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// approvalID is the digest of all that the call is. Its idempotency key stands for
// session, branch epoch and call path.
func (t *Turn) approvalID(c *host.Call) string {
	h := sha256.New()
	for _, part := range []string{
		c.Key, c.Digest, c.Class.Action, c.Class.Resource.UID.Type, c.Class.Resource.UID.ID, c.Run.Module, c.Run.Task,
	} {
		h.Write(append(strconv.AppendInt(nil, int64(len(part)), 10), ':'))
		h.Write([]byte(part))
	}
	return typable.EncodeToString(h.Sum(nil)[:20])
}

// approvalOf is context.approval of a call that was approved.
func approvalOf(a *host.Approval) map[string]any {
	return map[string]any{"by": policy.UID{Type: "User", ID: a.By}, "digest": a.Digest}
}

func unapproved(c *host.Call, a host.Approval) *abi.Error {
	e := &abi.Error{Code: abi.CodeDenied, Message: c.Name + " needed an approval"}
	switch a.Status {
	case host.ApprovalDenied:
		e.Message += " and " + a.By + " denied it"
	case host.ApprovalExpired, host.ApprovalVoid, host.ApprovalPending, host.ApprovalGranted:
		e.Message += " and nobody gave it in time"
	}
	if a.Reason != "" {
		e.Message += ": " + a.Reason
	}
	return e
}

func approvedBy(c *host.Call) string {
	if c.Approval == nil {
		return ""
	}
	return c.Approval.ID
}
