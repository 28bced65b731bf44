package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"

	"github.com/vespiary/vespiary/host/store"
)

// View implements store.Store. A scan ends with ctx's error when that ends.
func (s *Local) View(ctx context.Context, fn func(store.Tx) error) error {
	return s.view(ctx, func(t *tx) error { return fn(t) })
}

func (s *Local) view(ctx context.Context, fn func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("view: %w", context.Cause(ctx))
	}
	if !s.views.enter() {
		return s.closedErr()
	}
	defer s.views.leave()
	at := s.snaps.take(&s.head)
	defer s.snaps.drop(at)
	txn := s.db.NewTransactionAt(uint64(at), false)
	t := &tx{ctx: ctx, txn: txn, at: at}
	defer func() {
		t.ended = true
		txn.Discard()
	}()
	return fn(t)
}

// tx is one view. Badger panics when a transaction is used after its end, so tx
// keeps track of that itself.
type tx struct {
	ctx   context.Context //nolint:containedctx // a view lives within one call
	txn   *badger.Txn
	at    store.Revision
	ended bool
}

var errViewEnded = errors.New("store: a view was used after its function returned")

func (t *tx) Get(key []byte) (store.Item, error) {
	if t.ended {
		return store.Item{}, errViewEnded
	}
	it, err := t.txn.Get(dataKey(key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return store.Item{}, store.ErrNotFound
	}
	if err != nil {
		return store.Item{}, fmt.Errorf("get: %w", err)
	}
	return item(it, false)
}

// item copies what Badger would overwrite when its iterator moves on.
func item(it *badger.Item, keyOnly bool) (i store.Item, err error) {
	i.Key = bytes.Clone(it.Key()[1:])
	i.Revision = store.Revision(it.Version())
	if !keyOnly {
		i.Value, err = value(it)
	}
	return i, err
}

func (t *tx) Scan(q store.Query) iter.Seq2[store.Item, error] {
	return func(yield func(store.Item, error) bool) {
		if t.ended {
			yield(store.Item{}, errViewEnded)
			return
		}
		// Values are not prefetched: that takes a goroutine for each, to no gain
		// when they are in the tables.
		it := t.txn.NewIterator(badger.IteratorOptions{Prefix: dataKey(q.Prefix), Reverse: q.Reverse})
		defer it.Close()
		start, some := seekKey(q)
		if !some {
			return
		}
		n := 0
		for it.Seek(start); it.Valid() && (q.Limit <= 0 || n < q.Limit); it.Next() {
			i, err := item(it.Item(), q.KeysOnly)
			if err == nil && t.ctx.Err() != nil {
				err = fmt.Errorf("scan: %w", context.Cause(t.ctx))
			}
			if !yield(i, err) || err != nil {
				return
			}
			n++
		}
	}
}

// seekKey is where a scan begins. It reports false when From leaves nothing.
func seekKey(q store.Query) ([]byte, bool) {
	inside := bytes.HasPrefix(q.From, q.Prefix)
	before := !inside && bytes.Compare(q.From, q.Prefix) < 0
	switch {
	case inside && len(q.From) > 0:
		return dataKey(q.From), true
	case !q.Reverse && !before && len(q.From) > 0:
		return nil, false // From is after the range
	case !q.Reverse:
		return dataKey(q.Prefix), true
	case before && len(q.From) > 0:
		return nil, false // From is before the range
	}
	// No key of the range is longer than this one, nor after it.
	end := dataKey(q.Prefix)
	return append(end, bytes.Repeat([]byte{0xff}, max(store.MaxKey+1-len(q.Prefix), 0))...), true
}

// snapshots knows the revisions that views read at, so that Badger keeps them.
type snapshots struct {
	mu   sync.Mutex
	open []snapshot // oldest first
}

type snapshot struct {
	revision store.Revision
	views    int
}

// take reads the newest revision and holds on to it, in one step.
func (s *snapshots) take(head *atomic.Uint64) store.Revision {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := store.Revision(head.Load())
	if n := len(s.open); n > 0 && s.open[n-1].revision == at {
		s.open[n-1].views++
	} else {
		s.open = append(s.open, snapshot{at, 1})
	}
	return at
}

// drop lets go of a revision that take returned.
func (s *snapshots) drop(at store.Revision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.open, func(o snapshot) bool { return o.revision == at })
	if s.open[i].views--; s.open[i].views == 0 {
		s.open = slices.Delete(s.open, i, i+1)
	}
}

// oldest is the revision that nothing older than is read at.
func (s *snapshots) oldest(head *atomic.Uint64) store.Revision {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) > 0 {
		return s.open[0].revision
	}
	return store.Revision(head.Load())
}
