package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/session/task"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// newTask is the task that an accepted event opens: what the agent's configuration gives,
// or less where the event asks for less.
func (a *actor) newTask(in host.Invocation, agent *host.Agent, turn int) (host.Task, error) {
	now := a.svc.opt.Now()
	t := host.Task{
		ID: newID(now), Tenant: in.Caller.Tenant, User: in.Caller.User, Agent: agent.Name, Session: a.open.Session.ID,
		Turn: turn, State: host.TaskActive, TaskSpec: in.Task, External: in.External, Opened: now.UTC(),
	}
	t.Budget = lesserBudget(agent.Budget, in.Task.Budget)
	if by := a.expiry(agent); by > 0 && (t.Expires.IsZero() || t.Expires.After(time.Unix(0, by))) {
		t.Expires = time.Unix(0, by)
	}
	if len(in.For) > 0 {
		t.Parent, t.Above = in.For[0].Task, in.For[0].Session
	}
	if !t.Expires.IsZero() {
		t.Expires = t.Expires.UTC()
		if !now.Before(t.Expires) {
			return t, host.Errorf(host.ErrInvalid, "open a task for %s: it would have expired at %s; choose a later moment", agent.Name, t.Expires.Format(time.RFC3339))
		}
	}
	return t, a.svc.checkGrants(agent.Name, in.Task.Grants)
}

func (s *Service) checkGrants(agent string, grants []policy.Grant) error {
	if s.opt.Grants == nil || grants == nil {
		return nil
	}
	if err := s.opt.Grants.CheckGrants(grants); err != nil {
		return host.Errorf(host.ErrInvalid, "open a task for %s: %w", agent, err)
	}
	return nil
}

// lesserBudget takes the lower limit of each.
func lesserBudget(a, b host.Budget) host.Budget {
	return host.Budget{
		Tokens: lesser(a.Tokens, b.Tokens), CostMicros: lesser(a.CostMicros, b.CostMicros), Calls: lesser(a.Calls, b.Calls),
		Time: lesser(a.Time, b.Time), Fuel: lesser(a.Fuel, b.Fuel), Memory: lesser(a.Memory, b.Memory),
	}
}

// note writes an entry together with its record.
func (s *Service) note(ctx context.Context, r *policy.Record, write func(ops ...store.Op) error) error {
	if s.opt.Audit == nil {
		return write()
	}
	return s.opt.Audit.Note(ctx, r, write)
}

// taskRecord is the record of what becomes of a task.
func (s *Service) taskRecord(t host.Task, state host.TaskState, c *host.Caller) *policy.Record {
	who := []policy.Actor{{Agent: t.Agent, Task: t.ID, User: t.User}}
	if t.Parent != "" {
		who = append(who, policy.Actor{Task: t.Parent, User: t.User})
	}
	r := &policy.Record{
		Chain: t.ID, Time: s.opt.Now().UTC(), Kind: policy.RecordTask, Tenant: t.Tenant, Session: t.Session, Turn: t.Turn,
		Who: append(who, policy.Actor{User: t.User}), Code: string(state), Note: t.Purpose,
	}
	if c != nil {
		r.Key, r.Remote = c.Key, c.Remote
	}
	return r
}

// over is the state of the task whose turn has ended.
func (a *actor) over(q *queued, e host.Ended) host.TaskState {
	by := q.accepted.Expires
	switch {
	case e.Status == host.TurnCancelled:
		return host.TaskCancelled
	case by > 0 && a.svc.opt.Now().UnixNano() >= by:
		return host.TaskExpired
	}
	return host.TaskCompleted
}

// endTask returns the ops that end the task of an event. Until they are written the task
// is worth nothing already.
func (a *actor) endTask(ctx context.Context, q *queued, state host.TaskState) ([]store.Op, error) {
	if !q.accepted.Recorded {
		return nil, nil
	}
	return a.svc.opt.Tasks.End(ctx, a.open.Session.Tenant, a.open.Session.ID, q.accepted.Task, state, q.accepted.External)
}

// taskOf is the task of an event as its acceptance says.
func (a *actor) taskOf(q *queued) host.Task {
	t := host.Task{
		ID: q.accepted.Task, Tenant: a.open.Session.Tenant, User: q.accepted.Caller.User, Agent: a.open.Session.Agent,
		Session: a.open.Session.ID, Turn: q.turn, State: host.TaskActive, External: q.accepted.External,
		TaskSpec: host.TaskSpec{Budget: q.accepted.Budget, Grants: q.accepted.Grants},
	}
	if q.accepted.Expires > 0 {
		t.Expires = time.Unix(0, q.accepted.Expires).UTC()
	}
	if len(q.accepted.Chain) > 0 {
		t.Parent, t.Above = q.accepted.Chain[0].Task, q.accepted.Chain[0].Session
	}
	return t
}

// reconcile gives every event that was accepted before there were records of tasks one, and
// ends those whose events are no more. The caller holds mu.
func (a *actor) reconcile(ctx context.Context) error {
	tenant, session := a.open.Session.Tenant, a.open.Session.ID
	active, err := a.svc.opt.Tasks.In(ctx, tenant, session)
	if err != nil {
		return err
	}
	var ops []store.Op
	for _, q := range a.queue {
		known := slices.ContainsFunc(active, func(t host.Task) bool { return t.ID == q.accepted.Task })
		if known || q.accepted.Recorded && !a.inherits(q) {
			continue
		}
		more, err := a.svc.opt.Tasks.Open(a.taskOf(q), "")
		if err != nil {
			return err
		}
		ops = append(ops, more...)
		q.accepted.Recorded = true
	}
	var ended []string
	for _, t := range active {
		if slices.ContainsFunc(a.queue, func(q *queued) bool { return q.accepted.Task == t.ID }) {
			continue
		}
		more, err := a.svc.opt.Tasks.End(ctx, tenant, session, t.ID, host.TaskCompleted, t.External)
		if err != nil {
			return err
		}
		ops, ended = append(ops, more...), append(ended, t.ID)
	}
	if len(ops) == 0 {
		return nil
	}
	_, err = a.svc.opt.Store.Commit(ctx, store.Batch{Ops: ops})
	for _, id := range ended {
		if err != nil {
			a.svc.opt.Tasks.Reopen(tenant, id)
		} else {
			a.svc.opt.Tasks.Ended(tenant, id)
		}
	}
	if errors.Is(err, store.ErrFull) { // what is over stays over, and is cleared away later
		return nil
	}
	return err
}

// inherits tells whether an event came with the past that a fork shares. Its task is opened
// anew for the fork, unless it was granted something: that died, or dies, with the task that
// it was granted to.
func (a *actor) inherits(q *queued) bool {
	return a.head.At > 0 && q.entry.Seq <= a.head.At && q.accepted.Grants == nil && !q.accepted.External && q.turn > a.cancelled
}

// Task returns one of the tasks of the caller's tenant.
func (s *Service) Task(ctx context.Context, c host.Caller, id string) (host.Task, error) {
	t, err := s.opt.Tasks.Find(ctx, c.Tenant, id)
	if errors.Is(err, store.ErrNotFound) {
		return t, noTask(id)
	}
	return t, err
}

func noTask(id string) error {
	return host.Errorf(host.ErrNotFound, "find task %s: there is none with this id among yours, or it is over", id)
}

// Tasks returns the tasks of the caller's tenant that the filter selects, newest first.
func (s *Service) Tasks(ctx context.Context, c host.Caller, f host.TaskFilter) ([]host.Task, error) {
	return s.opt.Tasks.List(ctx, c.Tenant, f)
}

// Holder tells who holds a task's token.
func (s *Service) Holder(ctx context.Context, token string) (host.Caller, error) {
	return s.opt.Tasks.Holder(ctx, token)
}

// assumed takes the task of a rehearsed turn for active: what it did is on record.
type assumed struct{ t host.Task }

// Standing implements Tasks.
func (a assumed) Standing(_ context.Context, tenant, session, id string) (*host.Standing, error) {
	t := a.t
	t.Tenant, t.Session, t.ID = tenant, session, id
	return task.Assumed(t), nil
}
