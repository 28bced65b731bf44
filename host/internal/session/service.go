package session

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/session/task"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// Options are what a Service is made of; all but Observer and Notices are required. A
// limit of 0 is none.
type Options struct {
	Store    store.Store
	Journals Journals
	Door     Door
	Runner   Runner
	Agents   Agents
	Images   Images
	Tasks    *task.Book
	Audit    policy.Auditor // nil keeps no records
	Grants   Grants         // nil: grants are not checked when a task is opened
	// Groups are those of a caller as they are now. nil: those that the caller came with.
	Groups   func(c host.Caller) []string
	Notices  Notices
	Observer Observer
	Now      func() time.Time
	Log      *slog.Logger
	Limits   Limits
	// Prefixes are those of the keys that other parts keep for a session.
	Prefixes func(tenant, session string) [][]byte
	// Private are those of them that erasing a session deletes too.
	Private func(tenant, session string) [][]byte
	Memory  func() int64 // of all guests, in bytes; nil where nobody can tell
	// Patience is how long a guest that is blocked stays in memory; 0: for ever.
	Patience time.Duration
	// ApprovalLife is how long a question waits for its answer; 0: a day.
	ApprovalLife time.Duration
}

// Grants checks what tasks are opened with.
type Grants interface {
	// CheckGrants tells what is wrong with grants that name unknown actions or resources.
	CheckGrants(grants []policy.Grant) error
	// Attenuates tells which of a child's grants goes beyond those of its parent.
	Attenuates(parent, child []policy.Grant) error
}

// Limits are the limits of admission: work beyond them is refused, not queued.
type Limits struct {
	Sessions     int   // with a turn under way or queued
	Queue        int   // events queued in one session
	Memory       int64 // of all guests, in bytes
	MicrosPerDay int64 // millionths of a US dollar per UTC day
}

// Service runs all sessions of a host. It is safe for concurrent use.
type Service struct {
	opt   Options
	hub   hub
	spent spending
	pulse pulse

	run  context.Context //nolint:containedctx // the life of the actors, which outlives any call
	stop context.CancelCauseFunc
	wg   sync.WaitGroup // of the actors
	aux  sync.WaitGroup // of what only ends with run

	mu     sync.Mutex
	actors map[string]*actor
	closed bool
	idem   keyed // serialises invocations with one idempotency key
	open   keyed // serialises opening the actor of one session
}

// New returns a service that is not running yet: Resume takes up what earlier hosts
// left.
func New(opt Options) *Service {
	if opt.Observer == nil {
		opt.Observer = unobserved{}
	}
	if opt.Tasks == nil {
		opt.Tasks = task.New(opt.Store, opt.Now)
	}
	if opt.Notices == nil {
		opt.Notices = silent{}
	}
	s := &Service{opt: opt, actors: map[string]*actor{}}
	s.run, s.stop = context.WithCancelCause(context.Background())
	return s
}

// Committed is to be told of every durable entry.
func (s *Service) Committed(tenant, session string, _ []host.Entry) {
	s.hub.wake(tenant + "/" + session)
}

// Resume takes up the sessions that have work left: queued events, a turn that a
// crash or a stop interrupted, timers.
func (s *Service) Resume(ctx context.Context) error {
	if err := s.loadSpending(ctx); err != nil {
		return err
	}
	if err := s.finishWipes(ctx); err != nil {
		s.opt.Log.ErrorContext(ctx, "an erasure was not brought to its end; erase the session again", "error", err)
	}
	for head, err := range s.heads(ctx, nil) {
		if err != nil {
			return err
		}
		switch head.Status {
		case host.SessionRunning:
			a, err := s.actor(ctx, head.Tenant, head.ID)
			if err != nil {
				s.opt.Log.ErrorContext(ctx, "session not resumed", "session", head.ID, "error", err)
				continue
			}
			a.release()
		case host.SessionWaiting, host.SessionSuspended:
			s.schedule(head)
			s.reunite(ctx, head)
		case host.SessionIdle, host.SessionParked, host.SessionErased:
		}
	}
	if err := s.disownAll(ctx); err != nil {
		return err
	}
	s.aux.Go(s.sweeper)
	return nil
}

// Close stops taking events, gives turns under way until ctx ends, then interrupts
// them: the next host goes on with them. It is idempotent.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	for _, a := range s.actors {
		a.retire()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	s.stop(host.ErrStopping)
	<-done
	s.aux.Wait()
	return nil
}

// actor returns the session's running actor, begun if need be.
func (s *Service) actor(ctx context.Context, tenant, session string) (*actor, error) {
	id := tenant + "/" + session
	defer s.open.lock(id)()
	s.mu.Lock()
	a, closed := s.actors[id], s.closed
	s.mu.Unlock()
	if closed {
		return nil, host.Errorf(host.ErrUnavailable, "the host is stopping; try again when it is back")
	}
	if a != nil && a.retain() {
		return a, nil
	}
	if a != nil {
		<-a.gone // its writer must be closed before the next one begins
	}
	log, err := s.opt.Journals.Acquire(ctx, tenant, session)
	if err != nil {
		return nil, err
	}
	a, err = s.load(ctx, tenant, session, log)
	if err != nil {
		log.Close()
		return nil, err
	}
	return a, s.begin(a)
}

// begin lets the actor run, retained once for the caller.
func (s *Service) begin(a *actor) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		a.log.Close()
		return host.Errorf(host.ErrUnavailable, "the host is stopping; try again when it is back")
	}
	a.users = 1
	s.actors[a.id()] = a
	s.wg.Go(a.loop)
	return nil
}

func (s *Service) gone(a *actor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.actors[a.id()] == a {
		delete(s.actors, a.id())
	}
}

// busy counts the sessions with work.
func (s *Service) busy() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, a := range s.actors {
		if a.busy.Load() {
			n++
		}
	}
	return n
}

var errParked = errors.New("session: parked")

// Ready reports why the host would refuse new work: it stops, or cannot write.
func (s *Service) Ready(ctx context.Context) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return host.Errorf(host.ErrUnavailable, "the host is stopping")
	}
	_, err := s.opt.Store.Commit(ctx, store.Batch{Ops: []store.Op{{Key: []byte("ready"), Value: []byte{}}}})
	return full("the host", err)
}
