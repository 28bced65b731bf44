package journal

import (
	"context"
	"encoding/binary"
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
		for _, r := range page {
			if !h.hides(r.Seq, to) && !yield(r.Entry, nil) {
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

func (j *Journals) page(ctx context.Context, tenant, session string, from, to uint64) ([]record, error) {
	var out []record
	err := j.store.View(ctx, func(tx store.Tx) error {
		q := store.Query{Prefix: key('j', tenant, session), From: entryKey(tenant, session, from), Limit: pageSize}
		for item, err := range tx.Scan(q) {
			if err != nil {
				return err
			}
			seq := binary.BigEndian.Uint64(item.Key[len(q.Prefix):])
			r, err := decode(item.Value)
			if err == nil && r.Seq != seq {
				err = fmt.Errorf("%w: it is entry %d", errCodec, r.Seq)
			}
			if err != nil {
				return fmt.Errorf("session %s, entry %d: %w", session, seq, err)
			}
			if r.Seq > to {
				return nil
			}
			r.Domain = session
			out = append(out, r)
		}
		return nil
	})
	return out, err
}

// Payload returns what an entry's payload held, byte by byte, ErrErased when its key is
// gone, and nil for an entry without one.
func (j *Journals) Payload(ctx context.Context, tenant string, e host.Entry) ([]byte, error) {
	if e.Digest == "" {
		return nil, nil
	}
	if e.Sealed != nil {
		if data, done, err := j.keys.inline(ctx, tenant, e); done || err != nil {
			return data, err
		}
	}
	var data []byte
	err := j.keys.shelve(ctx, tenant, e.Domain, func(s *shelf) (err error) {
		data, err = s.payload(e)
		return err
	})
	return data, err
}

// Erase destroys the session's key, which makes every payload of the session, and
// of its branches' shared part, unreadable for good. Entries stay and verify.
func (j *Journals) Erase(ctx context.Context, tenant, session string) error {
	defer j.keys.forget(tenant, session)
	_, err := j.store.Commit(ctx, store.Batch{Ops: []store.Op{{Key: key('k', tenant, session)}}})
	return err
}
