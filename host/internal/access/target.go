package access

import (
	"cmp"
	"context"
	"maps"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// target is what a caller asks about.
type target struct {
	uid      policy.UID
	entities []policy.Entity
	agent    string // that it is or belongs to
	session  string
	read     string      // action that lets a caller know of it; "": everybody does
	missing  *host.Error // what they hear when it is not there, or is hidden
}

var (
	hostUID    = policy.UID{Type: "Host", ID: "this"}
	hostTarget = target{uid: hostUID, entities: []policy.Entity{{UID: hostUID}}}
)

// decide asks policy whether the caller may do an action with t, and nothing else.
func (v *visit) decide(ctx context.Context, t target, action string, more map[string]any) (policy.Decision, *policy.Request) {
	facts := host.AskedBy(&v.caller, v.guard.opt.Now())
	maps.Copy(facts, more)
	r := &policy.Request{
		Principal: userUID(v.caller.User), Action: policy.UID{Type: "Action", ID: action}, Resource: t.uid,
		Context: facts, Known: v.known(t.agent), Entities: append(v.others(t), t.entities...),
	}
	return v.guard.opt.Policy.Authorize(ctx, r), r
}

func userUID(name string) policy.UID     { return policy.UID{Type: "User", ID: name} }
func tenantUID(c host.Caller) policy.UID { return policy.UID{Type: "Tenant", ID: c.Tenant} }
func sessionUID(id string) policy.UID    { return policy.UID{Type: "Session", ID: id} }
func agentUID(name string) policy.UID    { return policy.UID{Type: "Agent", ID: name} }
func taskUID(id string) policy.UID       { return policy.UID{Type: "Task", ID: id} }
func approvalUID(id string) policy.UID   { return policy.UID{Type: "Approval", ID: id} }

// known are the caller and an agent, which all questions of a visit about it share.
func (v *visit) known(agent string) *policy.Known {
	if k, ok := v.shared[agent]; ok {
		return k
	}
	tenant := tenantUID(v.caller)
	k := &policy.Known{Entities: append([]policy.Entity{{UID: tenant}}, host.UserEntities(tenant, v.caller.User, cmp.Or(v.caller.Name, v.caller.User), v.caller.Groups, v.caller.Claims)...)}
	if a, ok := v.guard.opt.Agents(agent); ok && agent != "" {
		k.Entities = append(k.Entities, agentEntities(tenant, a)...)
	}
	if v.shared == nil {
		v.shared = map[string]*policy.Known{}
	}
	v.shared[agent] = k
	return k
}

// others are the users besides the caller that t names, with their groups, each once.
func (v *visit) others(t target) []policy.Entity {
	var out []policy.Entity
	seen := map[policy.UID]bool{userUID(v.caller.User): true}
	fresh := func(e policy.Entity) bool {
		known := seen[e.UID]
		seen[e.UID] = true
		return !known
	}
	for _, e := range t.entities {
		for _, value := range e.Attrs {
			id, ok := value.(policy.UID)
			if !ok || id.Type != "User" || seen[id] {
				continue
			}
			groups := v.guard.opt.Groups(host.Caller{Tenant: v.caller.Tenant, User: id.ID})
			for _, one := range host.UserEntities(tenantUID(v.caller), id.ID, id.ID, groups, nil) {
				if fresh(one) {
					out = append(out, one)
				}
			}
		}
	}
	return out
}

// agentEntities are an agent with its roles and its module.
func agentEntities(tenant policy.UID, a *host.Agent) []policy.Entity {
	module := policy.Entity{UID: policy.UID{Type: "Module", ID: a.Module}, Attrs: map[string]any{"name": a.Plugin, "version": ""}}
	return append(host.AgentEntities(tenant, a), module)
}

// agentTarget is an agent by name; ok is whether the configuration has it.
func (g *Guard) agentTarget(name string) (t target, ok bool) {
	_, ok = g.opt.Agents(name)
	return target{
		uid: agentUID(name), agent: name, read: "readAgent",
		missing: host.Errorf(host.ErrNotFound, "find agent %q: there is none with this name among yours; GET /v1/agents lists them", name),
	}, ok
}

// sessionTarget is a session. Its agent may be one that the configuration has not any more.
func sessionTarget(s *host.Session) target {
	return target{
		uid: sessionUID(s.ID), session: s.ID, agent: s.Agent, read: "readSession", missing: noSession(s.ID),
		entities: []policy.Entity{{
			UID:   sessionUID(s.ID),
			Attrs: map[string]any{"owner": userUID(s.Owner), "agent": agentUID(s.Agent)},
		}},
	}
}

func noSession(id string) *host.Error {
	return host.Errorf(host.ErrNotFound, "find session %s: there is none with this id among yours; GET /v1/sessions lists them", id)
}

// approvalTarget is the question for an approval. Who may not answer it may not read it.
func approvalTarget(q *host.Approval) target {
	return target{
		uid: approvalUID(q.ID), session: q.Session, agent: q.Agent, read: "approve", missing: noApproval(q.ID),
		entities: []policy.Entity{
			{UID: sessionUID(q.Session), Attrs: map[string]any{"owner": userUID(q.Owner), "agent": agentUID(q.Agent)}},
			{UID: approvalUID(q.ID), Attrs: map[string]any{
				"session": sessionUID(q.Session), "owner": userUID(q.Owner), "user": userUID(q.User), "agent": agentUID(q.Agent),
				"action": q.Action, "resource": q.Resource.Type + " " + q.Resource.ID, "call": q.Call,
			}},
		},
	}
}

func noApproval(id string) *host.Error {
	return host.Errorf(host.ErrNotFound, "find approval %s: there is none with this id that you may answer; GET /v1/approvals lists them", id)
}

// taskEntity describes a task as it is now.
func taskEntity(t *host.Task, now time.Time) policy.Entity {
	as := *t
	if as.State == host.TaskActive && !as.Live(now) {
		as.State = host.TaskExpired
	}
	return host.TaskEntity(&as)
}

func noTask(id string) *host.Error {
	return host.Errorf(host.ErrNotFound, "find task %s: there is none with this id among yours; GET /v1/tasks lists them", id)
}
