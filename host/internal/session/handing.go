package session

import (
	"context"
	"fmt"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// The bounds of delegation: how long a chain of agents may be, and how often one agent may
// be in it.
const (
	maxDelegations = 5
	maxSameAgent   = 2
)

// handing is a call of another agent as it was understood: whom it calls, and what that
// one's task gets, which is at most what the caller's has.
type handing struct {
	request abi.AgentCall
	agent   *host.Agent
	spec    host.TaskSpec
	begun   *promise // of an earlier attempt: what it gave is given
}

func (k delegate) understand(ctx context.Context, c *host.Call) (*handing, error) {
	h := &handing{}
	if err := decodeRequest(c, &h.request); err != nil {
		return nil, err
	}
	var ok bool
	if h.agent, ok = k.svc.opt.Agents.Agent(h.request.Agent); !ok || !c.Could(ctx, k.idea(c, h.agent)) {
		return nil, &abi.Error{Code: abi.CodeNotFound, Message: fmt.Sprintf("agent_call: there is no agent %.80q that this one could call", h.request.Agent)}
	}
	if h.agent.Module == host.ModuleExternal {
		return nil, &abi.Error{Code: abi.CodeInvalid, Message: "agent_call: " + h.agent.Name + " is a program outside of the host, which cannot be called"}
	}
	h.spec = host.TaskSpec{Purpose: h.request.Purpose, Expires: k.until(c, h.request.ExpiresIn), Grants: grantsOf(h.request.Grants)}
	var err error
	if h.begun, err = k.svc.promised(ctx, childKey(c)); err != nil {
		return nil, err
	}
	if h.begun != nil {
		h.spec.Budget = h.begun.Budget
		return h, nil
	}
	if h.spec.Budget, err = handedOn(c.Left, h.request.Budget); err != nil {
		return nil, err
	}
	return h, k.machine(ctx, c, &h.spec.Budget)
}

// machine adds to the other agent's budget what the caller may use of the machine.
func (k delegate) machine(ctx context.Context, c *host.Call, b *host.Budget) error {
	s, err := k.svc.opt.Tasks.Standing(ctx, c.Run.Tenant, c.Run.Session, c.Run.Task)
	if err != nil {
		return err
	}
	b.Memory = lesser(s.Task.Budget.Memory, c.Run.Agent.Turn.Memory)
	b.Fuel = lesser(s.Task.Budget.Fuel, c.Run.Agent.Turn.Fuel)
	if t := turnOf(ctx); t != nil && b.Fuel > 0 {
		b.Fuel = share(t.passing.account.left(), 0)
	}
	return nil
}

// maxExpiresIn is a hundred years in milliseconds: more does not fit a duration for long.
const maxExpiresIn = 100 * 365 * 24 * 3600 * 1000

// until is when the other agent's task ends at the latest.
func (k delegate) until(c *host.Call, ms int64) time.Time {
	if ms <= 0 || ms > maxExpiresIn {
		return c.Run.Expires
	}
	by := k.svc.opt.Now().Add(time.Duration(ms) * time.Millisecond)
	if c.Run.Expires.IsZero() || by.Before(c.Run.Expires) {
		return by
	}
	return c.Run.Expires
}

// grantsOf are the grants of a call in policy's words; nil stays nil.
func grantsOf(in []abi.AgentGrant) []policy.Grant {
	if in == nil {
		return nil
	}
	out := []policy.Grant{}
	for _, g := range in {
		grant := policy.Grant{Actions: g.Actions}
		for _, r := range g.Resources {
			grant.Resources = append(grant.Resources, uid(r.Type, r.ID))
		}
		out = append(out, grant)
	}
	return out
}

// handedOn is the budget of the other agent's task.
func handedOn(left host.Left, asked abi.AgentBudget) (host.Budget, error) {
	if left.Calls > 0 {
		left.Calls-- // agent_call is one itself
	}
	if left.Tokens == 0 || left.CostMicros == 0 || left.Calls == 0 {
		return host.Budget{}, &abi.Error{Code: abi.CodeBudgetExceeded, Message: "agent_call: nothing is left of the task's budget to hand on"}
	}
	return host.Budget{
		Tokens:     share(left.Tokens, asked.Tokens),
		CostMicros: share(left.CostMicros, asked.CostMicros),
		Calls:      share(left.Calls, asked.Calls),
	}, nil
}

// share is what is handed on of what is left, -1 being without limit: what is asked for, or
// half of it, so that the caller has something left.
func share(left, asked int64) int64 {
	switch {
	case left < 0:
		return max(asked, 0)
	case asked <= 0:
		return (left + 1) / 2
	}
	return min(left, asked)
}

// budgetOrNone is a budget as policies see it, where -1 is without limit.
func budgetOrNone(b host.Budget) map[string]any {
	orNone := func(n int64) int64 {
		if n == 0 {
			return -1
		}
		return n
	}
	return map[string]any{"tokens": orNone(b.Tokens), "usdMicros": orNone(b.CostMicros), "calls": orNone(b.Calls)}
}

// excess tells what a call asks for that nobody could give it: a longer chain, or grants
// that the caller's task does not have.
func (k delegate) excess(ctx context.Context, c *host.Call, h *handing) (string, error) {
	links := linksOf(c)
	acts := map[string]string{} // session to agent: tools act in their agent's session
	same := 0
	for _, l := range links {
		if acts[l.Session] == "" && l.Agent == h.agent.Name {
			same++
		}
		acts[l.Session] = l.Agent
	}
	switch {
	case len(acts) > maxDelegations:
		return fmt.Sprintf("agents have delegated %d times in this chain, the most there may be", maxDelegations), nil
	case same >= maxSameAgent:
		return fmt.Sprintf("agent %s acts %d times in this chain already", h.agent.Name, same), nil
	case h.spec.Grants == nil || k.svc.opt.Grants == nil:
		return "", nil
	}
	if err := k.svc.opt.Grants.CheckGrants(h.spec.Grants); err != nil {
		return "", &abi.Error{Code: abi.CodeInvalid, Message: "agent_call: " + err.Error()}
	}
	return k.beyond(ctx, c, h.spec.Grants)
}

// beyond tells which grants go beyond those of the caller's task and of those above it.
func (k delegate) beyond(ctx context.Context, c *host.Call, grants []policy.Grant) (string, error) {
	s, err := k.svc.opt.Tasks.Standing(ctx, c.Run.Tenant, c.Run.Session, c.Run.Task)
	if err != nil {
		return "", err
	}
	for ; s != nil; s = s.Parent {
		if s.Grants == nil {
			continue
		}
		if err := k.svc.opt.Grants.Attenuates(s.Grants.List, grants); err != nil {
			return err.Error(), nil
		}
	}
	return "", nil
}

// linksOf are the runs that a call is made for, as the chain of another agent's task.
func linksOf(c *host.Call) []host.Link {
	var out []host.Link
	path := c.Path
	for r := c.Run; r != nil; r = r.Parent {
		out = append(out, host.Link{
			Session: r.Session, Run: r.ID, Agent: r.Agent.Name, Module: r.Module, Plugin: r.Plugin, Task: r.Task, User: r.User,
			Depth: r.Depth, Path: path,
		})
		path = r.Path
	}
	return out
}
