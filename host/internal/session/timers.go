package session

import (
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// schedule wakes a session that waits for timers: each one that is due becomes an
// event of the session. The head keeps what is waited for, so a restart schedules it
// again, and an event accepted meanwhile makes the wait void.
func (s *Service) schedule(head host.Session) {
	for _, w := range head.Waiting {
		if w.Type == abi.EventTimer {
			time.AfterFunc(w.At.Sub(s.opt.Now()), func() { s.fire(head, w) })
		}
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
