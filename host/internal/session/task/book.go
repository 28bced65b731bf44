package task

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// Prefixes are those of the keys of the tasks that live in a session.
func Prefixes(tenant, session string) [][]byte {
	return [][]byte{recordKey(tenant, session, "")}
}

func recordKey(tenant, session, id string) []byte {
	return []byte("task/" + tenant + "/" + session + "/" + id)
}

func idKey(tenant, id string) []byte { return []byte("taskid/" + tenant + "/" + id) }

// record is what the store holds of a task.
type record struct {
	host.Task
	Token []byte `json:"token_sha256,omitempty"` // of the token of a program elsewhere
}

// Book reads and writes the records of tasks. All records of a store are written through
// one Book. It is safe for concurrent use.
type Book struct {
	store store.Store
	now   func() time.Time

	mu   sync.Mutex
	live map[string]*standing // by place, of tasks that are active
	over map[string]bool      // whose end is being written: it holds at once
	// epoch counts the ends, so that a read that began before one is not remembered.
	epoch uint64
}

// standing is a task as it was read, with what policy needs of it.
type standing struct {
	record
	entity policy.Entity
	grants *policy.Grants
}

// New returns the tasks in a store.
func New(s store.Store, now func() time.Time) *Book {
	return &Book{store: s, now: now, live: map[string]*standing{}, over: map[string]bool{}}
}

// place is where a task is worked on: an id says nothing in another session.
func place(tenant, session, id string) string { return tenant + "/" + session + "/" + id }

// Open returns the ops that open a task. token is that of its holder, empty for a task
// that nobody outside works on.
func (b *Book) Open(t host.Task, token string) ([]store.Op, error) {
	r := record{Task: t}
	if token != "" {
		r.Token = digest(token)
	}
	v, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return []store.Op{
		{Key: recordKey(t.Tenant, t.Session, t.ID), Value: v},
		{Key: idKey(t.Tenant, t.ID), Value: []byte(t.Session)},
	}, nil
}

// End makes a task worth nothing from now on and returns the ops that write this. Keep
// leaves a record of how it ended. Whoever fails to write them calls Reopen, whoever wrote
// them Ended.
func (b *Book) End(ctx context.Context, tenant, session, id string, state host.TaskState, keep bool) ([]store.Op, error) {
	b.mu.Lock()
	b.over[place(tenant, session, id)] = true
	b.epoch++
	b.mu.Unlock()
	if !keep {
		return []store.Op{{Key: recordKey(tenant, session, id)}, {Key: idKey(tenant, id)}}, nil
	}
	r, err := b.read(ctx, tenant, session, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if r.State != host.TaskActive {
		return nil, nil
	}
	r.State, r.Ended, r.Token = state, b.now().UTC(), nil
	v, err := json.Marshal(r)
	return []store.Op{{Key: recordKey(tenant, session, id), Value: v}}, err
}

// Ended says that the end of a task is durable.
func (b *Book) Ended(tenant, session, id string) { b.reread(place(tenant, session, id)) }

// Reopen says that the end of a task was not written. What the store says of it counts.
func (b *Book) Reopen(tenant, session, id string) { b.reread(place(tenant, session, id)) }

func (b *Book) reread(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.epoch++
	delete(b.live, key)
	delete(b.over, key)
}

// Find returns a task with its state at this moment. It is store.ErrNotFound for one that
// has no record.
func (b *Book) Find(ctx context.Context, tenant, id string) (host.Task, error) {
	session, err := b.sessionOf(ctx, tenant, id)
	if err != nil {
		return host.Task{}, err
	}
	r, err := b.read(ctx, tenant, session, id)
	if err != nil {
		return host.Task{}, err
	}
	return b.current(r.Task), nil
}

// current is a task with the state that it has now.
func (b *Book) current(t host.Task) host.Task {
	if t.State == host.TaskActive && !t.Live(b.now()) {
		t.State = host.TaskExpired
	}
	return t
}

func (b *Book) sessionOf(ctx context.Context, tenant, id string) (string, error) {
	var session string
	err := b.store.View(ctx, func(tx store.Tx) error {
		item, err := tx.Get(idKey(tenant, id))
		session = string(item.Value)
		return err
	})
	return session, err
}

func (b *Book) read(ctx context.Context, tenant, session, id string) (record, error) {
	var r record
	err := b.store.View(ctx, func(tx store.Tx) error {
		item, err := tx.Get(recordKey(tenant, session, id))
		if err != nil {
			return err
		}
		return decode(item, &r)
	})
	return r, err
}

func decode(item store.Item, r *record) error {
	if err := json.Unmarshal(item.Value, r); err != nil {
		return fmt.Errorf("record of task %q: %w", item.Key, err)
	}
	return nil
}

// In returns the tasks of a session that are recorded as active.
func (b *Book) In(ctx context.Context, tenant, session string) ([]host.Task, error) {
	var out []host.Task
	err := b.each(ctx, recordKey(tenant, session, ""), func(t host.Task) bool {
		if t.State == host.TaskActive {
			out = append(out, t)
		}
		return true
	})
	return out, err
}

func (b *Book) each(ctx context.Context, prefix []byte, f func(host.Task) bool) error {
	return b.store.View(ctx, func(tx store.Tx) error {
		for item, err := range tx.Scan(store.Query{Prefix: prefix}) {
			if err != nil {
				return err
			}
			var r record
			if err := decode(item, &r); err != nil {
				return err
			}
			if !f(r.Task) {
				return nil
			}
		}
		return nil
	})
}

// List returns the tasks of a tenant that the filter selects, newest first.
func (b *Book) List(ctx context.Context, tenant string, f host.TaskFilter) ([]host.Task, error) {
	limit := f.Limit
	if limit <= 0 || limit > 1000 {
		limit = 100
	}
	var all []host.Task
	err := b.each(ctx, []byte("task/"+tenant+"/"), func(t host.Task) bool {
		t = b.current(t)
		if (f.Agent == "" || t.Agent == f.Agent) && (f.State == "" || t.State == f.State) && (f.After == "" || t.ID < f.After) {
			all = append(all, t)
		}
		return true
	})
	slices.SortFunc(all, func(x, y host.Task) int { return strings.Compare(y.ID, x.ID) })
	out := []host.Task{}
	for i := range all { // policies are asked, so about no more than a page needs
		if len(out) == limit {
			break
		}
		if f.Visible == nil || f.Visible(&all[i]) {
			out = append(out, all[i])
		}
	}
	return out, err
}

// Forget deletes the records of all tasks of a session that is removed.
func (b *Book) Forget(ctx context.Context, tenant, session string) error {
	var all []host.Task
	err := b.each(ctx, recordKey(tenant, session, ""), func(t host.Task) bool {
		all = append(all, t)
		return true
	})
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(all, 1000) {
		var ops []store.Op
		for _, t := range chunk {
			ops = append(ops, store.Op{Key: recordKey(tenant, session, t.ID)}, store.Op{Key: idKey(tenant, t.ID)})
		}
		if _, err := b.store.Commit(ctx, store.Batch{Ops: ops}); err != nil {
			return err
		}
		for _, t := range chunk {
			b.Ended(tenant, session, t.ID)
		}
	}
	return nil
}
