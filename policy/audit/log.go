package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// Options say where a log keeps what it is told, and what it signs with.
type Options struct {
	Store store.Store
	// Signer signs checkpoints. A log without one takes records and reads them, and keeps
	// them waiting for one that has it.
	Signer *Signer
	// Origin is what the first line of a checkpoint begins with; "/" and the tenant follow.
	// Empty means the name of the signer's key.
	Origin string
	// Now is the clock that records get their time from.
	Now func() time.Time
	// Every is how often Run makes durable what waits and signs what is new; 0 is a second.
	Every time.Duration
	Log   *slog.Logger // nil discards what it says
}

// Log takes records down and reads them. It implements policy.Auditor, and is safe for
// concurrent use. Several logs, of several processes, may share a store as long as each
// chain has one writer at a time.
type Log struct {
	opt Options

	mu      sync.Mutex // of the next five
	chains  map[chainKey]*chain
	older   map[chainKey]*chain
	leaving map[chainKey]*chain // those that go once they are settled
	waiting int                 // bytes that Later keeps
	dirty   map[*chain]struct{} // chains with some of those

	wake chan struct{} // holds a token when much waits

	sequencing sync.Mutex       // one Integrate at a time
	grown      map[string]int64 // by tenant, how many leaves this log has seen
}

var _ policy.Auditor = (*Log)(nil)

// New returns a log over a store. Run must run for Later and for the tree.
func New(o Options) (*Log, error) {
	if o.Store == nil || o.Now == nil {
		return nil, errors.New("audit: a log needs a store and a clock")
	}
	if o.Origin == "" && o.Signer != nil {
		o.Origin = o.Signer.name()
	}
	if o.Every <= 0 {
		o.Every = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Log{
		opt: o, chains: map[chainKey]*chain{}, leaving: map[chainKey]*chain{}, dirty: map[*chain]struct{}{},
		wake: make(chan struct{}, 1), grown: map[string]int64{},
	}, nil
}

// Note implements policy.Auditor.
func (l *Log) Note(ctx context.Context, r *policy.Record, commit func(ops ...store.Op) error) error {
	if err := check(r); err != nil {
		return err
	}
	c := l.acquire(r.Tenant, r.Chain)
	defer l.release(c)
	if err := c.lock(ctx); err != nil {
		return fmt.Errorf("audit: wait for the chain of %s: %w", r.Chain, err)
	}
	defer c.unlock()
	if err := l.load(ctx, c); err != nil {
		return err
	}
	end := c.head
	ops := l.number(make([]store.Op, 0, 2), &end, r)
	if size := len(ops[0].Value); size > store.MaxValue {
		return fmt.Errorf("audit: a record of %d bytes: %w", size, store.ErrTooLarge)
	}
	return c.write(end, ops, commit)
}

// Write implements policy.Auditor. Records of one chain that are written at the same time
// share a commit.
func (l *Log) Write(ctx context.Context, r *policy.Record) error {
	e, err := l.entry(r)
	if err != nil {
		return err
	}
	e.done = make(chan error, 1)
	c := l.acquire(r.Tenant, r.Chain)
	defer l.release(c)
	c.push(e)
	for ended := ctx.Done(); ; {
		select {
		case err := <-e.done:
			return err
		case <-ended:
			if c.withdraw(e) {
				return fmt.Errorf("audit: write a record: %w", context.Cause(ctx))
			}
			ended = nil // its commit has begun
		case c.sem <- struct{}{}:
			err := l.flush(ctx, c)
			c.unlock()
			if err != nil && c.withdraw(e) { // what waits before it cannot be written
				return err
			}
		}
	}
}

// maxWaiting is how many bytes of records may wait in memory.
const maxWaiting = 8 << 20

// Later implements policy.Auditor.
func (l *Log) Later(r *policy.Record) error {
	e, err := l.entry(r)
	if err != nil {
		return err
	}
	if !l.keep(e) {
		return l.Write(context.Background(), r)
	}
	if r.Time.IsZero() {
		r.Time = l.opt.Now()
	}
	c := l.acquire(r.Tenant, r.Chain) // until it is written
	c.push(e)
	l.mu.Lock()
	l.dirty[c] = struct{}{}
	l.mu.Unlock()
	return nil
}

// keep makes room for an entry, and calls for Run when there is little left.
func (l *Log) keep(e *entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting+e.size > maxWaiting {
		return false
	}
	l.waiting += e.size
	if l.waiting > maxWaiting/2 {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// Forget has the log read the end of a chain again when it is next used. Whoever takes a
// chain over says so, from another process or from a journal of this one that failed: what
// that had noted and not written does not exist.
func (l *Log) Forget(tenant, chain string) {
	c := l.acquire(tenant, chain)
	defer l.release(c)
	c.stale.Store(true)
}

// entry is a record on its way. Its done is nil if nobody waits for it.
type entry struct {
	r    *policy.Record
	size int
	done chan error
}

// entry checks a record before it waits, so that it cannot spoil the commit of others.
func (l *Log) entry(r *policy.Record) (*entry, error) {
	if err := check(r); err != nil {
		return nil, err
	}
	const unnumbered = 512 // bytes, at most, of what the log itself adds to a record, and its keys
	b := scratch.Get().(*[]byte)
	defer scratch.Put(b)
	*b = canonical((*b)[:0], r)
	size := len(*b) + unnumbered + 8*len(r.Chain)
	if size > store.MaxValue {
		return nil, fmt.Errorf("audit: a record of %d bytes: %w", size, store.ErrTooLarge)
	}
	return &entry{r: r, size: size}, nil
}

func check(r *policy.Record) error {
	if err := checkName("tenant", r.Tenant); err != nil {
		return err
	}
	if err := checkName("chain", r.Chain); err != nil {
		return err
	}
	if r.Time.IsZero() {
		return nil
	}
	return checkTime(r.Time)
}
