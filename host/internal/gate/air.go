package gate

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vespiary/vespiary/host"
)

// air is where the calls of a turn are that take their time. They do not need their
// guest: when all guests have been blocked for a while, the guests are dropped, and the
// turn is run again when a call has landed. The passages of one turn share its flights.
type air struct {
	shared *shared
	asleep chan struct{} // closed when the guests are dropped

	mu      sync.Mutex // guards the fields below
	guests  int        // activations that have begun and not ended
	blocked int        // of these, waiting for a call
	since   time.Time  // when the last guest that was not blocked became so
	sleeps  bool
}

// shared is what outlives the passage that began a flight.
type shared struct {
	dirty    atomic.Bool // ops of recorded results wait for a commit
	settling sync.Mutex  // held by who commits them
	held     held

	mu      sync.Mutex
	flights map[string]*flight
	landed  chan struct{} // one token: a call has ended that a guest was dropped for
}

// flight is a call under way.
type flight struct {
	path   string
	digest string
	waits  bool // it does nothing but wait; guarded by shared.mu, like left
	left   bool // it was ended while it waited
	orphan bool // the guest that waited for it was dropped; guarded by shared.mu
	guest  bool // it activates a guest of its own; guarded by shared.mu
	by     *Turn
	done   chan struct{}
	d      Delivered
	o      *host.Outcome // nil when nothing was recorded
	err    error
	cancel context.CancelCauseFunc
	stop   func() bool // unties it from the guest's call
}

func newAir() *air {
	return &air{shared: &shared{flights: map[string]*flight{}, landed: make(chan struct{}, 1)}, asleep: make(chan struct{})}
}

// again is the air of the next passage of the same turn.
func (a *air) again() *air {
	n := newAir()
	n.shared = a.shared
	return n
}

// at returns the flight with this path, nil for none.
func (s *shared) at(path string) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flights[path]
}

// land ends a flight. One that recorded nothing is made again by whoever needs it; of one
// that was left nobody needs to know.
func (s *shared) land(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.o == nil {
		delete(s.flights, f.path)
	}
	close(f.done)
	s.tell(f)
}

// tell gives the token if a flight has landed whose guest is not there to see it. The
// caller holds mu.
func (s *shared) tell(f *flight) {
	if !f.orphan || f.o == nil && errors.Is(f.err, host.ErrSuspended) && (f.left || s.below(f)) {
		return
	}
	select {
	case s.landed <- struct{}{}:
	default:
	}
}

// below tells whether a call is under way that a flight's own guest made: when that has
// landed, the turn goes on. The caller holds mu.
func (s *shared) below(f *flight) bool {
	for path, g := range s.flights {
		if strings.HasPrefix(path, f.path+"/") && !g.over() {
			return true
		}
	}
	return false
}

func (f *flight) over() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// activates notes that the call at path, if it is a flight, has a guest of its own.
func (s *shared) activates(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.flights[path]; f != nil {
		f.guest = true
	}
}

// adopt notes whether a guest waits for a flight.
func (s *shared) adopt(f *flight, guest bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.orphan = !guest; f.over() {
		s.tell(f)
	}
}

// forget drops a flight whose result a guest has: from here on it is on record.
func (s *shared) forget(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flights[f.path] == f {
		delete(s.flights, f.path)
	}
}

// flying returns the flights that have not landed.
func (s *shared) flying() []*flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*flight
	for _, f := range s.flights {
		if !f.over() {
			out = append(out, f)
		}
	}
	return out
}

// enter and leave count the guests.
func (a *air) enter() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.guests++
}

func (a *air) leave(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.guests--
	a.since = now // whoever waited for it has yet to see that it ended
}

// block notes that a guest waits from now on; the function that it returns, that it goes on.
func (a *air) block(now time.Time) func() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.blocked++
	a.since = now
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.blocked--
	}
}

// tired drops the guests if all of them have been blocked for as long as patience lasts. If
// not, it returns how long to wait before asking again.
func (a *air) tired(now time.Time, patience time.Duration) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.blocked < a.guests {
		return patience
	}
	if left := patience - now.Sub(a.since); left > 0 {
		return left
	}
	if !a.sleeps {
		a.sleeps = true
		close(a.asleep)
	}
	return 0
}

// sleeping tells whether the guests are dropped.
func (a *air) sleeping() bool {
	select {
	case <-a.asleep:
		return true
	default:
		return false
	}
}

// until waits for done. It returns false when the guest is dropped before, or at the same
// time: it could call nothing any more.
func (t *Turn) until(done <-chan struct{}) bool {
	select { // most calls that are waited for are over soon
	case <-done:
		return !t.air.sleeping()
	default:
	}
	if t.opt.Patience <= 0 {
		<-done
		return true
	}
	return t.blocked(done) && !t.air.sleeping()
}

// blocked waits for done with a guest that counts as blocked meanwhile.
func (t *Turn) blocked(done <-chan struct{}) bool {
	now := t.gate.opt.Now
	defer t.air.block(now())()
	timer := time.NewTimer(t.opt.Patience)
	defer timer.Stop()
	for {
		select {
		case <-done:
			return true
		case <-t.air.asleep:
			return false
		case <-timer.C:
			timer.Reset(t.air.tired(now(), t.opt.Patience))
		}
	}
}

// body is what a call does beside its guest.
type body func(ctx context.Context, f *flight) (Delivered, *host.Outcome, error)

// launch performs a call that may take its time beside the guest, which waits for it.
func (t *Turn) launch(ctx context.Context, c *host.Call, waits bool, do body) (Delivered, error) {
	f := &flight{path: c.Path, digest: c.Digest, waits: waits, done: make(chan struct{}), by: t}
	var own context.Context
	own, f.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	f.stop = context.AfterFunc(ctx, func() { f.cancel(context.Cause(ctx)) })
	t.air.shared.mu.Lock()
	t.air.shared.flights[f.path] = f
	t.air.shared.mu.Unlock()
	go func() {
		defer t.air.shared.land(f)
		defer f.cancel(nil)
		f.d, f.o, f.err = t.safely(own, c, f, do)
	}()
	return t.join(f)
}

// join waits for a flight on behalf of a guest.
func (t *Turn) join(f *flight) (Delivered, error) {
	t.air.shared.adopt(f, true)
	if t.until(f.done) {
		t.air.shared.forget(f)
		return f.d, f.err
	}
	t.air.shared.adopt(f, false)
	if f.stop() { // from here on it depends on the turn alone
		context.AfterFunc(t.opt.Life, func() { f.cancel(context.Cause(t.opt.Life)) })
	}
	t.air.shared.settled(f)
	return Delivered{}, host.ErrSuspended
}

// settled waits for a flight whose own guest is dropped with all others: the next passage
// must not meet it on its way out.
func (s *shared) settled(f *flight) {
	s.mu.Lock()
	guest := f.guest
	s.mu.Unlock()
	if guest {
		<-f.done
	}
}

// joinAgain waits for a flight that an earlier passage of the turn began. It returns false
// for one that was given up with the guests of that passage.
func (t *Turn) joinAgain(ctx context.Context, f *flight, c *host.Call) (Delivered, bool, error) {
	if f.digest != c.Digest {
		return Delivered{}, true, diverged(c, "another request", f.digest)
	}
	f.stop = context.AfterFunc(ctx, func() { f.cancel(context.Cause(ctx)) })
	d, err := t.join(f)
	if err == nil && f.o != nil {
		t.account(*f.o)
		t.concluded(f.path, f.o)
	}
	return d, !errors.Is(err, host.ErrSuspended) || t.air.sleeping(), err
}

// acts turns a flight that only waited into one that does something. It returns false for
// one that was left before.
func (s *shared) acts(f *flight) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.waits = f.waits && f.left
	return !f.left
}

// Landed gives a token when a call has ended that a dropped guest waits for.
func (t *Turn) Landed() <-chan struct{} { return t.air.shared.landed }

// OnlyWaits tells how many calls are under way, and whether all of them do nothing but
// wait, so that they may be left and made again.
func (t *Turn) OnlyWaits() (calls int, only bool) {
	flying := t.air.shared.flying()
	t.air.shared.mu.Lock()
	defer t.air.shared.mu.Unlock()
	return len(flying), !slices.ContainsFunc(flying, func(f *flight) bool { return !f.waits })
}

// Leave ends the calls that only wait, unrecorded. It returns false when one of them, or
// another call, has landed with a result meanwhile: then the turn can go on.
func (t *Turn) Leave() bool {
	s := t.air.shared
	flying := s.flying()
	s.mu.Lock()
	for _, f := range flying {
		if f.left = f.waits; f.left {
			f.cancel(host.ErrSuspended)
		}
	}
	s.mu.Unlock()
	t.Drain()
	select {
	case <-s.landed:
		return false
	default:
		return true
	}
}

// Drain waits until no call of the turn is under way, and accounts for those that nobody
// waited for any more.
func (t *Turn) Drain() {
	s := t.air.shared
	for _, f := range s.flying() {
		<-f.done
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, f := range s.flights {
		if p := t.past[path]; f.by != t && f.o != nil && (p == nil || p.outcome == nil) {
			t.account(*f.o)
		}
		delete(s.flights, path)
	}
}
