package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/vespiary/vespiary/host/internal/store/redo"
	"github.com/vespiary/vespiary/host/store"
)

// How far a watcher may fall behind: changes, and bytes of keys and values.
const (
	maxBehind      = 1024
	maxBehindBytes = 16 << 20
)

var errWatched = errors.New("store: a watch can be ranged over only once")

// hub hands commits to watchers.
type hub struct {
	mu       sync.Mutex
	watchers map[*watcher]struct{}
	closed   error
}

// watcher is one call of Watch. Its queue is bounded, because a commit must not
// wait for it.
type watcher struct {
	prefix []byte
	wake   chan struct{} // holds a token when there is something new

	// Guarded by the hub's lock.
	queue []store.Change
	bytes int
	err   error // comes after the queue
}

// Watch implements store.Store. The changes share their bytes with the batch that
// was committed and with other watchers: they must not be written to.
func (s *Local) Watch(ctx context.Context, prefix []byte) iter.Seq2[store.Change, error] {
	w := &watcher{prefix: bytes.Clone(prefix), wake: make(chan struct{}, 1)}
	s.hub.add(w)
	stop := context.AfterFunc(ctx, func() { s.hub.remove(w) })
	return func(yield func(store.Change, error) bool) {
		defer s.hub.remove(w)
		defer stop()
		for ctx.Err() == nil {
			queue, err := s.hub.take(w)
			for _, c := range queue {
				if ctx.Err() != nil || !yield(c, nil) {
					return
				}
			}
			if err != nil {
				yield(store.Change{}, err)
				return
			}
			select {
			case <-w.wake:
			case <-ctx.Done():
			}
		}
	}
}

func (h *hub) add(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed != nil {
		w.end(h.closed)
		return
	}
	if h.watchers == nil {
		h.watchers = map[*watcher]struct{}{}
	}
	h.watchers[w] = struct{}{}
}

func (h *hub) remove(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
	w.queue, w.bytes = nil, 0
	if w.err == nil {
		w.err = errWatched
	}
}

// take returns what w has not seen yet, and the error to end with after that.
func (h *hub) take(w *watcher) (queue []store.Change, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	queue, w.queue, w.bytes = w.queue, nil, 0
	return queue, w.err
}

// publish queues the records for every watcher that wants them.
func (h *hub) publish(recs []redo.Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		for _, r := range recs {
			if !w.push(r) {
				delete(h.watchers, w)
				break
			}
		}
	}
}

// close ends all watchers, present and future, with the error.
func (h *hub) close(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed == nil {
		h.closed = err
	}
	for w := range h.watchers {
		w.end(err)
	}
	clear(h.watchers)
}

// push queues what a watcher wants of a record. It reports false when that ends
// the watcher.
func (w *watcher) push(r redo.Record) bool {
	c := store.Change{Revision: r.Revision}
	size := 0
	for _, op := range r.Ops {
		if bytes.HasPrefix(op.Key, w.prefix) {
			c.Ops = append(c.Ops, op)
			size += len(op.Key) + len(op.Value)
		}
	}
	if c.Ops == nil {
		return true
	}
	if n := len(w.queue); n >= maxBehind || n > 0 && w.bytes+size > maxBehindBytes {
		w.end(fmt.Errorf("store: the watcher of %q fell %d changes behind; read the state again and watch anew", w.prefix, n))
		return false
	}
	w.queue = append(w.queue, c)
	w.bytes += size
	w.signal()
	return true
}

func (w *watcher) end(err error) {
	w.err = err
	w.signal()
}

func (w *watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
