package host

import (
	"time"

	"github.com/vespiary/vespiary/policy"
)

// What policies are told of people, agents and tasks, in the form of the policy schema: the
// same whether a call is decided or what a caller asks of the host.

// AskedBy is the context of what a caller asks of the host, as the policy schema's type
// Asked has it.
func AskedBy(c *Caller, now time.Time) map[string]any {
	return map[string]any{"now": now, "via": c.Via, "scopes": orEmpty(c.Scopes), "actors": orEmpty(c.Actors)}
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// UserEntities are the groups of a user of a tenant, and last the user.
func UserEntities(tenant policy.UID, user, name string, groups []string, claims map[string][]string) []policy.Entity {
	e := policy.Entity{
		UID: policy.UID{Type: "User", ID: user}, Parents: []policy.UID{tenant}, Attrs: map[string]any{"name": name}, Tags: claims,
	}
	var out []policy.Entity
	for _, g := range groups {
		group := policy.UID{Type: "Group", ID: g}
		e.Parents = append(e.Parents, group)
		out = append(out, policy.Entity{UID: group, Parents: []policy.UID{tenant}})
	}
	return append(out, e)
}

// AgentEntities are the roles of an agent of a tenant, and last the agent.
func AgentEntities(tenant policy.UID, a *Agent) []policy.Entity {
	e := policy.Entity{
		UID: policy.UID{Type: "Agent", ID: a.Name}, Parents: []policy.UID{tenant},
		Attrs: map[string]any{"module": policy.UID{Type: "Module", ID: a.Module}, "external": a.Module == ModuleExternal},
	}
	var out []policy.Entity
	for _, role := range a.Roles {
		id := policy.UID{Type: "Role", ID: role}
		e.Parents = append(e.Parents, id)
		out = append(out, policy.Entity{UID: id})
	}
	return append(out, e)
}

// TaskEntity is a task in the state that it says.
func TaskEntity(t *Task) policy.Entity {
	e := policy.Entity{
		UID: policy.UID{Type: "Task", ID: t.ID},
		Attrs: map[string]any{
			"state": string(t.State), "user": policy.UID{Type: "User", ID: t.User},
			"restricted": t.Grants != nil, "grants": policy.ActionsOf(t.Grants),
		},
	}
	if !t.Expires.IsZero() {
		e.Attrs["expiresAt"] = t.Expires
	}
	if t.Parent != "" {
		parent := policy.UID{Type: "Task", ID: t.Parent}
		e.Parents, e.Attrs["parent"] = []policy.UID{parent}, parent
	}
	return e
}
