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
	idle := time.NewTimer(a.idleAfter())
	defer idle.Stop()
	for {
		select {
		case <-p.passage.Landed():
			return nil
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), host.ErrStopping) {
				return host.ErrStopping
			}
			return nil // its calls are, or will be, cancelled: the guest is to see that
		case <-a.wakeup:
			if !a.stopping() {
				continue
			}
		case <-idle.C:
			idle.Reset(a.idleAfter())
		}
		if slept, err := a.sleep(ctx, q, p); slept || err != nil {
			return err
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
	if !p.passage.OnlyWaits() {
		return false, nil
	}
	waits := a.suspended()
	if !p.passage.Leave() {
		return true, nil // one of them is over
	}
	if err := a.appendWait(ctx, q, waits); err != nil {
		return false, err
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

// appendWait records what the turn waits for together with the session's new head.
func (a *actor) appendWait(ctx context.Context, q *queued, waits []abi.Wait) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	head := a.head
	head.Status, head.Waiting, head.Updated = host.SessionSuspended, waits, a.svc.opt.Now().UTC()
	op, err := headOp(head)
	if err != nil {
		return err
	}
	ops, err := a.noticed([]store.Op{op}, waitNotice(q.turn, waits))
	if err != nil {
		return err
	}
	if _, err := a.log.Append(ctx, host.Entry{Kind: host.EntryWait, Turn: q.turn}, host.Waits{Waiting: waits}, nil, ops...); err != nil {
		return err
	}
	a.head, a.dormant = head, waits
	return nil
}

// awake tells whether a turn that is not in memory has something to go on with.
func (a *actor) awake() bool {
	if len(a.dormant) == 0 || a.queue[0].turn <= a.cancelled {
		return true
	}
	now := a.svc.opt.Now()
	return slices.ContainsFunc(a.dormant, func(w abi.Wait) bool {
		switch w.Type {
		case abi.EventSignal:
			return slices.ContainsFunc(a.queue, func(q *queued) bool {
				return q.event != nil && q.event.Type == abi.EventSignal && q.event.Name == w.Name
			})
		case abi.EventApproval:
			return a.svc.answered(a.head.Tenant, w.Name) || !now.Before(w.At)
		default:
			return !now.Before(w.At)
		}
	})
}
