package session

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/session/task"
)

// errAway means that the turn is about to leave the memory: who finds it so asks again.
var errAway = errors.New("session: the turn leaves the memory")

// OpenTask opens a task for a program elsewhere, in a session of its own, and returns the
// token by which its holder makes calls: the only time that it is seen.
func (s *Service) OpenTask(ctx context.Context, c host.Caller, agent string, spec host.TaskSpec) (host.Task, string, error) {
	a, ok := s.opt.Agents.Agent(agent)
	switch {
	case !ok:
		return host.Task{}, "", host.Errorf(host.ErrNotFound, "open a task for %s: no agent of the configuration has this name", agent)
	case a.Module != host.ModuleExternal:
		return host.Task{}, "", host.Errorf(host.ErrInvalid, "open a task for %s: its plugin runs in this host; invoke it, with a task in the request", agent)
	}
	var token string
	in := host.Invocation{
		Caller: c, Agent: agent, Task: spec, External: true, Issue: func(t host.Task) string { token = task.Token(t); return token },
		Event: abi.Event{Type: abi.EventMessage},
	}
	if spec.Purpose != "" {
		in.Event.Content = []abi.Content{abi.Text(spec.Purpose)}
	}
	turn, err := s.accept(ctx, in, nil)
	if err != nil {
		return host.Task{}, "", err
	}
	t, err := s.Task(ctx, c, turn.Task)
	return t, token, err
}

// CallTask makes a call in a task, and returns its abi.Result. It may take as long as the
// call; a program that does not wait asks again under the same id.
func (s *Service) CallTask(ctx context.Context, c host.Caller, id string, call host.TaskCall) (json.RawMessage, error) {
	for {
		v, release, err := s.visit(ctx, c, id)
		if err != nil {
			return nil, err
		}
		out, err := v.call(ctx, call)
		release()
		if !errors.Is(err, errAway) {
			return out, err
		}
	}
}

// visit finds the turn of a task that a program works on, in memory.
func (s *Service) visit(ctx context.Context, c host.Caller, id string) (*visit, func(), error) {
	t, err := s.Task(ctx, c, id)
	switch {
	case err != nil:
		return nil, nil, err
	case !t.External:
		return nil, nil, host.Errorf(host.ErrConflict, "call in task %s: its agent runs in this host and makes its calls itself", id)
	case t.State != host.TaskActive:
		return nil, nil, host.Errorf(host.ErrConflict, "call in task %s: it is %s", id, t.State)
	}
	a, err := s.actor(ctx, t.Tenant, t.Session)
	if err != nil {
		return nil, nil, err
	}
	v, err := a.visiting(ctx, id)
	if err != nil {
		a.release()
		return nil, nil, err
	}
	return v, a.release, nil
}

// visiting waits until the turn of the task is attended, and wakes it for that.
func (a *actor) visiting(ctx context.Context, id string) (*visit, error) {
	for {
		news := a.svc.hub.news(a.id())
		a.mu.Lock()
		v, queued := a.visit, slices.ContainsFunc(a.queue, func(q *queued) bool { return q.accepted.Task == id })
		if slices.ContainsFunc(a.dormant, func(w abi.Wait) bool { return w.Type == waitCall }) {
			a.dormant = nil
			a.poke()
		}
		status := a.head.Status
		a.mu.Unlock()
		switch {
		case v != nil && v.task == id && !v.leaving():
			return v, nil
		case !queued:
			return nil, noTask(id)
		case status == host.SessionParked:
			return nil, host.Errorf(host.ErrConflict, "call in task %s: its session is parked: %s", id, a.now().Reason)
		}
		select {
		case <-news:
		case <-a.gone:
			return nil, host.Errorf(host.ErrUnavailable, "call in task %s: the host is stopping; try again when it is back", id)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (v *visit) leaving() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.closed
}

// EndTask ends a task: completed, with what came of it, or cancelled. When it returns, all
// that the task was granted is gone.
func (s *Service) EndTask(ctx context.Context, c host.Caller, id string, state host.TaskState, result []abi.Content) (host.Task, error) {
	t, err := s.Task(ctx, c, id)
	switch {
	case err != nil:
		return t, err
	case t.State != host.TaskActive:
		return t, host.Errorf(host.ErrConflict, "end task %s: it is %s", id, t.State)
	case state == host.TaskCancelled:
		if err := s.cancelTask(ctx, c, t); err != nil {
			return t, err
		}
	case state != host.TaskCompleted:
		return t, host.Errorf(host.ErrInvalid, "end task %s: the state is %s or %s, not %q", id, host.TaskCompleted, host.TaskCancelled, state)
	case !t.External:
		return t, host.Errorf(host.ErrConflict, "end task %s: its agent runs in this host and ends it itself; cancel it instead", id)
	default:
		err := s.finish(ctx, c, t, result)
		if err == nil {
			err = s.over(ctx, t)
		}
		if err != nil {
			return t, err
		}
	}
	after, err := s.Task(ctx, c, id)
	if host.CodeOf(err) == host.ErrNotFound { // nothing is kept of it
		t.State = state
		return t, nil
	}
	return after, err
}

// cancelTask ends a task and no other of its session, and waits for its turn where that is
// under way.
func (s *Service) cancelTask(ctx context.Context, c host.Caller, t host.Task) error {
	a, err := s.actor(ctx, t.Tenant, t.Session)
	if err != nil {
		return err
	}
	ends, err := a.cancelTask(ctx, c, t.ID)
	a.release()
	if err == nil && ends {
		err = s.over(ctx, t)
	}
	return err
}

// over waits until the turn of a task has ended, as long as the host runs.
func (s *Service) over(ctx context.Context, t host.Task) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.run, func() { cancel(host.ErrStopping) })() //nolint:contextcheck // the host's life, beside the request's
	err := s.ended(ctx, t.Tenant, t.Session, t.Turn)
	if err != nil && errors.Is(context.Cause(ctx), host.ErrStopping) {
		return host.Errorf(host.ErrUnavailable, "end task %s: the host is stopping; look at the task when it is back", t.ID)
	}
	return err
}

// finish hands in the result of a task.
func (s *Service) finish(ctx context.Context, c host.Caller, t host.Task, result []abi.Content) error {
	reply := &abi.Reply{Status: abi.StatusDone, Content: result}
	for again := false; ; again = true {
		v, release, err := s.visit(ctx, c, t.ID)
		if again && (host.CodeOf(err) == host.ErrNotFound || host.CodeOf(err) == host.ErrConflict) { // somebody was faster
			return nil
		}
		if err != nil {
			return err
		}
		taken := v.finish(reply)
		release()
		if taken {
			return nil
		}
	}
}
