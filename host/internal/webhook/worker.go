package webhook

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/vespiary/vespiary/host/store"
)

const (
	// An endpoint that is at fault is left alone, longer with each failure in a row.
	minHold = 5 * time.Second
	maxHold = 5 * time.Minute
	// maxWait is how long an endpoint may put us off, and the longest of the schedule.
	maxWait = 24 * time.Hour
	// maxNap bounds sleeping, because the clock may be set meanwhile.
	maxNap = time.Minute
	// maxQueue is how many notices may wait for an endpoint that is at fault; beyond
	// it the oldest are dropped, so that a dead one cannot fill the disk.
	maxQueue = 10_000
	// settleTime is for recording what became of an attempt while the host stops.
	settleTime = 10 * time.Second
)

// worker delivers to one endpoint, one notice at a time, so that an endpoint which is
// down delays no other.
type worker struct {
	endpoint  Endpoint
	url       *url.URL
	store     store.Store
	now       func() time.Time
	log       *slog.Logger
	transport http.RoundTripper
	wake      chan struct{}

	// Only run touches these.
	hold  time.Time // no attempt before
	fails int       // of the endpoint, in a row

	delivered, failed, givenUp atomic.Int64
}

func newWorker(o Options, e Endpoint, u *url.URL) *worker {
	w := &worker{
		endpoint: e, url: u, store: o.Store, now: o.Now, transport: o.transport,
		log: o.Log.With("webhook", e.Name), wake: make(chan struct{}, 1),
	}
	if w.transport == nil {
		w.transport = newTransport(e.guard(u, o.Resolver), o.RootCAs)
	}
	return w
}

func (w *worker) stats() Stats {
	return Stats{w.endpoint.Name, w.delivered.Load(), w.failed.Load(), w.givenUp.Load()}
}

// run takes the first notice of the outbox, again and again. It returns an error only
// when the store is closed.
func (w *worker) run(ctx context.Context) error {
	if t, ok := w.transport.(*http.Transport); ok {
		defer t.CloseIdleConnections()
	}
	for ctx.Err() == nil {
		item, found, err := first(ctx, w.store, prefixOf(w.endpoint.Name))
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, store.ErrClosed):
			return err
		case err != nil:
			w.log.ErrorContext(ctx, "the notices that wait cannot be read", "error", err)
			w.nap(ctx, maxNap)
		case !found:
			w.nap(ctx, 0)
		default:
			if err := w.take(ctx, item); err != nil {
				return err
			}
		}
	}
	return nil
}

// nap waits for a Wake, for the end of ctx and, if d is not 0, for d.
func (w *worker) nap(ctx context.Context, d time.Duration) {
	var over <-chan time.Time
	if d > 0 {
		t := time.NewTimer(min(d, maxNap))
		defer t.Stop()
		over = t.C
	}
	select {
	case <-over:
	case <-w.wake:
	case <-ctx.Done():
	}
}

// take delivers a notice if it is due, and otherwise waits for that.
func (w *worker) take(ctx context.Context, item store.Item) error {
	r, err := decode(item)
	if err != nil {
		w.givenUp.Add(1)
		w.log.ErrorContext(ctx, "a notice is dropped: its record cannot be read", "key", string(item.Key), "error", err)
		return w.settle(ctx, store.Batch{Ops: []store.Op{{Key: item.Key}}})
	}
	wait := r.due.Sub(w.now())
	if wait > maxWait { // the clock was set back
		wait = 0
	}
	if wait = max(wait, w.hold.Sub(w.now())); wait > 0 {
		w.nap(ctx, wait)
		return nil
	}
	failure := w.send(ctx, &r)
	if failure != nil && ctx.Err() != nil {
		return nil // it was cut short, which says nothing of the endpoint
	}
	return w.conclude(ctx, &r, failure)
}

// conclude records what became of an attempt.
func (w *worker) conclude(ctx context.Context, r *record, f *failure) error {
	log := w.log.With("id", r.id, "session", r.Session, "attempt", r.Failed+1)
	if f == nil {
		w.fails = 0
		w.delivered.Add(1)
		log.DebugContext(ctx, "a notice was delivered")
		return w.settle(ctx, r.remove())
	}
	w.failed.Add(1)
	if f.endpoint() {
		if err := w.leaveAlone(ctx, f); err != nil {
			return err
		}
	}
	switch {
	case f.status == http.StatusGone:
		w.givenUp.Add(1)
		log.WarnContext(ctx, "a notice is dropped: the endpoint answered 410, which means that it wants no more; remove it from the configuration")
		return w.settle(ctx, r.remove())
	case r.Failed >= len(schedule):
		w.givenUp.Add(1)
		log.ErrorContext(ctx, "a notice is given up after its last attempt", "error", f)
		return w.settle(ctx, r.remove())
	}
	wait := max(schedule[r.Failed], f.retryAfter)
	log.WarnContext(ctx, "a notice was not taken and is tried again", "after", wait, "error", f)
	b, err := r.postpone(w.now().Add(wait))
	if err != nil {
		return err
	}
	return w.settle(ctx, b)
}

// leaveAlone holds back all notices of an endpoint that is at fault itself.
func (w *worker) leaveAlone(ctx context.Context, f *failure) error {
	hold := min(minHold<<min(w.fails, 10), maxHold)
	w.fails++
	w.hold = w.now().Add(max(hold, f.retryAfter))
	err := w.trim(ctx)
	if errors.Is(err, store.ErrClosed) {
		return err
	}
	if err != nil && ctx.Err() == nil {
		w.log.ErrorContext(ctx, "the notices that are too many cannot be dropped", "error", err)
	}
	return nil
}

// trim drops the notices that have waited longest, if they are too many.
func (w *worker) trim(ctx context.Context) error {
	total := 0
	_, err := deleteKeys(ctx, w.store, prefixOf(w.endpoint.Name), func([]byte) bool { total++; return false })
	if err != nil || total <= maxQueue {
		return err
	}
	excess := total - maxQueue
	dropped, err := deleteKeys(ctx, w.store, prefixOf(w.endpoint.Name), func([]byte) bool { excess--; return excess >= 0 })
	w.givenUp.Add(int64(dropped))
	w.log.ErrorContext(ctx, "notices are given up: too many wait for an endpoint that takes none", "notices", dropped)
	return err
}

// settle commits what became of a notice. It does not return before that is recorded or
// ctx ends, because the notice would be sent again at once.
func (w *worker) settle(ctx context.Context, b store.Batch) error {
	for pause := time.Second; ; pause = min(2*pause, maxNap) {
		err := w.commit(ctx, b)
		switch {
		case err == nil || errors.Is(err, store.ErrConflict): // or somebody else was faster
			return nil
		case errors.Is(err, store.ErrClosed):
			return err
		case ctx.Err() != nil:
			return nil
		}
		w.log.ErrorContext(ctx, "what became of a notice cannot be recorded", "error", err, "again_after", pause)
		w.nap(ctx, pause)
	}
}

// commit goes on when ctx has ended: a notice that was taken must not be sent again
// only because the host stops.
func (w *worker) commit(ctx context.Context, b store.Batch) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	_, err := w.store.Commit(ctx, b)
	return err
}
