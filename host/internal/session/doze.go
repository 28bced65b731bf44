package session

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// A turn whose calls take long sleeps in two steps. First its guest is dropped: the calls
// go on without it. When they do nothing but wait, and go on waiting, they are left too
// and the session is no longer in memory: the journal and the head say what it waits for,
// and what comes makes the turn run again.

// errDormant means that the turn waits and is not in memory.
var errDormant = errors.New("session: the turn waits outside of memory")

// doze returns when the turn can go on: one of its calls has landed, or its context has
// ended. It returns errDormant when the session left the memory.
func (a *actor) doze(ctx context.Context, q *queued, p *passing) error {
	a.dozes = true
	idle := time.NewTimer(a.idleAfter())
	defer idle.Stop()
	for {
		if a.stopping() { // it should leave the memory now
			if slept, err := a.sleep(ctx, q, p); slept || err != nil {
				return err
			}
		}
		select {
		case <-p.passage.Landed():
			return nil
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), host.ErrStopping) {
				return host.ErrStopping
			}
			return nil // its calls are, or will be, cancelled: the guest is to see that
		case <-a.wakeup:
		case <-idle.C:
			idle.Reset(a.idleAfter())
			if slept, err := a.sleep(ctx, q, p); slept || err != nil {
				return err
			}
		}
	}
}

// stopping tells whether the actor should end as soon as it can.
func (a *actor) stopping() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.draining
}

// sleep takes the session out of memory, unless something of it still runs. It returns
// true with a nil error when the turn can go on instead.
func (a *actor) sleep(ctx context.Context, q *queued, p *passing) (bool, error) {
	calls, only := p.passage.OnlyWaits()
	waits, waiting := a.suspended()
	switch {
	case calls == 0: // nothing is under way that could wake it
		return true, nil
	case !only || waiting < calls: // something runs, or has yet to say what it waits for
		return false, nil
	}
	if !p.passage.Leave() {
		return true, nil // one of them is over
	}
	return a.rest(ctx, q, p, waits)
}

// rest takes a turn out of memory of which nothing is under way. It returns true with a nil
// error when what it waits for has come, else errDormant.
func (a *actor) rest(ctx context.Context, q *queued, p *passing, waits []abi.Wait) (bool, error) {
	if came, err := a.appendWait(ctx, q, waits); came || err != nil {
		return came, err
	}
	if err := a.reread(ctx, q, p); err != nil {
		return false, err
	}
	p.left, p.crashes = true, 0
	q.begun = &p.begun
	a.svc.opt.Notices.Wake()
	a.mu.Lock()
	head := a.head
	a.mu.Unlock()
	a.svc.schedule(head)
	return true, errDormant
}

// appendWait records what the turn waits for together with the session's new head, unless
// it has come since it was left.
func (a *actor) appendWait(ctx context.Context, q *queued, waits []abi.Wait) (came bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.came(q, waits) {
		return true, nil
	}
	head := a.head
	head.Status, head.Waiting, head.Updated = host.SessionSuspended, waits, a.svc.opt.Now().UTC()
	if q.accepted.Expires > 0 {
		head.Expires = time.Unix(0, q.accepted.Expires).UTC()
	}
	op, err := headOp(head)
	if err != nil {
		return false, err
	}
	ops, err := a.noticed([]store.Op{op}, waitNotice(q.turn, waits))
	if err != nil {
		return false, err
	}
	if _, err := a.log.Append(ctx, host.Entry{Kind: host.EntryWait, Turn: q.turn}, host.Waits{Waiting: waits}, nil, ops...); err != nil {
		return false, err
	}
	a.head, a.dormant = head, waits
	return false, nil
}

// came tells whether a signal, an answer or a cancellation is there already.
func (a *actor) came(q *queued, waits []abi.Wait) bool {
	if q.turn <= a.cancelled {
		return true
	}
	signal := slices.ContainsFunc(a.queue, func(x *queued) bool { return x != q && x.event != nil && wanted(waits, x.event) })
	return signal || slices.ContainsFunc(waits, func(w abi.Wait) bool {
		if w.Type != abi.EventApproval {
			return a.svc.answers(a.svc.run, a.head.Tenant, w)
		}
		answer, err := a.svc.approval(a.svc.run, a.head.Tenant, w.Name)
		return err == nil && answer.Status != host.ApprovalPending
	})
}

// awake tells whether a turn that is not in memory has something to go on with. A signal,
// an answer and a cancellation say so themselves; the rest is a matter of time.
func (a *actor) awake() bool {
	if a.dormant == nil {
		return true
	}
	now := a.svc.opt.Now()
	return !a.head.Expires.IsZero() && !now.Before(a.head.Expires) ||
		slices.ContainsFunc(a.dormant, func(w abi.Wait) bool { return !w.At.IsZero() && !now.Before(w.At) })
}

// roused makes head that of a session whose suspended turn goes on. It is written with
// what lets it go on, so that a crash in between cannot leave it waiting for what has come.
func roused(head *host.Session) {
	if head.Status == host.SessionSuspended {
		head.Status, head.Waiting, head.Expires = host.SessionRunning, nil, time.Time{}
	}
}

// rouseOps are the ops of an entry that lets a suspended turn go on, nil for a session that
// is not suspended.
func (a *actor) rouseOps() (host.Session, []store.Op, error) {
	head := a.head
	if head.Status != host.SessionSuspended {
		return head, nil, nil
	}
	roused(&head)
	op, err := headOp(head)
	return head, []store.Op{op}, err
}
