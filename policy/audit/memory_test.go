package audit

import (
	"bytes"
	"context"
	"iter"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/host/store/storetest"
)

// memory is a store without durability that passes the suite of those with it. The log
// over the store that keeps data is tested where both may be imported.
type memory struct {
	mu       sync.Mutex
	revision store.Revision
	keys     []string // sorted
	versions map[string][]store.Item
	watchers map[*watcher]struct{}
	closed   bool

	fault   func(store.Batch) error // when it returns an error, nothing is written
	commits int
}

var _ store.Store = (*memory)(nil)

type watcher struct {
	prefix  []byte
	changes []store.Change
	wake    chan struct{}
	lost    bool
}

func newMemory() *memory {
	return &memory{versions: map[string][]store.Item{}, watchers: map[*watcher]struct{}{}}
}

// copyOf returns a store with the same content, as if the host had crashed and come back.
func (m *memory) copyOf() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := newMemory()
	c.revision, c.keys = m.revision, slices.Clone(m.keys)
	for k, v := range m.versions {
		c.versions[k] = slices.Clone(v)
	}
	return c
}

func (m *memory) View(ctx context.Context, fn func(store.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	at, closed := m.revision, m.closed
	m.mu.Unlock()
	if closed {
		return store.ErrClosed
	}
	tx := &memoryTx{m: m, ctx: ctx, at: at}
	defer func() { tx.ended = true }()
	return fn(tx)
}

func (m *memory) Commit(ctx context.Context, b store.Batch) (store.Revision, error) {
	size := 0
	for _, op := range b.Ops {
		if size += len(op.Key) + len(op.Value); len(op.Key) > store.MaxKey || len(op.Value) > store.MaxValue {
			return 0, store.ErrTooLarge
		}
	}
	if size > store.MaxBatch {
		return 0, store.ErrTooLarge
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, store.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	for _, c := range b.Conds {
		if item, _ := m.at(string(c.Key), m.revision); item.Revision != c.Revision {
			return 0, store.ErrConflict
		}
	}
	if len(b.Ops) == 0 {
		return m.revision, nil
	}
	m.commits++
	if m.fault != nil {
		if err := m.fault(b); err != nil {
			return 0, err
		}
	}
	m.revision++
	for _, op := range b.Ops {
		m.put(op)
	}
	m.tell(b)
	return m.revision, nil
}

func (m *memory) put(op store.Op) {
	key := string(op.Key)
	if len(m.versions[key]) == 0 {
		i := sort.SearchStrings(m.keys, key)
		m.keys = slices.Insert(m.keys, i, key)
	}
	item := store.Item{Key: []byte(key), Revision: m.revision}
	if op.Value != nil {
		item.Value = append([]byte{}, op.Value...)
	}
	list := m.versions[key]
	if n := len(list); n > 0 && list[n-1].Revision == m.revision {
		list[n-1] = item
		return
	}
	m.versions[key] = append(list, item)
}

// at returns the item as of a revision.
func (m *memory) at(key string, r store.Revision) (store.Item, bool) {
	list := m.versions[key]
	for _, item := range slices.Backward(list) {
		if item.Revision <= r {
			if item.Value == nil {
				return store.Item{}, false
			}
			item.Key, item.Value = bytes.Clone(item.Key), append([]byte{}, item.Value...)
			return item, true
		}
	}
	return store.Item{}, false
}

func (m *memory) tell(b store.Batch) {
	for w := range m.watchers {
		c := store.Change{Revision: m.revision}
		for _, op := range b.Ops {
			if bytes.HasPrefix(op.Key, w.prefix) {
				c.Ops = append(c.Ops, op)
			}
		}
		if len(c.Ops) == 0 || w.lost {
			continue
		}
		if w.changes = append(w.changes, c); len(w.changes) > 1024 {
			w.lost = true
		}
		w.poke()
	}
}

func (w *watcher) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (m *memory) Watch(ctx context.Context, prefix []byte) iter.Seq2[store.Change, error] {
	w := &watcher{prefix: bytes.Clone(prefix), wake: make(chan struct{}, 1)}
	m.mu.Lock()
	m.watchers[w] = struct{}{}
	m.mu.Unlock()
	return func(yield func(store.Change, error) bool) {
		defer func() {
			m.mu.Lock()
			delete(m.watchers, w)
			m.mu.Unlock()
		}()
		for ctx.Err() == nil {
			m.mu.Lock()
			changes, lost := w.changes, w.lost || m.closed
			w.changes = nil
			m.mu.Unlock()
			for _, c := range changes {
				if ctx.Err() != nil || !yield(c, nil) {
					return
				}
			}
			if lost {
				yield(store.Change{}, store.ErrClosed)
				return
			}
			select {
			case <-w.wake:
			case <-ctx.Done():
			}
		}
	}
}

func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for w := range m.watchers {
		w.poke()
	}
	return nil
}

type memoryTx struct {
	m     *memory
	ctx   context.Context //nolint:containedctx // a view lives within one call
	at    store.Revision
	ended bool
}

func (tx *memoryTx) Get(key []byte) (store.Item, error) {
	if tx.ended {
		return store.Item{}, store.ErrClosed
	}
	tx.m.mu.Lock()
	defer tx.m.mu.Unlock()
	item, ok := tx.m.at(string(key), tx.at)
	if !ok {
		return item, store.ErrNotFound
	}
	return item, nil
}

func (tx *memoryTx) Scan(q store.Query) iter.Seq2[store.Item, error] {
	return func(yield func(store.Item, error) bool) {
		if tx.ended {
			yield(store.Item{}, store.ErrClosed)
			return
		}
		n := 0
		for key, ok := tx.first(q); ok && strings.HasPrefix(key, string(q.Prefix)) && (q.Limit <= 0 || n < q.Limit); key, ok = tx.after(key, q.Reverse) {
			if err := tx.ctx.Err(); err != nil {
				yield(store.Item{}, err)
				return
			}
			tx.m.mu.Lock()
			item, some := tx.m.at(key, tx.at)
			tx.m.mu.Unlock()
			if !some {
				continue
			}
			if q.KeysOnly {
				item.Value = nil
			}
			if n++; !yield(item, nil) {
				return
			}
		}
	}
}

// first returns the key that a scan begins with.
func (tx *memoryTx) first(q store.Query) (string, bool) {
	tx.m.mu.Lock()
	defer tx.m.mu.Unlock()
	keys, from, prefix := tx.m.keys, string(q.From), string(q.Prefix)
	if !q.Reverse {
		i := sort.SearchStrings(keys, max(from, prefix))
		if i == len(keys) {
			return "", false
		}
		return keys[i], true
	}
	end := sort.Search(len(keys), func(i int) bool { return keys[i] > prefix && !strings.HasPrefix(keys[i], prefix) })
	if from != "" {
		end = min(end, sort.Search(len(keys), func(i int) bool { return keys[i] > from }))
	}
	if end == 0 {
		return "", false
	}
	return keys[end-1], true
}

func (tx *memoryTx) after(key string, reverse bool) (string, bool) {
	tx.m.mu.Lock()
	defer tx.m.mu.Unlock()
	i, _ := slices.BinarySearch(tx.m.keys, key)
	if i++; reverse {
		i -= 2
	}
	if i < 0 || i >= len(tx.m.keys) {
		return "", false
	}
	return tx.m.keys[i], true
}

func TestMemory(t *testing.T) {
	var mu sync.Mutex
	kept := map[string]*memory{}
	storetest.Run(t, func(_ *testing.T, name string) store.Store {
		mu.Lock()
		defer mu.Unlock()
		m := newMemory()
		if old := kept[name]; old != nil {
			m = old.copyOf()
		}
		kept[name] = m
		return m
	})
}
