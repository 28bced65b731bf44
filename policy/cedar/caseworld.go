package cedar

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/vespiary/vespiary/policy"
)

// caseNow is the time at which cases happen.
var caseNow = time.Date(2026, time.January, 1, 12, 0, 0, 0, time.UTC)

// caseDigest is context.argsDigest of a case.
const caseDigest = "sha256:arguments"

// caseWorld builds what a case happens in.
type caseWorld struct {
	words    *vocabulary
	c        *Case
	values   caseValues
	user     policy.UID
	agent    policy.UID // that asks
	entities []policy.Entity
	chain    []policy.Hop
	agents   []policy.UID // of the chain
}

// caseRequest is the request that a case describes.
func (v *vocabulary) caseRequest(c *Case) (*policy.Request, error) {
	w := &caseWorld{
		words: v, c: c,
		user:  policy.UID{Type: "User", ID: cmp.Or(c.User, "user")},
		agent: policy.UID{Type: "Agent", ID: cmp.Or(c.Agent, "agent")},
	}
	w.values = caseValues{now: caseNow, zero: w.usually}
	action, ok := v.schema.Actions[types.EntityUID{Type: actionType, ID: types.String(c.Action)}]
	switch {
	case !ok:
		return nil, fmt.Errorf("the schema has no action %q; %s", c.Action, nearest(c.Action, v.actionNames()))
	case action.AppliesTo == nil:
		return nil, fmt.Errorf("%q is a group of actions; name one of those in it", c.Action)
	}
	if err := w.setNow(); err != nil {
		return nil, err
	}
	principal, err := w.people(action.AppliesTo)
	if err != nil {
		return nil, err
	}
	resource, err := w.resource(action.AppliesTo)
	if err != nil {
		return nil, err
	}
	context, err := w.context(action.AppliesTo.Context)
	if err != nil {
		return nil, err
	}
	return &policy.Request{
		Principal: principal, Action: policy.UID{Type: string(actionType), ID: c.Action}, Resource: resource,
		Context: context, Known: &policy.Known{Entities: w.entities}, Chain: w.chain,
	}, nil
}

// setNow takes the time first, since others are told by their distance from it.
func (w *caseWorld) setNow() error {
	raw, ok := w.c.Context["now"]
	if !ok {
		return nil
	}
	now, err := w.values.extension("datetime", raw)
	if err != nil {
		return fmt.Errorf("context.now: %w", err)
	}
	w.values.now, _ = now.(time.Time)
	return nil
}

// usually is whom an attribute names that the case does not speak of.
func (w *caseWorld) usually(kind types.EntityType) policy.UID {
	switch kind {
	case "User":
		return w.user
	case "Agent":
		return w.agent
	default:
		return policy.UID{Type: string(kind), ID: strings.ToLower(string(kind))}
	}
}

func (w *caseWorld) add(u policy.UID, attrs map[string]any, parents ...policy.UID) {
	if !w.has(u) {
		w.entities = append(w.entities, policy.Entity{UID: u, Attrs: attrs, Parents: parents})
	}
}

func (w *caseWorld) has(u policy.UID) bool {
	return slices.ContainsFunc(w.entities, func(e policy.Entity) bool { return e.UID == u })
}

// people adds who asks, and for whom, and returns the principal.
func (w *caseWorld) people(applies *resolved.AppliesTo) (policy.UID, error) {
	home := policy.UID{Type: "Tenant", ID: cmp.Or(w.c.Tenant, "home")}
	w.add(home, nil)
	groups := []policy.UID{home}
	for _, g := range w.c.Groups {
		u := policy.UID{Type: "Group", ID: g}
		w.add(u, nil, home)
		groups = append(groups, u)
	}
	w.entities = append(w.entities, policy.Entity{UID: w.user, Parents: groups, Attrs: map[string]any{"name": w.user.ID}, Tags: w.c.Claims})
	if slices.Contains(applies.Principals, "User") {
		w.agentEntity(w.agent, w.c.Roles)
		return w.user, nil
	}
	return w.runs()
}

func (w *caseWorld) agentEntity(u policy.UID, roles []string) {
	home := policy.UID{Type: "Tenant", ID: cmp.Or(w.c.Tenant, "home")}
	module := policy.UID{Type: "Module", ID: "sha256:" + u.ID}
	w.add(module, map[string]any{"name": u.ID, "version": "1.0.0"})
	parents := []policy.UID{home}
	for _, r := range roles {
		role := policy.UID{Type: "Role", ID: r}
		w.add(role, nil)
		parents = append(parents, role)
	}
	w.add(u, map[string]any{"module": module, "external": w.c.External && u == w.agent}, parents...)
}

// runs adds the run that acts and those it acts for, from the last to the first, and
// returns the first.
func (w *caseWorld) runs() (policy.UID, error) {
	hops := append([]CaseHop{{Agent: w.agent.ID, Roles: w.c.Roles, Task: &w.c.Task}}, w.c.ActsFor...)
	w.chain = make([]policy.Hop, len(hops))
	var above *run
	for i := len(hops) - 1; i >= 0; i-- {
		r, err := w.run(&hops[i], i, len(hops)-1-i, above)
		if err != nil {
			return policy.UID{}, err
		}
		w.chain[i] = policy.Hop{Principal: r.uid, Grants: r.grants}
		above = r
	}
	for i := range hops {
		if agent := (policy.UID{Type: "Agent", ID: hops[i].Agent}); !slices.Contains(w.agents, agent) {
			w.agents = append(w.agents, agent)
		}
	}
	return above.uid, nil
}

// run is one run of a case's chain.
type run struct {
	uid, agent, task policy.UID
	grants           *policy.Grants
}

func (w *caseWorld) run(h *CaseHop, n, depth int, above *run) (*run, error) {
	agent := policy.UID{Type: "Agent", ID: h.Agent}
	w.agentEntity(agent, h.Roles)
	r := &run{uid: policy.UID{Type: "Run", ID: "r" + strconv.Itoa(n)}, agent: agent}
	if err := w.task(r, h.Task, n, above); err != nil {
		return nil, err
	}
	attrs := map[string]any{
		"agent": agent, "task": r.task, "module": policy.UID{Type: "Module", ID: "sha256:" + h.Agent}, "user": w.user, "depth": depth,
	}
	parents := []policy.UID{agent, r.task}
	if above != nil {
		attrs["parent"] = above.uid
	}
	// A tool's run is in that of its agent; another agent's run must not inherit from the
	// agent that it acts for.
	if above != nil && above.agent == agent {
		parents = append(parents, above.uid)
	}
	w.add(r.uid, attrs, parents...)
	return r, nil
}

// task adds the task of a run. The one that acts for another without saying in which
// task does so in the task of that one.
func (w *caseWorld) task(r *run, t *CaseTask, n int, above *run) error {
	said := t != nil && (t.ID != "" || t.State != "" || t.Expires != "" || t.Grants != nil)
	if above != nil && !said {
		r.task, r.grants = above.task, above.grants
		return nil
	}
	if t == nil {
		t = &CaseTask{}
	}
	r.task = policy.UID{Type: "Task", ID: cmp.Or(t.ID, "t"+strconv.Itoa(n))}
	attrs := map[string]any{"state": cmp.Or(t.State, "active"), "user": w.user, "restricted": t.Grants != nil, "grants": []string{}}
	if t.Expires != "" {
		expires, err := w.values.moment(t.Expires)
		if err != nil {
			return fmt.Errorf("task.expires is %q, but %w", t.Expires, err)
		}
		attrs["expiresAt"] = expires
	}
	if t.Grants != nil {
		grants, err := t.grants(r.task.ID)
		if err != nil {
			return err
		}
		r.grants, attrs["grants"] = grants, t.granted()
	}
	var parents []policy.UID
	if above != nil && above.task != r.task {
		attrs["parent"], parents = above.task, []policy.UID{above.task}
	}
	w.add(r.task, attrs, parents...)
	return nil
}

func (t *CaseTask) grants(id string) (*policy.Grants, error) {
	out := &policy.Grants{Task: id, List: []policy.Grant{}}
	for _, g := range t.Grants {
		grant := policy.Grant{Actions: g.Actions}
		for _, name := range g.Resources {
			u, err := entityName(name, "")
			if err != nil {
				return nil, fmt.Errorf("task.grants: %w", err)
			}
			grant.Resources = append(grant.Resources, u)
		}
		out.List = append(out.List, grant)
	}
	return out, nil
}

// granted are the names of what the grants give.
func (t *CaseTask) granted() []string {
	all := []string{}
	for _, g := range t.Grants {
		all = append(all, g.Actions...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// resource adds the resource and what it is in.
func (w *caseWorld) resource(applies *resolved.AppliesTo) (policy.UID, error) {
	var kind types.EntityType
	if len(applies.Resources) == 1 {
		kind = applies.Resources[0]
	}
	u, err := entityName(cmp.Or(w.c.Resource, w.defaultName(kind)), kind)
	if err != nil {
		return u, fmt.Errorf("resource: %w", err)
	}
	declared, ok := w.words.schema.Entities[types.EntityType(u.Type)]
	if !ok {
		return u, fmt.Errorf("resource: the schema has no type %s; %s", u.Type, nearest(u.Type, w.words.typeNames()))
	}
	given, parents := w.usual(u)
	if w.c.In != nil {
		if parents, err = w.parents(declared); err != nil {
			return u, err
		}
	}
	w.entities = slices.DeleteFunc(w.entities, func(e policy.Entity) bool {
		if e.UID == u { // one of the people of the case, such as the agent asked for
			given, parents = e.Attrs, append(parents, e.Parents...)
		}
		return e.UID == u
	})
	attrs, err := w.values.record("attrs", declared.Shape, w.c.Attrs, given)
	if err != nil {
		return u, err
	}
	w.add(u, attrs, parents...)
	for _, p := range parents {
		w.add(p, nil)
	}
	return u, nil
}

// defaultName is the resource of a case that names none.
func (w *caseWorld) defaultName(kind types.EntityType) string {
	switch kind {
	case "Tool":
		return w.c.Action
	case "Agent":
		return w.agent.ID
	case "Host":
		return "this"
	default:
		return "it"
	}
}

func (w *caseWorld) parents(declared resolved.Entity) ([]policy.UID, error) {
	var kind types.EntityType
	if len(declared.ParentTypes) == 1 {
		kind = declared.ParentTypes[0]
	}
	var out []policy.UID
	for _, name := range w.c.In {
		u, err := entityName(name, kind)
		if err != nil {
			return nil, fmt.Errorf("in: %w", err)
		}
		out = append(out, u)
	}
	return out, nil
}

// usual is what the host says of a resource with such a name.
func (w *caseWorld) usual(u policy.UID) (attrs map[string]any, parents []policy.UID) {
	switch u.Type {
	case "Tool":
		source, _, _ := strings.Cut(u.ID, ".")
		group := types.EntityUID{Type: actionType, ID: "invokeReadTool"}
		reads := slices.Contains(w.words.lineage[types.EntityUID{Type: actionType, ID: types.String(w.c.Action)}], group)
		return map[string]any{"source": source, "readOnly": reads}, []policy.UID{{Type: "ToolSet", ID: source}}
	case "Model":
		return map[string]any{"name": u.ID}, nil
	case "NetHost":
		host, port, _ := strings.Cut(u.ID, ":")
		n, err := strconv.ParseInt(port, 10, 64)
		if err != nil {
			n = 443
		}
		return map[string]any{"host": host, "port": n, "tls": n == 443}, nil
	case "File":
		folder, path, within := strings.Cut(u.ID, "/")
		if !within {
			folder, path = "workspace", u.ID
		}
		return map[string]any{"path": path, "inside": true, "readOnly": false}, []policy.UID{{Type: "Folder", ID: folder}}
	case "ConnectorScope":
		if connector, _, within := strings.Cut(u.ID, "/"); within {
			return nil, []policy.UID{{Type: "Connector", ID: connector}}
		}
		return nil, nil
	case "MemorySpace":
		return map[string]any{"tier": "session"}, nil
	case "Task":
		return map[string]any{"state": "active"}, nil
	case "Approval":
		return map[string]any{"action": "fileWrite", "resource": "File workspace/it", "call": "file_write"}, nil
	default:
		return nil, nil
	}
}

// context is that of a trusted call without limits, with what the case says instead.
func (w *caseWorld) context(want resolved.RecordType) (map[string]any, error) {
	unlimited := map[string]any{"tokens": int64(-1), "usdMicros": int64(-1), "calls": int64(-1)}
	given := map[string]any{
		"now": w.values.now, "left": unlimited, "path": "1/1", "argsDigest": caseDigest,
		"flow": map[string]any{
			"pc": int64(2), "control": int64(2), "data": int64(2), "isPublic": false, "readers": []string{w.user.ID},
			"recipients": []string{}, "named": true, "sources": []string{"user"},
		},
		"agents": w.agents, "method": "GET", "scheme": "https", "urlPath": "/", "via": "key",
	}
	runs := make([]policy.UID, len(w.chain))
	for i, h := range w.chain {
		runs[i] = h.Principal
	}
	given["chain"] = runs
	if w.c.Approved != "" {
		by, err := entityName(w.c.Approved, "User")
		if err != nil {
			return nil, fmt.Errorf("approved: %w", err)
		}
		w.add(by, map[string]any{"name": by.ID}, policy.UID{Type: "Tenant", ID: cmp.Or(w.c.Tenant, "home")})
		given["approval"] = map[string]any{"by": by, "digest": caseDigest}
	}
	return w.overridden(want, given)
}

func (w *caseWorld) overridden(want resolved.RecordType, given map[string]any) (map[string]any, error) {
	if _, ok := w.c.Context["granted"]; ok {
		return nil, errors.New("context.granted follows from the grants of the tasks; leave it out")
	}
	said := maps.Clone(w.c.Context)
	delete(said, "now")
	if _, ok := want["approval"]; !ok && w.c.Approved != "" {
		return nil, fmt.Errorf("%s takes no approval; leave approved out", w.c.Action)
	}
	want = maps.Clone(want)
	delete(want, "granted")
	return w.values.record("context", want, said, given)
}
