package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// Read yields the committed entries of a session from number from on, in order,
// through its forks, without those that a revert hid. It stops at the first error.
func (j *Journals) Read(ctx context.Context, tenant, session string, from uint64) iter.Seq2[host.Entry, error] {
	return func(yield func(host.Entry, error) bool) {
		j.read(ctx, tenant, session, from, noLimit, yield)
	}
}

const noLimit = ^uint64(0)

// read yields the entries from..to and reports whether the caller wants more.
func (j *Journals) read(ctx context.Context, tenant, session string, from, to uint64, yield func(host.Entry, error) bool) bool {
	h, err := j.head(ctx, tenant, session)
	if err != nil {
		return yield(host.Entry{}, notFound(session, err)) && false
	}
	if h.Parent != "" && from <= h.At {
		if !j.read(ctx, tenant, h.Parent, from, min(h.At, to), yield) {
			return false
		}
	}
	page, err := j.page(ctx, tenant, session, from, to)
	for ; err == nil && len(page) > 0; page, err = j.page(ctx, tenant, session, page[len(page)-1].Seq+1, to) {
		for _, e := range page {
			if !h.hides(e.Seq, to) && !yield(e, nil) {
				return false
			}
		}
	}
	if err != nil {
		return yield(host.Entry{}, err) && false
	}
	return true
}

func notFound(session string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return host.Errorf(host.ErrNotFound, "read session %s: there is none with this id", session)
	}
	return err
}

// pageSize bounds what one view of the store holds in memory.
const pageSize = 256

func (j *Journals) page(ctx context.Context, tenant, session string, from, to uint64) ([]host.Entry, error) {
	var out []host.Entry
	err := j.store.View(ctx, func(tx store.Tx) error {
		q := store.Query{Prefix: key('j', tenant, session), From: entryKey(tenant, session, from), Limit: pageSize}
		for item, err := range tx.Scan(q) {
			if err != nil {
				return err
			}
			e, err := decode(item.Value)
			if err != nil {
				return fmt.Errorf("session %s, entry key %x: %w", session, item.Key, err)
			}
			if e.Seq > to {
				return nil
			}
			e.Domain = session
			out = append(out, e)
		}
		return nil
	})
	return out, err
}

// Payload returns what an entry's payload held, ErrErased when its key is gone, and
// nil for an entry without one. A request to a model comes back whole, its fields
// possibly in another order.
func (j *Journals) Payload(ctx context.Context, tenant string, e host.Entry) ([]byte, error) {
	if e.Digest == "" {
		return nil, nil
	}
	data, err := j.raw(ctx, tenant, e)
	if err != nil {
		return nil, err
	}
	return j.keys.join(ctx, tenant, e.Domain, data)
}

func (j *Journals) raw(ctx context.Context, tenant string, e host.Entry) ([]byte, error) {
	if e.Sealed == nil {
		return j.keys.blob(ctx, tenant, e.Domain, e.Digest)
	}
	d, err := j.keys.get(ctx, tenant, e.Domain)
	if err != nil {
		return nil, err
	}
	return d.open(e.Digest, whole, e.Sealed)
}

// Erase destroys the session's key, which makes every payload of the session, and
// of its branches' shared part, unreadable for good. Entries stay and verify.
func (j *Journals) Erase(ctx context.Context, tenant, session string) error {
	defer j.keys.forget(tenant, session)
	_, err := j.store.Commit(ctx, store.Batch{Ops: []store.Op{{Key: key('k', tenant, session)}}})
	return err
}
