package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// Fork begins the journal of o.Session as a branch of o.Parent: it shares the
// parent's entries up to o.At by reference, in a time that does not depend on how many
// these are. Its epoch is one more than the parent's, so that no idempotency key of the
// parent is used again.
func (j *Journals) Fork(ctx context.Context, o host.Open, ops ...store.Op) (*Log, error) {
	parent, err := j.head(ctx, o.Session.Tenant, o.Parent)
	if err != nil {
		return nil, host.Errorf(host.ErrNotFound, "fork session %s: its journal cannot be read: %w", o.Parent, err)
	}
	at, err := j.visible(ctx, o.Session.Tenant, o.Parent, o.At)
	if errors.Is(err, store.ErrNotFound) {
		return nil, host.Errorf(host.ErrInvalid, "fork session %s at entry %d: there is no such entry", o.Parent, o.At)
	}
	if err != nil {
		return nil, err
	}
	d, err := j.keys.get(ctx, o.Session.Tenant, o.Parent)
	if errors.Is(err, ErrErased) {
		return nil, host.Errorf(host.ErrConflict, "fork session %s: its payloads were erased, so that no branch could go on from them", o.Parent)
	}
	if err != nil {
		return nil, err
	}
	return j.create(ctx, o, head{Parent: o.Parent, At: o.At, Epoch: parent.Epoch + 1}, d.hash, at, ops)
}

// visible returns the entry seq as a reader of the session sees it, wherever among its
// ancestors it lies, or store.ErrNotFound.
func (j *Journals) visible(ctx context.Context, tenant, session string, seq uint64) (record, error) {
	limit := noLimit
	for {
		h, err := j.head(ctx, tenant, session)
		if err != nil {
			return record{}, err
		}
		if h.Parent != "" && seq <= h.At {
			session, limit = h.Parent, min(limit, h.At)
			continue
		}
		if h.hides(seq, limit) {
			return record{}, store.ErrNotFound
		}
		return j.entry(ctx, tenant, session, seq)
	}
}

// entry returns one of the session's own entries.
func (j *Journals) entry(ctx context.Context, tenant, session string, seq uint64) (record, error) {
	item, err := j.get(ctx, entryKey(tenant, session, seq))
	if err != nil {
		return record{}, err
	}
	r, err := decode(item.Value)
	if err != nil {
		return record{}, fmt.Errorf("session %s, entry %d: %w", session, seq, err)
	}
	return r, nil
}

// Revert hides the session's own entries after to and begins a new epoch. What
// went out is not undone; the revert itself is on record. The entry that opened the
// session stays. After an error that is store.ErrFull nothing has changed.
func (l *Log) Revert(ctx context.Context, to uint64, ops ...store.Op) error {
	if err := l.Commit(ctx); err != nil {
		return err
	}
	j := &Journals{store: l.store, keys: l.keys}
	h, err := j.head(ctx, l.tenant, l.session)
	if err != nil {
		return err
	}
	if _, err := j.visible(ctx, l.tenant, l.session, to); to <= h.At || errors.Is(err, store.ErrNotFound) {
		return host.Errorf(host.ErrInvalid, "revert session %s to entry %d: it is not an entry of this branch", l.session, to)
	} else if err != nil {
		return err
	}
	l.mu.Lock()
	if to >= l.seq {
		l.mu.Unlock()
		return host.Errorf(host.ErrInvalid, "revert session %s to entry %d: it is the newest one", l.session, to)
	}
	h.Hidden = append(h.Hidden, [2]uint64{to + 1, l.seq})
	h.Epoch++
	was := l.epoch
	l.epoch = h.Epoch
	l.mu.Unlock()
	raw, err := json.Marshal(h)
	if err == nil {
		ops = append(ops, store.Op{Key: key('h', l.tenant, l.session), Value: raw})
		_, err = l.AppendNow(ctx, host.Entry{Kind: host.EntryRevert}, host.Revert{To: to}, nil, ops...)
	}
	if err != nil { // nothing of it is on record, nor will be
		l.mu.Lock()
		l.epoch = was
		l.mu.Unlock()
	}
	return err
}
