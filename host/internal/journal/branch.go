package journal

import (
	"context"
	"encoding/json"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// Fork begins the journal of o.Session as a branch of o.Parent: it shares the
// parent's entries up to o.At by reference. Its epoch is one more than the
// parent's, so that no idempotency key of the parent is used again.
func (j *Journals) Fork(ctx context.Context, o host.Open, ops ...store.Op) (*Log, error) {
	parent, err := j.head(ctx, o.Session.Tenant, o.Parent)
	if err != nil {
		return nil, host.Errorf(host.ErrNotFound, "fork session %s: its journal cannot be read: %w", o.Parent, err)
	}
	newest, err := j.newest(ctx, o.Session.Tenant, o.Parent)
	if err != nil {
		return nil, err
	}
	if o.At == 0 || newest == nil || o.At > newest.Seq || parent.hides(o.At, noLimit) {
		return nil, host.Errorf(host.ErrInvalid, "fork session %s at entry %d: there is no such entry", o.Parent, o.At)
	}
	return j.create(ctx, o, head{Parent: o.Parent, At: o.At, Epoch: parent.Epoch + 1}, ops)
}

// Revert hides the session's own entries after to and begins a new epoch. What
// went out is not undone; the revert itself is on record.
func (l *Log) Revert(ctx context.Context, to uint64, ops ...store.Op) error {
	if err := l.Commit(ctx); err != nil {
		return err
	}
	h, err := (&Journals{store: l.store, keys: l.keys}).head(ctx, l.tenant, l.session)
	if err != nil {
		return err
	}
	l.mu.Lock()
	if to < h.At || to >= l.seq || h.hides(to, noLimit) {
		l.mu.Unlock()
		return host.Errorf(host.ErrInvalid, "revert session %s to entry %d: it is not an entry of this branch", l.session, to)
	}
	h.Hidden = append(h.Hidden, [2]uint64{to + 1, l.seq})
	h.Epoch++
	l.epoch = h.Epoch
	l.mu.Unlock()
	raw, err := json.Marshal(h)
	if err != nil {
		return err
	}
	ops = append(ops, store.Op{Key: key('h', l.tenant, l.session), Value: raw})
	if _, err := l.Append(ctx, host.Entry{Kind: host.EntryRevert}, host.Revert{To: to}, nil, ops...); err != nil {
		return err
	}
	return l.Commit(ctx)
}
