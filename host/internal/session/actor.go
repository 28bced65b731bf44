package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// actor is a session with its one writer. loop is its only goroutine that runs
// turns; the rest may be called from others.
type actor struct {
	svc  *Service
	log  Log
	open host.Open
	gone chan struct{} // closed when loop has ended and the log is closed

	mu       sync.Mutex
	head     host.Session
	label    abi.Label
	queue    []*queued
	users    int // who may still add to the queue
	retired  bool
	draining bool
	wakeup   chan struct{} // one token: there is something to look at
	cancel   context.CancelCauseFunc
	current  int // turn under way, 0 for none
	waits    map[string][]abi.Wait

	cancelled int // the turns up to this one are cancelled

	busy atomic.Bool // the queue is not empty; read without mu, which accept holds across a sync
}

// queued is an accepted event whose turn has not ended.
type queued struct {
	turn     int
	accepted host.Accepted
	entry    host.Entry
	event    *abi.Event
	begun    *begun // of a turn that an earlier host began
}

// begun is what an earlier host recorded of a turn.
type begun struct {
	entry   host.Entry // its turn.start
	started host.Started
	past    []host.Entry
	crashes int  // hosts in a row that ended in the middle of it
	left    bool // the last one left it in good order
}

// idleAfter is how long an actor without work stays ready whose agent does not say.
const idleAfter = 30 * time.Second

func (a *actor) idleAfter() time.Duration {
	if agent, ok := a.svc.opt.Agents.Agent(a.open.Session.Agent); ok && agent.Idle > 0 {
		return agent.Idle
	}
	return idleAfter
}

func newActor(s *Service, log Log, open host.Open) *actor {
	return &actor{
		svc: s, log: log, open: open, head: open.Session, gone: make(chan struct{}),
		wakeup: make(chan struct{}, 1), waits: map[string][]abi.Wait{},
		label: abi.Label{Integrity: abi.Trusted, Readers: []string{open.Session.Owner}},
	}
}

func (a *actor) id() string { return a.open.Session.Tenant + "/" + a.open.Session.ID }

// retain keeps the actor from ending until release; false when it ends already.
func (a *actor) retain() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.retired {
		return false
	}
	a.users++
	return true
}

func (a *actor) release() {
	a.mu.Lock()
	a.users--
	a.mu.Unlock()
	a.poke()
}

// retire lets the actor end after the turn under way; what is queued is durable and
// waits for the next host.
func (a *actor) retire() {
	a.mu.Lock()
	a.retired, a.draining = true, true
	a.mu.Unlock()
	a.poke()
}

func (a *actor) poke() {
	select {
	case a.wakeup <- struct{}{}:
	default:
	}
}

// loop runs the queued turns in order until the actor is idle for a while.
func (a *actor) loop() {
	defer close(a.gone)
	defer a.log.Close()
	defer a.svc.gone(a)
	ctx := a.svc.run
	idle := time.NewTimer(a.idleAfter())
	defer idle.Stop()
	for {
		next, ended := a.next(false)
		if ended {
			return
		}
		if next != nil {
			if !a.handle(ctx, next) {
				a.abandon()
				return
			}
			idle.Reset(a.idleAfter())
			continue
		}
		select {
		case <-a.wakeup:
		case <-idle.C:
			if _, ended := a.next(true); ended {
				return
			}
			idle.Reset(a.idleAfter())
		case <-ctx.Done():
			a.abandon()
			return
		}
	}
}

// next returns the turn to run, or tells that the actor has ended: it was retired,
// or idled and nobody holds it.
func (a *actor) next(idle bool) (*queued, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.draining {
		return nil, true
	}
	if a.head.Status == host.SessionParked {
		return nil, a.users == 0 || a.retired
	}
	if len(a.queue) > 0 {
		return a.queue[0], false
	}
	if (idle || a.retired) && a.users == 0 {
		a.retired = true
	}
	return nil, a.retired && a.users == 0
}

// abandon marks the actor as gone for those who find it.
func (a *actor) abandon() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.retired = true
}

// handle takes one turn to its end. It returns false when the actor cannot go on:
// the host stops, or the journal failed.
func (a *actor) handle(ctx context.Context, q *queued) bool {
	if ctx.Err() != nil {
		return false
	}
	err := a.turn(ctx, q)
	switch {
	case err == nil, errors.Is(err, errParked):
		a.pop(q)
		return true
	case errors.Is(err, host.ErrStopping):
		return a.leave(ctx)
	}
	a.svc.opt.Log.ErrorContext(ctx, "session stopped", "session", a.open.Session.ID, "turn", q.turn, "error", err)
	return false
}

// leave records that the turn was left in good order.
func (a *actor) leave(ctx context.Context) bool {
	ctx = context.WithoutCancel(ctx)
	if _, err := a.log.Append(ctx, host.Entry{Kind: host.EntryFence}, host.Fence{Clean: true}, nil); err == nil {
		_ = a.log.Commit(ctx)
	}
	return false
}

func (a *actor) pop(q *queued) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, x := range a.queue {
		if x == q {
			a.queue = append(a.queue[:i], a.queue[i+1:]...)
			a.busy.Store(len(a.queue) > 0)
			return
		}
	}
}

// load makes the actor of a session that exists.
func (s *Service) load(ctx context.Context, tenant, session string, log Log) (*actor, error) {
	for e, err := range s.opt.Journals.Read(ctx, tenant, session, 1) {
		if err != nil {
			return nil, err
		}
		if e.Kind != host.EntryOpen {
			break
		}
		var open host.Open
		if err := json.Unmarshal(e.Body, &open); err != nil {
			return nil, fmt.Errorf("session %s: open entry: %w", session, err)
		}
		a := newActor(s, log, open)
		return a, a.fill(ctx)
	}
	return nil, fmt.Errorf("session %s: its journal has no open entry", session)
}

// fill reads the head, and the journal from the first turn on that has not ended: the
// queue is what was accepted and is not over.
func (a *actor) fill(ctx context.Context) error {
	head, err := a.svc.head(ctx, a.open.Session.Tenant, a.open.Session.ID)
	if err != nil {
		return err
	}
	v := newView()
	from, err := a.svc.place(ctx, head.Tenant, head.ID, head.Ended+1)
	if err != nil {
		return err
	}
	for e, err := range a.svc.opt.Journals.Read(ctx, head.Tenant, head.ID, from) {
		if err != nil {
			return err
		}
		if err := v.add(e); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.head, a.queue, a.cancelled = head, v.unfinished(), v.cancelled
	a.busy.Store(len(a.queue) > 0)
	for _, q := range a.queue {
		if q.event, err = a.eventOf(ctx, q); err != nil {
			return err
		}
	}
	if head.Ended > 0 {
		a.label = head.Label
	}
	return nil
}
