package session

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

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
	b := in.Task.Budget
	if min(b.Tokens, b.CostMicros, b.Calls, int64(b.Time), b.Fuel) < 0 {
		return t, host.Errorf(host.ErrInvalid, "open a task for %s: its budget is negative; leave a limit out, or set it above 0", agent.Name)
	}
	if len(in.Task.Purpose) > maxPurpose {
		return t, host.Errorf(host.ErrInvalid, "open a task for %s: its purpose is over %d bytes; say it in a sentence", agent.Name, maxPurpose)
	}
	t.Budget = lesserBudget(agent.Budget, b)
	if by := a.expiry(agent, t.Budget.Time); by > 0 && (t.Expires.IsZero() || t.Expires.After(time.Unix(0, by))) {
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

// Bounds of what a task is opened with, in bytes: its record is looked at with every call.
const (
	maxPurpose = 1000
	maxGrants  = 64 << 10 // as JSON
)

func (s *Service) checkGrants(agent string, grants []policy.Grant) error {
	if s.opt.Grants == nil || grants == nil {
		return nil
	}
	if b, err := json.Marshal(grants); err != nil || len(b) > maxGrants {
		return host.Errorf(host.ErrInvalid, "open a task for %s: its grants are over %d bytes; grant groups of actions, and what resources are in", agent, maxGrants)
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
		Who: append(who, policy.Actor{User: t.User}), Code: string(state),
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

// reopen and closed say whether the end of an event's task could be written.
func (a *actor) reopen(q *queued) {
	a.svc.opt.Tasks.Reopen(a.open.Session.Tenant, a.open.Session.ID, q.accepted.Task)
}

func (a *actor) closed(q *queued) {
	a.svc.opt.Tasks.Ended(a.open.Session.Tenant, a.open.Session.ID, q.accepted.Task)
}

// taskOf is the task of an event as its acceptance says.
func (a *actor) taskOf(q *queued) host.Task {
	t := host.Task{
		ID: q.accepted.Task, Tenant: a.open.Session.Tenant, User: q.accepted.Caller.User, Agent: a.open.Session.Agent,
		Session: a.open.Session.ID, Turn: q.turn, State: host.TaskActive, External: q.accepted.External, Opened: q.entry.Time,
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

// reconcile opens the tasks of events that have none: those that were accepted before there
// were records of tasks, and those of a fork or of a revert. It ends those whose events are
// no more. The caller holds mu.
func (a *actor) reconcile(ctx context.Context) error {
	active, err := a.svc.opt.Tasks.In(ctx, a.open.Session.Tenant, a.open.Session.ID)
	if err != nil {
		return err
	}
	for _, q := range a.queue {
		known := slices.ContainsFunc(active, func(t host.Task) bool { return t.ID == q.accepted.Task })
		if known || q.accepted.Recorded && !a.inherits(q) {
			continue
		}
		ops, err := a.svc.opt.Tasks.Open(a.taskOf(q), "")
		if err == nil {
			err = a.svc.writeTask(ctx, a.taskOf(q), host.TaskActive, nil, ops)
		}
		if err != nil {
			return err
		}
		q.accepted.Recorded = true
	}
	for _, t := range active {
		if slices.ContainsFunc(a.queue, func(q *queued) bool { return q.accepted.Task == t.ID }) {
			continue
		}
		if err := a.svc.drop(ctx, t, nil); err != nil && !errors.Is(err, store.ErrFull) { // it is dropped later
			return err
		}
	}
	return nil
}

// drop ends a task of which no turn is under way.
func (s *Service) drop(ctx context.Context, t host.Task, by *host.Caller) error {
	ops, err := s.opt.Tasks.End(ctx, t.Tenant, t.Session, t.ID, host.TaskCancelled, t.External)
	if err == nil {
		err = s.writeTask(ctx, t, host.TaskCancelled, by, ops)
	}
	if err != nil {
		s.opt.Tasks.Reopen(t.Tenant, t.Session, t.ID)
		return err
	}
	s.opt.Tasks.Ended(t.Tenant, t.Session, t.ID)
	return nil
}

// writeTask writes what becomes of a task outside of the turn that works on it.
func (s *Service) writeTask(ctx context.Context, t host.Task, state host.TaskState, by *host.Caller, ops []store.Op) error {
	return s.note(ctx, s.taskRecord(t, state, by), func(record ...store.Op) error {
		_, err := s.opt.Store.Commit(ctx, store.Batch{Ops: append(ops, record...)})
		return err
	})
}

// inherits tells whether an event is of an earlier epoch: of the past that a fork shares, or
// that a revert has brought back. Its task is opened anew, unless it was granted something:
// that died, or dies, with the task that it was granted to.
func (a *actor) inherits(q *queued) bool {
	return q.entry.Epoch < a.log.Epoch() && q.accepted.Grants == nil && !q.accepted.External && q.turn > a.cancelled
}

// taskIn is the name of an event's task in a session. What a fork goes on with, the session
// that it was forked from may go on with too: each in a task of its own.
func taskIn(head *host.Session, e host.Entry, task string) string {
	if head.At == 0 || e.Seq > head.At {
		return task
	}
	id, err := ulid.Parse(head.ID)
	if err != nil {
		return task
	}
	sum := sha256.Sum256([]byte(head.ID + "/" + task))
	copy(id[6:], sum[:]) // the time of the fork, and what is the same whenever it is asked
	return id.String()
}

// isOver tells whether the task of an event has ended before its turn: it was ended by
// itself, or died with the session that this one was forked from. An expired one is not over.
func (a *actor) isOver(ctx context.Context, q *queued) (bool, error) {
	a.mu.Lock()
	cancelled := q.turn <= a.cancelled
	a.mu.Unlock()
	if cancelled || !q.accepted.Recorded {
		return false, nil
	}
	s, err := a.svc.opt.Tasks.Standing(ctx, a.open.Session.Tenant, a.open.Session.ID, q.accepted.Task)
	return err == nil && s.Task.State != host.TaskActive && s.Task.State != host.TaskExpired, err
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
