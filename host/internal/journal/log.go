package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// ErrFenced means that another acquisition of the session is newer: this Log is void.
var ErrFenced = errors.New("journal: the session was taken over, this writer is void")

// Log is the one writer of a session. Append numbers entries in order and holds
// them back; Commit makes all of them durable. It is safe for concurrent use.
type Log struct {
	keys     *Keys
	store    store.Store
	now      func() time.Time
	observer func(tenant, session string, entries []host.Entry)
	tenant   string
	session  string
	domain   *domain
	fence    uint64
	cond     store.Cond

	mu      sync.Mutex // guards the fields below
	seq     uint64
	epoch   uint32
	last    time.Time
	link    link // of the newest entry
	pending []pending
	waiting int           // bytes of pending
	known   map[name]bool // parts of payloads that are stored or pending
	failed  error

	commit   sync.Mutex // held by the one that commits, so that batches keep their order
	flushing atomic.Bool
	flushes  sync.WaitGroup
}

// pending is an entry that waits for a commit, with all that must commit with it.
type pending struct {
	entry host.Entry
	ops   []store.Op
	parts []part // that the ops write
	size  int
}

// Session returns the id of the session that the log belongs to.
func (l *Log) Session() string { return l.session }

// Epoch returns the branch epoch of new entries.
func (l *Log) Epoch() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch
}

// Hash returns the keyed digest that requests are compared by. Its key goes with the
// session into its branches and into its export, and ends with its erasure.
func (l *Log) Hash(data []byte) string { return sum(l.domain.hashes, ofPayload, data).String() }

// Append adds an entry: e gives Kind, Turn and Path, body its kind's own fields,
// payload the user content, and ops what must be written together with it. The
// entry gets its number and time, and is durable after the next Commit.
func (l *Log) Append(ctx context.Context, e host.Entry, body any, payload []byte, ops ...store.Op) (host.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.append(ctx, e, body, payload, ops)
}

func (l *Log) append(ctx context.Context, e host.Entry, body any, payload []byte, ops []store.Op) (host.Entry, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return host.Entry{}, fmt.Errorf("journal: %s: %w", e.Kind, err)
	}
	if l.failed != nil {
		return host.Entry{}, l.failed
	}
	e.Body = raw
	var parts []part
	if payload != nil {
		// What happened is recorded even when the call that did it was cancelled.
		var more []store.Op
		if more, parts, err = l.attach(context.WithoutCancel(ctx), &e, payload); err != nil {
			return host.Entry{}, err
		}
		ops = append(more, ops...)
	}
	last := l.last
	l.number(&e)
	if err := l.hold(e, parts, ops); err != nil {
		l.seq, l.last = l.seq-1, last
		return host.Entry{}, err
	}
	return e, nil
}

// hold adds a numbered entry to what is pending.
func (l *Log) hold(e host.Entry, parts []part, ops []store.Op) error {
	value, link := encode(&e, l.link)
	ops = append(ops, store.Op{Key: entryKey(l.tenant, l.session, e.Seq), Value: value})
	size := sizeOf(ops)
	if size > store.MaxBatch {
		return fmt.Errorf("%w: with what belongs to it, the entry needs %d bytes", ErrTooLarge, size)
	}
	l.link = link
	l.pending = append(l.pending, pending{entry: e, ops: ops, parts: parts, size: size})
	l.waiting += size
	for i := range parts { // from here on they are written, or the log fails
		l.know(parts[i].name)
		parts[i].content = nil // the ops have it
	}
	return nil
}

// drop undoes the newest append.
func (l *Log) drop(seq uint64, last time.Time, before link) {
	n := len(l.pending) - 1
	l.waiting -= l.pending[n].size
	for _, p := range l.pending[n].parts {
		delete(l.known, p.name)
	}
	l.pending, l.seq, l.last, l.link = l.pending[:n], seq, last, before
}

// Waiting returns how many bytes wait for a Commit.
func (l *Log) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting
}

// attach seals the payload into the entry, or into ops, and returns the parts that the
// ops write.
func (l *Log) attach(ctx context.Context, e *host.Entry, payload []byte) ([]store.Op, []part, error) {
	if len(payload) > host.MaxPayload {
		return nil, nil, ErrTooLarge
	}
	form, parts, err := l.form(ctx, payload)
	if err != nil {
		return nil, nil, err
	}
	ops := l.opsOf(parts)
	digest, inline, more := l.domain.payload(l.tenant, l.session, form)
	e.Digest, e.Sealed, e.Domain = digest, inline, l.session
	return append(ops, more...), parts, nil
}

func (l *Log) number(e *host.Entry) {
	l.seq++
	if t := l.now().UTC(); t.After(l.last) {
		l.last = t
	} else {
		l.last = l.last.Add(1) // entries of one journal have different times
	}
	e.Seq, e.Epoch, e.Fence, e.Time = l.seq, l.epoch, l.fence, l.last
}

func sizeOf(ops []store.Op) int {
	n := 0
	for _, op := range ops {
		n += len(op.Key) + len(op.Value)
	}
	return n
}

// Commit returns when every entry appended before the call is durable. After
// store.ErrFull nothing is lost and Commit may be called again; after any other
// error the log accepts nothing more.
func (l *Log) Commit(ctx context.Context) error {
	l.commit.Lock()
	defer l.commit.Unlock()
	return l.writeAll(ctx)
}

// writeAll writes what is pending, for the holder of commit.
func (l *Log) writeAll(ctx context.Context) error {
	for {
		batch, err := l.take()
		if err != nil || len(batch) == 0 {
			return err
		}
		if err := l.write(ctx, batch); err != nil {
			return err
		}
	}
}

// AppendNow adds an entry and makes it durable, with all that was appended before, or
// adds nothing: after an error that is store.ErrFull the log goes on without it. Nobody
// may be told of an entry that a later commit could still write.
func (l *Log) AppendNow(ctx context.Context, e host.Entry, body any, payload []byte, ops ...store.Op) (host.Entry, error) {
	l.commit.Lock()
	defer l.commit.Unlock()
	if err := l.writeAll(ctx); err != nil {
		return host.Entry{}, err
	}
	entries, err := l.appendNow(ctx, &e, body, payload, ops)
	if err == nil && l.observer != nil {
		l.observer(l.tenant, l.session, entries)
	}
	return e, err
}

// appendNow holds back other appends until the entry is written or dropped.
func (l *Log) appendNow(ctx context.Context, e *host.Entry, body any, payload []byte, ops []store.Op) ([]host.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seq, last, link := l.seq, l.last, l.link
	var err error
	if *e, err = l.append(ctx, *e, body, payload, ops); err != nil {
		return nil, err
	}
	batch, entries := join(l.pending)
	_, err = l.store.Commit(context.WithoutCancel(ctx), store.Batch{Ops: batch, Conds: []store.Cond{l.cond}})
	if errors.Is(err, store.ErrFull) {
		l.drop(seq, last, link)
		return nil, err
	}
	return entries, l.settled(len(l.pending), err)
}

// Flush begins a Commit in the background, unless one has begun. An error shows in
// the next Commit.
func (l *Log) Flush() {
	if !l.flushing.CompareAndSwap(false, true) {
		return
	}
	l.flushes.Go(func() {
		l.flushing.Store(false)
		_ = l.Commit(context.Background())
	})
}

// Close waits for flushes under way. Entries that no Commit wrote are dropped, as
// if the host had crashed.
func (l *Log) Close() { l.flushes.Wait() }

// take returns as many pending entries as one batch may hold.
func (l *Log) take() ([]pending, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return nil, l.failed
	}
	n, size := 0, 0
	for n < len(l.pending) && (n == 0 || size+l.pending[n].size < store.MaxBatch/2) {
		size += l.pending[n].size
		n++
	}
	return l.pending[:n:n], nil
}

func (l *Log) write(ctx context.Context, batch []pending) error {
	ops, entries := join(batch)
	// The caller's deadline must not leave the outcome of a write unknown.
	_, err := l.store.Commit(context.WithoutCancel(ctx), store.Batch{Ops: ops, Conds: []store.Cond{l.cond}})
	if err := l.settle(len(batch), err); err != nil {
		return err
	}
	if l.observer != nil {
		l.observer(l.tenant, l.session, entries)
	}
	return nil
}

// join returns the ops and the entries of what is pending.
func join(batch []pending) ([]store.Op, []host.Entry) {
	var ops []store.Op
	entries := make([]host.Entry, 0, len(batch))
	for _, p := range batch {
		ops = append(ops, p.ops...)
		entries = append(entries, p.entry)
	}
	return ops, entries
}

// settle drops what was written, or marks the log as failed.
func (l *Log) settle(n int, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.settled(n, err)
}

func (l *Log) settled(n int, err error) error {
	switch {
	case err == nil:
		for _, p := range l.pending[:n] {
			l.waiting -= p.size
		}
		l.pending = append(l.pending[:0:0], l.pending[n:]...)
		return nil
	case errors.Is(err, store.ErrFull):
		return err
	case errors.Is(err, store.ErrConflict):
		l.failed = fmt.Errorf("%w: session %s", ErrFenced, l.session)
	default:
		l.failed = fmt.Errorf("journal: session %s accepts no more entries: %w", l.session, err)
	}
	return l.failed
}
