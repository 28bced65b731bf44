package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// An agent that calls another one opens a session for it, with a task below its own. The
// call does nothing but wait for the first turn there: it may be left and made again, and
// finds the session by a key that lives as long as the caller's turn.

// delegate is the capability agent_call.
type delegate struct{ svc *Service }

// Classify implements host.Capability.
func (k delegate) Classify(ctx context.Context, c *host.Call) (host.Class, error) {
	h, err := k.understand(ctx, c)
	if err != nil {
		return host.Class{}, err
	}
	class := k.idea(c, h.agent)
	class.Kind, class.Recovery, class.Durable, class.Unlimited, class.Waits = host.Control, abi.RecoverTxn, true, true, true
	class.Share, class.State = h.spec.Budget, h
	class.Context = map[string]any{"requested": policy.ActionsOf(h.spec.Grants), "childBudget": budgetOrNone(h.spec.Budget)}
	if !h.spec.Expires.IsZero() {
		class.Context["childExpiresAt"] = h.spec.Expires
	}
	if h.begun == nil {
		class.Deny, err = k.excess(ctx, c, h)
	}
	return class, err
}

// idea is a call of an agent of which nothing else is known.
func (k delegate) idea(c *host.Call, agent *host.Agent) host.Class {
	e := host.AgentEntities(uid("Tenant", c.Run.Tenant), agent)
	module := policy.Entity{UID: uid("Module", agent.Module), Attrs: map[string]any{"name": agent.Plugin, "version": ""}}
	return host.Class{Action: "delegate", Resource: e[len(e)-1], Entities: append(e[:len(e)-1:len(e)-1], module)}
}

// Perform implements host.Capability.
func (k delegate) Perform(ctx context.Context, c *host.Call) (host.Output, error) {
	h, _ := c.Class.State.(*handing)
	t := turnOf(ctx)
	if t == nil || h == nil {
		return host.Output{}, &abi.Error{Code: abi.CodeUnavailable, Message: "agent_call: there is no turn to call from"}
	}
	turn, err := k.begin(ctx, t, c, h)
	if err != nil {
		return host.Output{}, asResult(err)
	}
	t.actor.suspend(c.Path, before(ctx, []abi.Wait{{Type: abi.EventAgent, Name: turn.Session}}))
	defer t.actor.suspend(c.Path, nil)
	if err := k.svc.ended(ctx, c.Run.Tenant, turn.Session, turn.Number); err != nil {
		return k.abandon(ctx, c, turn, h, err)
	}
	out, err := k.result(ctx, c.Run.Tenant, turn)
	t.passing.account.add(out.Usage.Fuel)
	return out, asResult(err)
}

// asResult tells the guest what a refusal of the host means for it.
func asResult(err error) error {
	refused, ok := errors.AsType[*host.Error](err)
	if !ok {
		return err
	}
	e := &abi.Error{Code: abi.CodeUnavailable, Message: "agent_call: " + refused.Message}
	switch refused.Code {
	case host.ErrInvalid, host.ErrConflict:
		e.Code = abi.CodeInvalid
	case host.ErrTooMany, host.ErrFull:
		e.Code, e.Retryable = abi.CodeRateLimited, true
	default:
	}
	return e
}

// begin opens the session of the call, or finds the one that it opened before.
func (k delegate) begin(ctx context.Context, t *turnState, c *host.Call, h *handing) (host.Turn, error) {
	label := t.passing.passage.Label()
	in := host.Invocation{
		Caller: c.Run.Caller, Agent: h.agent.Name, Body: c.Request, Task: h.spec, For: linksOf(c), Label: &label,
		Event: abi.Event{Type: abi.EventMessage, Content: h.request.Content, Data: h.request.Data},
	}
	in.Caller.Tenant, in.Caller.User = c.Run.Tenant, c.Run.User
	key := childKey(c)
	defer k.svc.idem.lock(string(key))()
	earlier, err := k.svc.earlier(ctx, key, in)
	switch {
	case err != nil || earlier != nil:
		return deref(earlier), err
	case h.begun != nil: // it is not called twice
		return host.Turn{}, host.Errorf(host.ErrNotFound, "the session in which %s was called was removed before it was heard", h.agent.Name)
	}
	return k.svc.accept(ctx, in, key)
}

// childKey leads to the session that a call opened.
func childKey(c *host.Call) []byte {
	return append(childKeys(c.Run.Tenant, c.Run.Session), c.Key...)
}

// ended waits until a turn is over, however long it is suspended.
func (s *Service) ended(ctx context.Context, tenant, session string, turn int) error {
	for {
		news := s.hub.news(tenant + "/" + session)
		head, err := s.head(ctx, tenant, session)
		if err != nil {
			return err
		}
		if head.Ended >= turn || head.Status == host.SessionErased {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// abandon ends what was called when the call ends before it, unless the call is only left.
// What it has used counts as if it had been heard.
func (k delegate) abandon(ctx context.Context, c *host.Call, turn host.Turn, h *handing, err error) (host.Output, error) {
	cause := context.Cause(ctx)
	if ctx.Err() == nil || errors.Is(cause, host.ErrStopping) || errors.Is(cause, host.ErrSuspended) {
		return host.Output{}, asResult(err)
	}
	ctx = context.WithoutCancel(ctx)
	if k.svc.cancelChild(ctx, c.Run.Tenant, turn.Session) != nil || errors.Is(cause, host.ErrCancelled) { // nobody counts any more
		return host.Output{}, err
	}
	patience, stop := context.WithTimeout(ctx, 2*grace)
	defer stop()
	if k.svc.ended(patience, c.Run.Tenant, turn.Session, turn.Number) != nil {
		all := h.spec.Budget
		return host.Output{Usage: abi.Usage{InputTokens: all.Tokens, CostMicros: all.CostMicros, Fuel: all.Fuel}, Calls: all.Calls}, err
	}
	out, failed := k.result(ctx, c.Run.Tenant, turn)
	if failed != nil {
		k.svc.opt.Log.WarnContext(ctx, "what a called agent has used is not known", "session", turn.Session, "error", failed)
	}
	return host.Output{Usage: out.Usage, Calls: out.Calls}, err
}

// result is what the caller gets of the other agent's turn.
func (k delegate) result(ctx context.Context, tenant string, turn host.Turn) (host.Output, error) {
	head, err := k.svc.head(ctx, tenant, turn.Session)
	if err != nil {
		return host.Output{}, err
	}
	v, err := k.svc.read(ctx, head, turn.Number)
	if err != nil {
		return host.Output{}, err
	}
	got, err := k.svc.project(ctx, head, v)
	if err != nil {
		return host.Output{}, err
	}
	b, err := json.Marshal(answerOf(got))
	out := host.Output{OK: b, Labels: abi.Labels{"": v.ended.Label}, Usage: got.Usage, Calls: v.ended.Calls}
	out.Usage.Fuel += v.ended.Fuel // to its caller it is a tool
	return out, err
}

func answerOf(t host.Turn) abi.AgentResult {
	r := abi.AgentResult{Status: abi.StatusFailed, Content: t.Content, Error: t.Error, Agent: t.Agent, Session: t.Session, Task: t.Task}
	switch t.Status {
	case host.TurnDone:
		r.Status = abi.StatusDone
	case host.TurnWaiting:
		r.Status = abi.StatusWaiting
	default:
		if r.Error == nil {
			r.Error = &abi.Error{Code: abi.CodeInternal, Message: fmt.Sprintf("the turn is %s", t.Status)}
		}
	}
	return r
}
