package task

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// Standing returns what a task is worth at this moment. One without a record is over.
func (b *Book) Standing(ctx context.Context, tenant, session, id string) (*host.Standing, error) {
	s, err := b.known(ctx, tenant, session, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Over(tenant, session, id), nil
	case err != nil:
		return nil, err
	}
	out := &host.Standing{Task: s.Task, Entity: s.entity, Grants: s.grants}
	out.Task.State = b.stateOf(s)
	if out.Task.State != host.TaskActive {
		out.Entity.Attrs = maps.Clone(out.Entity.Attrs)
		out.Entity.Attrs["state"] = string(out.Task.State)
	}
	if s.Parent == "" {
		return out, nil
	}
	out.Parent, err = b.Standing(ctx, tenant, s.Above, s.Parent)
	return out, err
}

// stateOf is the state of a task now, the end that is being written included.
func (b *Book) stateOf(s *standing) host.TaskState {
	b.mu.Lock()
	ending := b.over[place(s.Tenant, s.Session, s.ID)]
	b.mu.Unlock()
	switch {
	case s.State != host.TaskActive:
		return s.State
	case ending:
		return host.TaskCompleted
	case !s.Live(b.now()):
		return host.TaskExpired
	}
	return host.TaskActive
}

// known returns a task from memory, where it is active, or from the store.
func (b *Book) known(ctx context.Context, tenant, session, id string) (*standing, error) {
	key := place(tenant, session, id)
	b.mu.Lock()
	s, epoch := b.live[key], b.epoch
	b.mu.Unlock()
	if s != nil {
		return s, nil
	}
	r, err := b.read(ctx, tenant, session, id)
	if err != nil {
		return nil, err
	}
	s = &standing{record: r, entity: host.TaskEntity(&r.Task)}
	if r.Grants != nil {
		s.grants = &policy.Grants{Task: r.ID, List: r.Grants}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.State == host.TaskActive && b.epoch == epoch { // else what was read may be from before its end
		b.live[key] = s
	}
	return s, nil
}

// Over is the standing of a task that has no record.
func Over(tenant, session, id string) *host.Standing {
	t := host.Task{ID: id, Tenant: tenant, Session: session, State: host.TaskCompleted}
	return &host.Standing{Task: t, Entity: host.TaskEntity(&t)}
}

// Assumed is the standing of a task that has no record and is taken for active: in a
// rehearsal of what is over.
func Assumed(t host.Task) *host.Standing {
	t.State, t.Expires = host.TaskActive, time.Time{}
	s := &host.Standing{Task: t, Entity: host.TaskEntity(&t)}
	if t.Grants != nil {
		s.Grants = &policy.Grants{Task: t.ID, List: t.Grants}
	}
	return s
}
