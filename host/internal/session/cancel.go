package session

import (
	"context"
	"slices"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// Cancel ends the session's turn under way and all that is queued. The running guest
// sees its calls cancelled and may finish within a grace period.
func (s *Service) Cancel(ctx context.Context, c host.Caller, session string) (host.Session, error) {
	head, err := s.Get(ctx, c, session)
	if err != nil {
		return head, err
	}
	switch head.Status {
	case host.SessionRunning, host.SessionSuspended, host.SessionParked: // what is parked ends when it is resumed
	case host.SessionIdle, host.SessionWaiting, host.SessionErased: // nothing runs and nothing is queued
		return head, nil
	}
	a, err := s.actor(ctx, head.Tenant, head.ID)
	if err != nil {
		return head, err
	}
	defer a.release()
	if err := a.cancelAll(ctx, c); err != nil {
		return head, err
	}
	return s.Get(ctx, c, session)
}

func (a *actor) cancelAll(ctx context.Context, by host.Caller) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) == 0 {
		return nil
	}
	return a.cancelUpTo(ctx, by, a.queue[len(a.queue)-1].turn)
}

// cancelTask ends one task of the session and leaves the others alone. It returns whether the
// turn of the task is about to end.
func (a *actor) cancelTask(ctx context.Context, by host.Caller, id string) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.queue, func(q *queued) bool { return q.accepted.Task == id })
	switch {
	case i < 0: // it has ended meanwhile
		return false, nil
	case i == 0:
		return a.head.Status != host.SessionParked, a.cancelUpTo(ctx, by, a.queue[0].turn)
	}
	return false, full("the task", a.svc.drop(ctx, a.taskOf(a.queue[i]), &by)) // its turn finds that it is over
}

// cancelUpTo cancels the events up to a turn. The caller holds mu.
func (a *actor) cancelUpTo(ctx context.Context, by host.Caller, up int) error {
	head, ops, err := a.rouseOps()
	if err != nil {
		return err
	}
	var of []*queued
	for _, q := range a.queue { // what they were granted dies with the cancellation
		if q.turn > up {
			break
		}
		of = append(of, q)
		var ended []store.Op
		if ended, err = a.endTask(ctx, q, host.TaskCancelled); err != nil {
			break
		}
		ops = append(ops, ended...)
	}
	if err == nil {
		_, err = a.log.AppendNow(ctx, host.Entry{Kind: host.EntryCancel}, host.Cancel{By: by, UpTo: up}, nil, ops...)
	}
	if err != nil {
		each(of, a.reopen)
		return full("the session", err)
	}
	each(of, a.closed)
	a.head, a.dormant = head, nil
	a.cancelled = max(a.cancelled, up)
	a.poke()
	if a.cancel != nil {
		a.cancel(host.ErrCancelled)
	}
	return nil
}

func each[T any](all []T, f func(T)) {
	for _, x := range all {
		f(x)
	}
}

// enter notes that a turn is under way and how to end it; false when it was
// cancelled before.
func (a *actor) enter(turn int, cancel context.CancelCauseFunc) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if turn <= a.cancelled {
		return false
	}
	a.current, a.cancel = turn, cancel
	a.svc.pulse.add(1, a.svc.opt.Now())
	return true
}

func (a *actor) exit() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.current, a.cancel = 0, nil
	a.svc.pulse.add(-1, a.svc.opt.Now())
	clear(a.waits)
}

// suspend notes what a call of the turn waits for, nil when it goes on.
func (a *actor) suspend(path string, waits []abi.Wait) {
	a.mu.Lock()
	if waits == nil {
		delete(a.waits, path)
	} else {
		a.waits[path] = waits
	}
	a.mu.Unlock()
	a.svc.hub.wake(a.id())
}

// suspended returns what the turn's calls wait for, and how many of them do.
func (a *actor) suspended() (waits []abi.Wait, calls int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.waits {
		waits = append(waits, w...)
	}
	return waits, len(a.waits)
}
