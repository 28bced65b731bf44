package session

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

func uid(kind, id string) policy.UID { return policy.UID{Type: kind, ID: id} }

// described gathers entities; of two with one name the first counts.
type described []policy.Entity

func (d *described) add(entities ...policy.Entity) {
	for _, e := range entities {
		if !slices.ContainsFunc(*d, func(x policy.Entity) bool { return x.UID == e.UID }) {
			*d = append(*d, e)
		}
	}
}

// known describes the run, and all that it belongs to, to policy. Tasks are not among it:
// what they are worth changes.
func known(r *host.Run) *policy.Known {
	var out described
	if r.Parent != nil {
		out.add(r.Parent.Known.Entities...)
	}
	agent, module := uid("Agent", r.Agent.Name), uid("Module", r.Module)
	out.add(userEntities(r.Tenant, r.User, &r.Caller)...)
	out.add(host.AgentEntities(uid("Tenant", r.Tenant), r.Agent)...)
	out.add(policy.Entity{UID: module, Attrs: map[string]any{"name": r.Plugin, "version": ""}})
	if r.Agent.Module != r.Module {
		out.add(policy.Entity{UID: uid("Module", r.Agent.Module), Attrs: map[string]any{"name": r.Agent.Plugin, "version": ""}})
	}
	run := policy.Entity{
		UID: uid("Run", r.ID), Parents: []policy.UID{agent, uid("Task", r.Task)},
		Attrs: map[string]any{
			"agent": agent, "task": uid("Task", r.Task), "user": uid("User", r.User), "module": module, "depth": int64(r.Depth),
		},
	}
	if r.Parent != nil {
		parent := uid("Run", r.Parent.ID)
		run.Attrs["parent"] = parent
		if r.Parent.Agent.Name == r.Agent.Name { // another agent does not get what policies permit this one
			run.Parents = append(run.Parents, parent)
		}
	}
	out.add(run)
	return &policy.Known{Entities: out}
}

// userEntities are a user with groups and tenant. The caller, where it is that user, tells
// groups and claims.
func userEntities(tenant, user string, c *host.Caller) []policy.Entity {
	t := uid("Tenant", tenant)
	out := []policy.Entity{{UID: t}}
	if c != nil && c.User == user {
		return append(out, host.UserEntities(t, user, cmp.Or(c.Name, user), c.Groups, c.Claims)...)
	}
	return append(out, host.UserEntities(t, user, user, nil, nil)...)
}

// wordsOf are the texts of an event.
func wordsOf(e *abi.Event) []string {
	var out []string
	for _, c := range e.Content {
		if c.Text != "" {
			out = append(out, c.Text)
		}
	}
	return out
}

// wordsIn are the texts of an event that are the user's: nothing was read before it that is
// not trusted.
func wordsIn(event []byte) ([]string, error) {
	var e abi.Event
	if err := json.Unmarshal(event, &e); err != nil {
		return nil, err
	}
	if e.Type != abi.EventMessage || e.Labels[""].Integrity < abi.Trusted {
		return nil, nil
	}
	return wordsOf(&e), nil
}
