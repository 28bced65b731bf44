package access

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// maxParents bounds how far a task is followed to those that it was delegated from.
const maxParents = 64

// Tasks puts the guard before a service.
func (g *Guard) Tasks(inner Tasks) Tasks { return &tasks{inner, g} }

type tasks struct {
	inner Tasks
	guard *Guard
}

// opened is a task with the token that it is called with.
type opened struct {
	host.Task
	token string
}

// special reports whether a task is to be another than its agent's configuration says.
func special(s host.TaskSpec) bool {
	return s.Grants != nil || s.Budget != host.Budget{} || !s.Expires.IsZero()
}

// wanted tells policy what a task is to be opened with.
func wanted(s host.TaskSpec) map[string]any {
	facts := map[string]any{
		"grants": policy.ActionsOf(s.Grants), "restricted": s.Grants != nil,
		"budget": map[string]any{
			"tokens": limit(s.Budget.Tokens), "usdMicros": limit(s.Budget.CostMicros), "calls": limit(s.Budget.Calls),
		},
	}
	if !s.Expires.IsZero() {
		facts["expiresAt"] = s.Expires
	}
	return facts
}

// limit is a budget in the words of policies, where -1 is without limit.
func limit(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}

// OpenTask implements Tasks.
func (t *tasks) OpenTask(ctx context.Context, c host.Caller, agent string, spec host.TaskSpec) (host.Task, string, error) {
	const action = "openTask"
	v, err := t.guard.visit(c, "Tasks.OpenTask", agentUID(agent), action)
	if err != nil {
		return host.Task{}, "", err
	}
	on, ok := t.guard.agentTarget(agent)
	if !ok {
		return host.Task{}, "", v.absent(on, action)
	}
	if err := v.see(ctx, on); err != nil {
		return host.Task{}, "", err
	}
	if err := v.may(ctx, on, action, wanted(spec)); err != nil {
		return host.Task{}, "", err
	}
	out, err := done(ctx, v, func() (opened, error) {
		task, token, err := t.inner.OpenTask(ctx, c, agent, spec)
		return opened{task, token}, err
	})
	return out.Task, out.token, err
}

// holds reports whether the caller holds the token of the task.
func holds(c host.Caller, id string) bool { return c.Via == host.ViaTask && id != "" && c.Task == id }

// Task implements Tasks.
func (t *tasks) Task(ctx context.Context, c host.Caller, id string) (host.Task, error) {
	const call, action = "Tasks.Task", "readTask"
	if holds(c, id) {
		v := &visit{guard: t.guard, caller: c, call: call}
		if err := v.later(v.own(action)); err != nil {
			return host.Task{}, err
		}
		return t.inner.Task(ctx, c, id)
	}
	v, err := t.guard.visit(c, call, taskUID(id), action)
	if err != nil {
		return host.Task{}, err
	}
	task, on, err := v.task(ctx, t.inner, id, action)
	if err != nil {
		return host.Task{}, err
	}
	if err := v.show(ctx, on); err != nil {
		return host.Task{}, err
	}
	return task, nil
}

// task finds a task and describes it.
func (v *visit) task(ctx context.Context, find Tasks, id, action string) (host.Task, target, error) {
	task, err := find.Task(ctx, v.caller, id)
	switch {
	case host.CodeOf(err) == host.ErrNotFound:
		return task, target{}, v.absent(target{uid: taskUID(id), missing: noTask(id)}, action)
	case err != nil:
		return task, target{}, err
	}
	t, err := v.guard.taskTarget(ctx, find, v.caller, &task)
	return task, t, err
}

// taskTarget is a task with those that it was delegated from. One of them without a record
// is over; policies can still name it.
func (g *Guard) taskTarget(ctx context.Context, find Tasks, c host.Caller, task *host.Task) (target, error) {
	now := g.opt.Now()
	t := target{
		uid: taskUID(task.ID), session: task.Session, read: "readTask", missing: noTask(task.ID),
		entities: []policy.Entity{taskEntity(task, now)},
	}
	for parent, n := task.Parent, 0; parent != ""; n++ {
		if n == maxParents {
			return t, host.Errorf(host.ErrInternal, "find task %s: it was delegated more than %d times", task.ID, maxParents)
		}
		p, err := find.Task(ctx, c, parent)
		switch {
		case host.CodeOf(err) == host.ErrNotFound:
			p = host.Task{ID: parent, User: task.User, State: host.TaskExpired}
		case err != nil:
			return t, err
		}
		t.entities = append(t.entities, taskEntity(&p, now))
		parent = p.Parent
	}
	return t, nil
}

// Tasks implements Tasks.
func (t *tasks) Tasks(ctx context.Context, c host.Caller, f host.TaskFilter) ([]host.Task, error) {
	v, err := t.guard.visit(c, "Tasks.Tasks", taskUID(""), "readTask")
	if err != nil {
		return nil, err
	}
	sieve := newSieve(ctx, v, func(x *host.Task) string { return x.ID }, func(x *host.Task) (target, error) { return t.guard.taskTarget(ctx, t.inner, c, x) })
	f.Visible = sieve.visible
	page, err := t.inner.Tasks(ctx, c, f)
	if err != nil {
		return nil, err
	}
	return sieve.keep(page, "Task", "readTask")
}

// CallTask is for the holder of the task's token alone. What the call itself does is
// decided, and taken down durably, where all calls are.
func (t *tasks) CallTask(ctx context.Context, c host.Caller, id string, call host.TaskCall) (json.RawMessage, error) {
	const name, action = "Tasks.CallTask", "callTask"
	if holds(c, id) {
		v := &visit{guard: t.guard, caller: c, call: name}
		r := v.own(action)
		r.Note = fmt.Sprintf("%.80s", call.Name)
		if err := v.later(r); err != nil {
			return nil, err
		}
		return t.inner.CallTask(ctx, c, id, call)
	}
	v, err := t.guard.visit(c, name, taskUID(id), "readTask")
	if err != nil {
		return nil, err
	}
	_, on, err := v.task(ctx, t.inner, id, action)
	if err != nil {
		return nil, err
	}
	if err := v.see(ctx, on); err != nil {
		return nil, err
	}
	v.refuse(on.uid, action, policy.Cause{ID: "token of task " + id})
	return nil, host.Errorf(host.ErrForbidden, "call in task %s: only the task's own token, which POST /v1/tasks gave, serves for that; send it instead of the API key", id)
}

// EndTask implements Tasks.
func (t *tasks) EndTask(ctx context.Context, c host.Caller, id string, state host.TaskState, result []abi.Content) (host.Task, error) {
	const call, action = "Tasks.EndTask", "endTask"
	end := func() (host.Task, error) { return t.inner.EndTask(ctx, c, id, state, result) }
	if holds(c, id) {
		v := &visit{guard: t.guard, caller: c, call: call}
		v.pending = append(v.pending, v.own(action))
		return done(ctx, v, end)
	}
	v, err := t.guard.visit(c, call, taskUID(id), action)
	if err != nil {
		return host.Task{}, err
	}
	if err := v.onTask(ctx, t.inner, id, action, nil); err != nil {
		return host.Task{}, err
	}
	return done(ctx, v, end)
}

// onTask decides about an action with a task.
func (v *visit) onTask(ctx context.Context, find Tasks, id, action string, facts map[string]any) error {
	_, on, err := v.task(ctx, find, id, action)
	if err != nil {
		return err
	}
	if err := v.see(ctx, on); err != nil {
		return err
	}
	return v.may(ctx, on, action, facts)
}

// Delegation puts the guard before a service; find has the tasks.
func (g *Guard) Delegation(inner Delegation, find Tasks) Delegation {
	return &delegation{inner, find, g}
}

type delegation struct {
	inner Delegation
	find  Tasks
	guard *Guard
}

// Delegate implements Delegation.
func (d *delegation) Delegate(ctx context.Context, c host.Caller, task, audience string) (string, time.Time, error) {
	const action = "delegateTask"
	v, err := d.guard.visit(c, "Delegation.Delegate", taskUID(task), action)
	if err != nil {
		return "", time.Time{}, err
	}
	if err := v.onTask(ctx, d.find, task, action, map[string]any{"audience": audience}); err != nil {
		return "", time.Time{}, err
	}
	type token struct {
		text    string
		expires time.Time
	}
	out, err := done(ctx, v, func() (token, error) {
		text, expires, err := d.inner.Delegate(ctx, c, task, audience)
		return token{text, expires}, err
	})
	return out.text, out.expires, err
}

// KeySet is for everybody: whoever is given a token must be able to check it.
func (d *delegation) KeySet(ctx context.Context) ([]byte, error) { return d.inner.KeySet(ctx) }
