package access

import (
	"context"
	"iter"

	"github.com/vespiary/vespiary/host"
)

// Finder finds a session of the caller's tenant.
type Finder interface {
	Get(ctx context.Context, c host.Caller, session string) (host.Session, error)
}

// Sessions puts the guard before a service.
func (g *Guard) Sessions(inner Sessions) Sessions { return &sessions{inner, g} }

type sessions struct {
	inner Sessions
	guard *Guard
}

// find returns a session; action is what is asked of one that is not there.
func (v *visit) find(ctx context.Context, find Finder, id, action string) (host.Session, target, error) {
	s, err := find.Get(ctx, v.caller, id)
	switch {
	case host.CodeOf(err) == host.ErrNotFound:
		return s, target{}, v.absent(target{uid: sessionUID(id), missing: noSession(id)}, action)
	case err != nil:
		return s, target{}, err
	}
	return s, sessionTarget(&s), nil
}

// readSession decides about reading a session.
func (g *Guard) readSession(ctx context.Context, find Finder, c host.Caller, call, id string) (host.Session, *watch, error) {
	const action = "readSession"
	v, err := g.visit(c, call, sessionUID(id), action)
	if err != nil {
		return host.Session{}, nil, err
	}
	s, t, err := v.find(ctx, find, id, action)
	if err != nil {
		return host.Session{}, nil, err
	}
	if err := v.show(ctx, t); err != nil {
		return host.Session{}, nil, err
	}
	return s, &watch{visit: v, target: t, action: action, decided: g.opt.Now()}, nil
}

// changeSession decides about changing a session, and does it.
func changeSession[T any](ctx context.Context, g *Guard, find Finder, c host.Caller, call, id, action string, do func() (T, error)) (T, error) {
	var none T
	v, err := g.visit(c, call, sessionUID(id), action)
	if err != nil {
		return none, err
	}
	_, t, err := v.find(ctx, find, id, action)
	if err != nil {
		return none, err
	}
	if err := v.see(ctx, t); err != nil {
		return none, err
	}
	if err := v.may(ctx, t, action, nil); err != nil {
		return none, err
	}
	return done(ctx, v, do)
}

// Invoke asks for the agent, for the session that goes on, and for a task that is to be
// another than the agent's configuration says.
func (s *sessions) Invoke(ctx context.Context, in host.Invocation) (host.Turn, error) {
	actions := []string{"invokeAgent"}
	if in.Session != "" {
		actions = append(actions, "continueSession")
	}
	if special(in.Task) {
		actions = append(actions, "openTask")
	}
	v, err := s.guard.visit(in.Caller, "Sessions.Invoke", agentUID(in.Agent), actions...)
	if err != nil {
		return host.Turn{}, err
	}
	if err := v.invoke(ctx, s.inner, in, actions); err != nil {
		return host.Turn{}, err
	}
	t, err := done(ctx, v, func() (host.Turn, error) { return s.inner.Invoke(ctx, in) })
	if err != nil || t.Created {
		return t, err
	}
	return s.repeated(ctx, in.Caller, t), nil
}

// repeated is what a caller gets who invokes again: the turn as it is now, which they must
// be allowed to read, or that there is one.
func (s *sessions) repeated(ctx context.Context, c host.Caller, t host.Turn) host.Turn {
	if _, _, err := s.guard.readSession(ctx, s.inner, c, "Sessions.Invoke", t.Session); err != nil {
		return host.Turn{Session: t.Session, Number: t.Number, Task: t.Task, Agent: t.Agent, Status: host.TurnQueued}
	}
	return t
}

func (v *visit) invoke(ctx context.Context, find Finder, in host.Invocation, actions []string) error {
	agent, ok := v.guard.agentTarget(in.Agent)
	if !ok {
		return v.absent(agent, actions[0])
	}
	if err := v.see(ctx, agent); err != nil {
		return err
	}
	var session target
	if in.Session != "" {
		var err error
		if _, session, err = v.find(ctx, find, in.Session, "continueSession"); err != nil {
			return err
		}
		if err := v.see(ctx, session); err != nil {
			return err
		}
	}
	for _, action := range actions {
		t, facts := agent, map[string]any(nil)
		switch action {
		case "continueSession":
			t = session
		case "openTask":
			facts = wanted(in.Task)
		}
		if err := v.may(ctx, t, action, facts); err != nil {
			return err
		}
	}
	return nil
}

// Turn implements Sessions.
func (s *sessions) Turn(ctx context.Context, c host.Caller, session string, turn int) (host.Turn, error) {
	if _, _, err := s.guard.readSession(ctx, s.inner, c, "Sessions.Turn", session); err != nil {
		return host.Turn{}, err
	}
	return s.inner.Turn(ctx, c, session, turn)
}

// Await decides again when the wait was long. Running out of time comes with the turn as
// it is, so that it needs to be decided about as well.
func (s *sessions) Await(ctx context.Context, c host.Caller, session string, turn int) (host.Turn, error) {
	_, w, err := s.guard.readSession(ctx, s.inner, c, "Sessions.Await", session)
	if err != nil {
		return host.Turn{}, err
	}
	t, waited := s.inner.Await(ctx, c, session, turn)
	if err := w.again(context.WithoutCancel(ctx)); err != nil {
		return host.Turn{}, err
	}
	return t, waited
}

// Events implements Sessions.
func (s *sessions) Events(ctx context.Context, c host.Caller, session, after string) iter.Seq2[host.StreamEvent, error] {
	_, w, err := s.guard.readSession(ctx, s.inner, c, "Sessions.Events", session)
	if err != nil {
		return failed[host.StreamEvent](err)
	}
	return follow(ctx, w, s.inner.Events(ctx, c, session, after))
}

// Journal implements Sessions.
func (s *sessions) Journal(ctx context.Context, c host.Caller, session string, from uint64, limit int) ([]host.Record, error) {
	if _, _, err := s.guard.readSession(ctx, s.inner, c, "Sessions.Journal", session); err != nil {
		return nil, err
	}
	return s.inner.Journal(ctx, c, session, from, limit)
}

// List implements Sessions.
func (s *sessions) List(ctx context.Context, c host.Caller, f host.SessionFilter) ([]host.Session, error) {
	v, err := s.guard.visit(c, "Sessions.List", sessionUID(""), "readSession")
	if err != nil {
		return nil, err
	}
	sieve := newSieve(ctx, v, func(x *host.Session) string { return x.ID }, func(x *host.Session) (target, error) { return sessionTarget(x), nil })
	f.Visible = sieve.visible
	page, err := s.inner.List(ctx, c, f)
	if err != nil {
		return nil, err
	}
	return sieve.keep(page, "Session", "readSession")
}

// Get implements Sessions.
func (s *sessions) Get(ctx context.Context, c host.Caller, session string) (host.Session, error) {
	head, _, err := s.guard.readSession(ctx, s.inner, c, "Sessions.Get", session)
	return head, err
}

// Cancel implements Sessions.
func (s *sessions) Cancel(ctx context.Context, c host.Caller, session string) (host.Session, error) {
	return changeSession(ctx, s.guard, s.inner, c, "Sessions.Cancel", session, "cancelSession", func() (host.Session, error) {
		return s.inner.Cancel(ctx, c, session)
	})
}
