package webhook

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// memory is a store.Store for tests of time, where a real one's own timers would be in
// the way.
type memory struct {
	mu    sync.Mutex
	rev   store.Revision
	items map[string]store.Item
	fail  error // of commits
}

var _ store.Store = (*memory)(nil)

func newMemory() *memory { return &memory{items: map[string]store.Item{}} }

func (m *memory) failWith(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = err
}

func (m *memory) View(_ context.Context, fn func(store.Tx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fn(m)
}

func (m *memory) Get(key []byte) (store.Item, error) {
	it, ok := m.items[string(key)]
	if !ok {
		return it, store.ErrNotFound
	}
	return it, nil
}

func (m *memory) Scan(q store.Query) iter.Seq2[store.Item, error] {
	return func(yield func(store.Item, error) bool) {
		n := 0
		for _, key := range slices.Sorted(maps.Keys(m.items)) {
			if !strings.HasPrefix(key, string(q.Prefix)) || key < string(q.From) {
				continue
			}
			if n++; !yield(m.items[key], nil) || n == q.Limit {
				return
			}
		}
	}
}

func (m *memory) Commit(_ context.Context, b store.Batch) (store.Revision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return 0, m.fail
	}
	for _, c := range b.Conds {
		if m.items[string(c.Key)].Revision != c.Revision {
			return 0, store.ErrConflict
		}
	}
	m.rev++
	for _, op := range b.Ops {
		if op.Value == nil {
			delete(m.items, string(op.Key))
			continue
		}
		m.items[string(op.Key)] = store.Item{Key: op.Key, Value: op.Value, Revision: m.rev}
	}
	return m.rev, nil
}

func (m *memory) Watch(context.Context, []byte) iter.Seq2[store.Change, error] { return nil }
func (m *memory) Close() error                                                 { return nil }

// queue commits notices as the host does.
func queue(t *testing.T, st store.Store, s *Sender, notices ...host.Notice) {
	t.Helper()
	for _, n := range notices {
		ops, err := s.Ops(n)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Commit(t.Context(), store.Batch{Ops: ops}); err != nil {
			t.Fatal(err)
		}
	}
	s.Wake()
}

// waiting returns the keys of the outbox.
func waiting(t *testing.T, st store.Store) (out []string) {
	t.Helper()
	_, err := deleteKeys(context.WithoutCancel(t.Context()), st, []byte(outbox), func(key []byte) bool {
		out = append(out, string(key))
		return false
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
