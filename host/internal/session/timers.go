package session

import (
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// schedule wakes a session that waits for moments: each timer that is due becomes an
// event of a session between turns, and makes a turn go on that was left waiting. The head
// keeps what is waited for, so a restart schedules it again, and an event accepted
// meanwhile makes the wait void.
func (s *Service) schedule(head host.Session) {
	if head.Status == host.SessionSuspended && !head.Expires.IsZero() {
		s.at(head.Expires, func() { s.rouse(head) })
	}
	for _, w := range head.Waiting {
		switch {
		case w.At.IsZero():
		case head.Status == host.SessionSuspended:
			s.at(w.At, func() { s.rouse(head) })
		case w.Type == abi.EventTimer:
			s.at(w.At, func() { s.fire(head, w) })
		}
	}
}

// at calls f at a moment of the wall clock, which may be set meanwhile.
func (s *Service) at(moment time.Time, f func()) {
	time.AfterFunc(moment.Sub(s.opt.Now()), func() {
		if s.run.Err() == nil && s.opt.Now().Before(moment) {
			s.at(moment, f)
			return
		}
		f()
	})
}

// rouse has a session looked at whose turn was left waiting.
func (s *Service) rouse(head host.Session) {
	now, err := s.head(s.run, head.Tenant, head.ID)
	if err != nil || now.Status != host.SessionSuspended || now.Ended != head.Ended {
		return
	}
	a, err := s.actor(s.run, head.Tenant, head.ID)
	if err == nil {
		a.release()
		return
	}
	if s.run.Err() == nil {
		s.opt.Log.ErrorContext(s.run, "a waiting session was not taken up", "session", head.ID, "error", err)
		time.AfterFunc(time.Minute, func() { s.rouse(head) })
	}
}

func (s *Service) fire(head host.Session, w abi.Wait) {
	ctx := s.run
	now, err := s.head(ctx, head.Tenant, head.ID)
	if err != nil || now.Status != host.SessionWaiting || now.Ended != head.Ended {
		return
	}
	in := host.Invocation{
		Caller: host.Caller{Tenant: head.Tenant, User: head.Owner}, Agent: head.Agent, Session: head.ID,
		Event: abi.Event{Type: abi.EventTimer, Name: w.Name},
	}
	_, err = s.Invoke(ctx, in)
	if err == nil || ctx.Err() != nil {
		return
	}
	s.opt.Log.ErrorContext(ctx, "timer not delivered", "session", head.ID, "timer", w.Name, "error", err)
	switch host.CodeOf(err) {
	case host.ErrTooMany, host.ErrFull, host.ErrUnavailable: // it may be better later
		time.AfterFunc(time.Minute, func() { s.fire(head, w) })
	default:
	}
}
