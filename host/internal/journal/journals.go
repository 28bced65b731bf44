package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// Options are the settings of Journals.
type Options struct {
	Now func() time.Time // required
	// Committed, when set, is told of entries once they are durable, in order and
	// one call at a time per session. It must not block.
	Committed func(tenant, session string, entries []host.Entry)
}

// Journals keeps the journals of all sessions in a store.
type Journals struct {
	store store.Store
	keys  *Keys
	opt   Options
}

// New returns the journals in s.
func New(s store.Store, keys *Keys, opt Options) *Journals {
	return &Journals{store: s, keys: keys, opt: opt}
}

// head says how the entries of a session are found: which it shares with a parent,
// and which a revert has hidden.
type head struct {
	Parent string      `json:"parent,omitempty"`
	At     uint64      `json:"at,omitempty"`
	Epoch  uint32      `json:"epoch,omitempty"`
	Hidden [][2]uint64 `json:"hidden,omitempty"` // first and last, own entries only
	// Sparse tells that numbers are missing: those of entries that an export left out.
	Sparse bool `json:"sparse,omitempty"`
}

// hides tells whether a reader of the entries up to limit does not see seq. A branch
// at limit still sees what its parent reverted later.
func (h *head) hides(seq, limit uint64) bool {
	for _, r := range h.Hidden {
		if r[0] <= seq && seq <= r[1] && r[1] < limit {
			return true
		}
	}
	return false
}

// Create begins the journal of o.Session with an open entry and ops, not yet
// durable: the first Commit makes it so. It fails with ErrFenced when there is a session
// with this id.
func (j *Journals) Create(ctx context.Context, o host.Open, ops ...store.Op) (*Log, error) {
	return j.create(ctx, o, head{Parent: o.Parent, At: o.At}, random(keySize), record{}, ops)
}

// create begins a journal that goes on after before.
func (j *Journals) create(ctx context.Context, o host.Open, h head, hash []byte, before record, ops []store.Op) (*Log, error) {
	raw, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	l, wrapped, err := j.begin(ctx, o.Session.Tenant, o.Session.ID, hash)
	if err != nil {
		return nil, err
	}
	j.keys.remember(l.tenant, l.session, l.domain)
	l.seq, l.epoch, l.link, l.last = h.At, h.Epoch, before.link, before.Time
	ops = append(ops, wrapped, store.Op{Key: key('h', l.tenant, l.session), Value: raw})
	_, err = l.Append(ctx, host.Entry{Kind: host.EntryOpen}, o, nil, ops...)
	return l, err
}

// begin claims the id of a new session, together with more, and returns its writer and
// the op that stores its keys.
func (j *Journals) begin(ctx context.Context, tenant, session string, hash []byte, more ...store.Op) (*Log, store.Op, error) {
	d, wrapped, err := j.keys.create(tenant, session, hash)
	if err != nil {
		return nil, store.Op{}, err
	}
	fence := store.Op{Key: key('f', tenant, session), Value: []byte("1")}
	if err := j.claim(ctx, fence, 0, more...); err != nil {
		return nil, store.Op{}, err
	}
	l, err := j.log(ctx, tenant, session, 1, d)
	return l, wrapped, err
}

// claim writes the fence, whose revision guards every later batch.
func (j *Journals) claim(ctx context.Context, fence store.Op, was store.Revision, more ...store.Op) error {
	_, err := j.store.Commit(ctx, store.Batch{Ops: append(more, fence), Conds: []store.Cond{{Key: fence.Key, Revision: was}}})
	if errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("%w: %s", ErrFenced, fence.Key)
	}
	return err
}

// Acquire takes the session over from whoever wrote to it before and returns its
// writer. The earlier writer's next Commit fails with ErrFenced.
func (j *Journals) Acquire(ctx context.Context, tenant, session string) (*Log, error) {
	id := key('f', tenant, session)
	item, err := j.get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, host.Errorf(host.ErrNotFound, "open session %s: there is none with this id", session)
	}
	if err != nil {
		return nil, err
	}
	var n uint64
	if err := json.Unmarshal(item.Value, &n); err != nil {
		return nil, fmt.Errorf("%w: fence of session %s: %w", errCodec, session, err)
	}
	value, err := json.Marshal(n + 1)
	if err != nil {
		return nil, err
	}
	if err := j.claim(ctx, store.Op{Key: id, Value: value}, item.Revision); err != nil {
		return nil, err
	}
	return j.resume(ctx, tenant, session, n+1)
}

// resume makes a writer that goes on after the newest entry.
func (j *Journals) resume(ctx context.Context, tenant, session string, fence uint64) (*Log, error) {
	d, err := j.keys.get(ctx, tenant, session)
	if err != nil {
		return nil, err
	}
	l, err := j.log(ctx, tenant, session, fence, d)
	if err != nil {
		return nil, err
	}
	h, err := j.head(ctx, tenant, session)
	if err != nil {
		return nil, err
	}
	l.seq, l.epoch = h.At, h.Epoch
	newest, err := j.newest(ctx, tenant, session)
	if err != nil {
		return nil, err
	}
	if newest != nil {
		l.seq, l.last, l.link = newest.Seq, newest.Time, newest.link
	}
	return l, nil
}

func (j *Journals) log(ctx context.Context, tenant, session string, fence uint64, d *domain) (*Log, error) {
	item, err := j.get(ctx, key('f', tenant, session))
	if err != nil {
		return nil, err
	}
	return &Log{
		keys: j.keys, store: j.store, now: j.opt.Now, observer: j.opt.Committed,
		tenant: tenant, session: session, domain: d, fence: fence,
		cond:  store.Cond{Key: item.Key, Revision: item.Revision},
		known: map[name]bool{},
	}, nil
}

func (j *Journals) get(ctx context.Context, id []byte) (store.Item, error) {
	var item store.Item
	err := j.store.View(ctx, func(tx store.Tx) error {
		var err error
		item, err = tx.Get(id)
		return err
	})
	return item, err
}

func (j *Journals) head(ctx context.Context, tenant, session string) (head, error) {
	var h head
	item, err := j.get(ctx, key('h', tenant, session))
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(item.Value, &h); err != nil {
		return h, fmt.Errorf("%w: head of session %s: %w", errCodec, session, err)
	}
	return h, nil
}

// newest returns the session's own newest entry, hidden or not, nil for none.
func (j *Journals) newest(ctx context.Context, tenant, session string) (*record, error) {
	var out *record
	err := j.store.View(ctx, func(tx store.Tx) error {
		for item, err := range tx.Scan(store.Query{Prefix: key('j', tenant, session), Reverse: true, Limit: 1}) {
			if err != nil {
				return err
			}
			r, err := decode(item.Value)
			if err != nil {
				return fmt.Errorf("session %s: %w", session, err)
			}
			out = &r
		}
		return nil
	})
	return out, err
}
