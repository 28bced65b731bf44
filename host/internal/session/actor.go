package session

import (
	"context"
	"errors"
	"slices"
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

	answers sync.Mutex // serialises the answers to approvals

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

	dormant   []abi.Wait // what the first turn of the queue waits for, that is not in memory
	jobs      []*job
	visit     *visit // of a turn whose program is elsewhere, while it is in memory
	cancelled int    // the turns up to this one are cancelled

	live   *live  // of loop alone, nil when the guest is to be made again
	endSeq uint64 // of the entry that ended the last turn; of loop alone
	// dozes says that turns of the session are run again while they wait; of loop alone.
	dozes bool
	// damaged says that a stored image could not be read; of loop alone.
	damaged bool

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
		wakeup: make(chan struct{}, 1), waits: map[string][]abi.Wait{}, label: labelOf(open.Session),
	}
}

// labelOf is what a session carries into its next turn. One that was imported is untrusted
// before its first turn ends.
func labelOf(head host.Session) abi.Label {
	if head.Ended > 0 || len(head.Label.Sources) > 0 {
		return head.Label
	}
	return abi.Label{Integrity: abi.Trusted, Readers: []string{head.Owner}}
}

// labelOfEvent is the label of what an event brings: the words of its user, or of an agent
// that acts for the user, which are only as good as what that agent has seen.
func labelOfEvent(q *queued) abi.Label {
	said := abi.Label{Integrity: abi.Trusted, Sources: []string{"user:" + q.accepted.Caller.User}}
	switch {
	case q.accepted.Label != nil:
		return *q.accepted.Label
	case len(q.accepted.Caller.Actors) > 0:
		return abi.Label{Readers: []string{q.accepted.Caller.User}, Sources: []string{"agent:" + q.accepted.Caller.Actors[0]}}
	}
	return said
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
	ctx := a.svc.run
	defer close(a.gone)
	defer a.log.Close()
	defer a.svc.gone(a)
	defer a.refuseJobs()
	defer a.drop()
	idle := time.NewTimer(a.idleAfter())
	defer idle.Stop()
	for idled := false; ; {
		next, ended := a.next(idled)
		idled = false
		switch {
		case ended:
			a.hibernate(ctx)
			return
		case next.job != nil:
			next.job.run(ctx)
			continue
		case next.turn != nil:
			if !a.handle(ctx, next.turn) {
				a.abandon()
				return
			}
			idle.Reset(a.idleFrom())
			continue
		}
		select {
		case <-a.wakeup:
		case <-idle.C:
			idled = true
			idle.Reset(a.idleAfter())
		case <-ctx.Done():
			a.abandon()
			return
		}
	}
}

// now is the session's head as it is.
func (a *actor) now() host.Session {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.head
}

// idleFrom is how long the actor stays ready after a turn: one that was left waiting has
// idled before.
func (a *actor) idleFrom() time.Duration {
	a.mu.Lock()
	dormant := a.dormant != nil
	a.mu.Unlock()
	if dormant {
		return 0
	}
	return a.idleAfter()
}

// work is what the actor does next: nothing, a turn or a job.
type work struct {
	turn *queued
	job  *job
}

// next returns what to do, or tells that the actor has ended: it was retired, or idled
// and nobody holds it.
func (a *actor) next(idle bool) (work, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.draining {
		return work{}, true
	}
	if len(a.jobs) > 0 {
		j := a.jobs[0]
		a.jobs = a.jobs[1:]
		return work{job: j}, false
	}
	if a.head.Status != host.SessionParked && len(a.queue) > 0 && a.awake() {
		return work{turn: a.queue[0]}, false
	}
	if (idle || a.retired || a.head.Status == host.SessionParked) && a.users == 0 {
		a.retired = true
	}
	return work{}, a.retired && a.users == 0
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
	case err == nil:
		a.pop(q)
		return true
	case errors.Is(err, errDormant), errors.Is(err, errParked): // its turn has not ended
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

// pop takes an event whose turn has ended out of the queue, and tells who waits for the turn
// in memory.
func (a *actor) pop(q *queued) {
	a.mu.Lock()
	a.queue = slices.DeleteFunc(slices.Clone(a.queue), func(x *queued) bool { return x == q })
	a.busy.Store(len(a.queue) > 0)
	a.mu.Unlock()
	a.svc.hub.wake(a.id())
}

// load makes the actor of a session that exists. A fork is opened as what it was forked
// from, but for its name.
func (s *Service) load(ctx context.Context, tenant, session string, log Log) (*actor, error) {
	head, err := s.head(ctx, tenant, session)
	if err != nil {
		return nil, err
	}
	open, err := s.opened(ctx, head)
	if err != nil {
		return nil, err
	}
	origin := open.Session.Module
	open.Session = head
	open.Session.Module = origin
	a := newActor(s, log, open)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.fill(ctx); err != nil {
		return a, err
	}
	a.forgetChains()
	return a, nil
}

// forgetChains has the audit read again where the chains of the session's tasks end: an
// earlier writer may have numbered records that were never written.
func (a *actor) forgetChains() {
	log, ok := a.svc.opt.Audit.(interface{ Forget(tenant, chain string) })
	if !ok {
		return
	}
	for _, q := range a.queue {
		log.Forget(a.open.Session.Tenant, q.accepted.Task)
	}
}

// refill reads the session anew after it was changed between two turns, for the holder of
// mu. An actor that cannot ends, and the next one reads it.
func (a *actor) refill(ctx context.Context) error {
	err := a.fill(ctx)
	if err != nil {
		a.retired, a.draining = true, true
	}
	return err
}

// fill reads the head, and the journal from the first turn on that has not ended: the
// queue is what was accepted and is not over. The caller holds mu, so that nothing is
// accepted meanwhile.
func (a *actor) fill(ctx context.Context) error {
	head, err := a.svc.head(ctx, a.open.Session.Tenant, a.open.Session.ID)
	if err != nil {
		return err
	}
	if err := a.svc.rebuild(ctx, head); err != nil {
		return err
	}
	v := newView()
	from, err := a.svc.place(ctx, head, head.Ended+1)
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
	a.head, a.queue, a.cancelled, a.dormant = head, v.unfinished(), v.cancelled, nil
	if head.Status == host.SessionSuspended {
		a.dormant = head.Waiting
	}
	a.busy.Store(len(a.queue) > 0)
	for _, q := range a.queue {
		if q.event, err = a.eventOf(ctx, q); err != nil {
			return err
		}
		q.accepted.Task = taskIn(&head, q.entry, q.accepted.Task)
	}
	a.label = labelOf(head)
	return a.reconcile(ctx)
}
