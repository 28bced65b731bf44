package registry_test

import (
	"bytes"
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/vespiary/vespiary/host/store"
)

// memory is a store without durability: what a registry asks of one is order,
// revisions and preconditions. The registry over the store that keeps data is
// tested where both may be imported.
type memory struct {
	mu       sync.Mutex
	revision store.Revision
	items    map[string]store.Item
}

var _ store.Store = (*memory)(nil)

func newMemory() *memory { return &memory{items: map[string]store.Item{}} }

func (m *memory) View(_ context.Context, fn func(store.Tx) error) error {
	m.mu.Lock()
	items := maps.Clone(m.items)
	m.mu.Unlock()
	return fn(memoryTx(items))
}

func (m *memory) Commit(_ context.Context, b store.Batch) (store.Revision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range b.Conds {
		if m.items[string(c.Key)].Revision != c.Revision {
			return 0, store.ErrConflict
		}
	}
	m.revision++
	for _, op := range b.Ops {
		m.items[string(op.Key)] = store.Item{Key: op.Key, Value: bytes.Clone(op.Value), Revision: m.revision}
	}
	return m.revision, nil
}

func (m *memory) Watch(context.Context, []byte) iter.Seq2[store.Change, error] {
	return func(yield func(store.Change, error) bool) { yield(store.Change{}, store.ErrClosed) }
}

func (m *memory) Close() error { return nil }

type memoryTx map[string]store.Item

func (tx memoryTx) Get(key []byte) (store.Item, error) {
	item, ok := tx[string(key)]
	if !ok {
		return item, store.ErrNotFound
	}
	return item, nil
}

func (tx memoryTx) Scan(q store.Query) iter.Seq2[store.Item, error] {
	return func(yield func(store.Item, error) bool) {
		for _, key := range slices.Sorted(maps.Keys(tx)) {
			if strings.HasPrefix(key, string(q.Prefix)) && !yield(tx[key], nil) {
				return
			}
		}
	}
}
