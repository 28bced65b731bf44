package session

import (
	"context"
	"slices"

	"github.com/vespiary/vespiary/host"
)

// job is something to do with a session while no turn of it runs: its guest and its
// journal belong to the actor's goroutine.
type job struct {
	do   func(ctx context.Context) error
	done chan struct{}
	err  error
}

func (j *job) run(ctx context.Context) {
	defer close(j.done)
	j.err = j.do(ctx)
}

// between has f done between two turns. A turn under way is not waited for.
func (a *actor) between(ctx context.Context, what string, f func(ctx context.Context) error) error {
	j := &job{do: f, done: make(chan struct{})}
	a.mu.Lock()
	if a.current != 0 && a.head.Status != host.SessionSuspended { // a suspended one is about to leave
		a.mu.Unlock()
		return host.Errorf(host.ErrConflict, "%s session %s: turn %d is under way; wait for it or cancel it first", what, a.open.Session.ID, a.current)
	}
	a.jobs = append(a.jobs, j)
	a.mu.Unlock()
	a.poke()
	select {
	case <-j.done:
		return j.err
	case <-a.gone:
		return host.Errorf(host.ErrUnavailable, "%s session %s: the host is stopping; try again when it is back", what, a.open.Session.ID)
	case <-ctx.Done():
	}
	if a.withdraw(j) {
		return context.Cause(ctx)
	}
	<-j.done // it has begun: what it makes is its caller's
	return j.err
}

// withdraw takes back a job that has not begun.
func (a *actor) withdraw(j *job) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.Index(a.jobs, j)
	if i >= 0 {
		a.jobs = slices.Delete(a.jobs, i, i+1)
	}
	return i >= 0
}

// refuseJobs ends the jobs that an actor leaves undone.
func (a *actor) refuseJobs() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, j := range a.jobs {
		j.err = host.Errorf(host.ErrUnavailable, "session %s: the host is stopping; try again when it is back", a.open.Session.ID)
		close(j.done)
	}
	a.jobs = nil
}

// onActor runs f on the actor of a session that the caller may touch.
func (s *Service) onActor(ctx context.Context, c host.Caller, session, what string, f func(ctx context.Context, a *actor) error) (host.Session, error) {
	head, err := s.Get(ctx, c, session)
	if err != nil {
		return head, err
	}
	if head.Status == host.SessionErased {
		return head, host.Errorf(host.ErrConflict, "%s session %s: it was erased", what, session)
	}
	a, err := s.actor(ctx, head.Tenant, head.ID)
	if err != nil {
		return head, err
	}
	defer a.release()
	if err := a.between(ctx, what, func(ctx context.Context) error { return f(ctx, a) }); err != nil {
		return head, full(what, err)
	}
	return s.Get(ctx, c, session)
}
