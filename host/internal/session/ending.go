package session

import (
	"context"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// close writes the turn's end together with the session's new head. Events that are
// accepted meanwhile wait, so that heads are written in the order of their entries.
func (a *actor) close(ctx context.Context, q *queued, kind host.EntryKind, e host.Ended, payload []byte) error {
	head, err := a.appendEnd(ctx, q, kind, e, payload)
	if err == nil {
		err = a.commit(ctx)
	}
	if err != nil {
		a.reopen(q)
		return err
	}
	a.closed(q)
	a.svc.disown(ctx, head)
	a.svc.answered(head, q)
	a.svc.opt.Notices.Wake()
	a.svc.spent.add(ownCost(e), a.svc.opt.Now())
	if head.Status == host.SessionWaiting {
		a.svc.schedule(head)
	}
	return nil
}

// ownCost is what a turn cost without what others did for it: that is counted where it was
// done.
func ownCost(e host.Ended) int64 { return max(e.Usage.CostMicros-e.Others.CostMicros, 0) }

// appendEnd appends the turn's end with all that changes with it: head, task, notice, money.
func (a *actor) appendEnd(ctx context.Context, q *queued, kind host.EntryKind, e host.Ended, payload []byte) (host.Session, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	head := a.after(q, e)
	op, err := headOp(head)
	if err != nil {
		return head, err
	}
	state := a.over(q, e)
	ended, err := a.endTask(ctx, q, state)
	if err != nil {
		return head, err
	}
	ops := append(append(a.svc.spent.ops(head, q.turn, ownCost(e), a.svc.opt.Now()), op), ended...)
	if ops, err = a.noticed(ops, a.endNotice(q, e)); err != nil {
		return head, err
	}
	err = a.svc.note(ctx, a.svc.taskRecord(a.taskOf(q), state, nil), func(record ...store.Op) error {
		entry, err := a.log.Append(ctx, host.Entry{Kind: kind, Turn: q.turn}, e, payload, append(ops, record...)...)
		a.endSeq = entry.Seq
		return err
	})
	if err == nil {
		a.head, a.label, a.dormant = head, e.Label, nil
	}
	return head, err
}

// after is the head of the session after q ended.
func (a *actor) after(q *queued, e host.Ended) host.Session {
	head := a.head
	head.Label = e.Label
	head.Updated, head.Waiting, head.Expires = a.svc.opt.Now().UTC(), e.Waiting, time.Time{}
	head.Usage = head.Usage.Plus(e.Usage)
	switch {
	case len(a.queue) > 1:
		head.Status, head.Ended, head.Waiting = host.SessionRunning, q.turn, nil
	case e.Status == host.TurnWaiting:
		head.Status, head.Ended = host.SessionWaiting, head.Turns
	default:
		head.Status, head.Ended = host.SessionIdle, head.Turns
	}
	return head
}

// park stops the session until a person looks at it.
func (a *actor) park(ctx context.Context, reason string) error {
	a.svc.opt.Log.ErrorContext(ctx, "session parked", "session", a.open.Session.ID, "reason", reason)
	if err := a.appendPark(ctx, reason); err != nil {
		return err
	}
	if err := a.commit(ctx); err != nil {
		return err
	}
	a.svc.opt.Notices.Wake()
	return errParked
}

// appendPark changes head and journal together, so that no event is taken in between.
func (a *actor) appendPark(ctx context.Context, reason string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	head := a.head
	head.Status, head.Reason, head.Updated = host.SessionParked, reason, a.svc.opt.Now().UTC()
	op, err := headOp(head)
	if err != nil {
		return err
	}
	ops, err := a.noticed([]store.Op{op}, &host.Notice{Type: host.NoticeParked, Turn: head.Ended + 1, Reason: reason})
	if err != nil {
		return err
	}
	if _, err := a.log.Append(ctx, host.Entry{Kind: host.EntryPark}, host.Parked{Reason: reason}, nil, ops...); err != nil {
		return err
	}
	a.head = head
	return nil
}
