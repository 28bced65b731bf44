package session

import (
	"context"
	"errors"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/session/snapshot"
)

// A session is stored as its image when it leaves the memory, and before the turns since
// the last image would take long to run again.
const (
	snapshotTurns = 64
	snapshotFuel  = 50_000_000 // a fraction of a second
	snapshotsKept = 2
)

// checkpoint stores the image after a turn if it is time: every turn of a session that
// waits, since all turns from the image on are run again each time its guest is dropped.
func (a *actor) checkpoint(ctx context.Context) {
	if a.dozes || a.live.turns >= snapshotTurns || a.live.burned >= snapshotFuel {
		a.save(ctx)
	}
}

// hibernate stores the guest's image when the actor ends.
func (a *actor) hibernate(ctx context.Context) {
	if a.live != nil && a.live.after != a.live.saved {
		a.save(context.WithoutCancel(ctx))
	}
}

// save stores the image. Without one its turns are replayed, so that a failure costs time
// and nothing else.
func (a *actor) save(ctx context.Context) {
	if err := a.store(ctx); err != nil {
		a.svc.opt.Log.WarnContext(ctx, "a session's image was not stored; its turns will be replayed", "session", a.open.Session.ID, "error", err)
	}
}

// store takes the guest's image and makes it durable. A module that can have no image
// is replayed from its beginning, and asked again only after as many turns.
func (a *actor) store(ctx context.Context) error {
	l := a.live
	image, err := l.inst.Image(ctx)
	if errors.Is(err, ErrNoImage) {
		l.saved, l.turns, l.burned = l.after, 0, 0
		return nil
	}
	if err != nil {
		return err
	}
	tenant, id := a.open.Session.Tenant, a.open.Session.ID
	if a.damaged { // nothing may be built on what could not be read
		if err := a.svc.opt.Images.Drop(ctx, tenant, id, 0); err != nil {
			return err
		}
		a.damaged = false
	}
	stored, err := a.svc.opt.Images.Put(ctx, tenant, id, snapshot.Taken{
		Turn: l.after, Seq: l.seq, Epoch: a.log.Epoch(), Module: l.module, Fuel: l.inst.Fuel(), Image: *image,
	})
	if err != nil {
		return err
	}
	entry := host.Snapshot{Turn: l.after, Base: image.Base, Size: image.Size, Pages: stored.Pages, Stored: stored.Bytes, Digest: stored.Digest}
	if _, err := a.log.Append(ctx, host.Entry{Kind: host.EntrySnapshot}, entry, nil, stored.Ops...); err != nil {
		return err
	}
	if err := a.commit(ctx); err != nil {
		return err
	}
	l.saved, l.turns, l.burned = l.after, 0, 0
	return a.svc.opt.Images.Prune(ctx, tenant, id, snapshotsKept)
}

// snapshot finds the newest image of a session up to an entry: its own, or one of the
// sessions that it was forked from.
func (s *Service) snapshot(ctx context.Context, head host.Session, upTo uint64) (*snapshot.Taken, error) {
	for {
		t, err := s.opt.Images.Newest(ctx, head.Tenant, head.ID, upTo)
		if err != nil || t != nil || head.At == 0 {
			return t, err
		}
		upTo = min(upTo, head.At)
		head, err = s.head(ctx, head.Tenant, head.Parent)
		if host.CodeOf(err) == host.ErrNotFound { // it was removed since
			return nil, nil //nolint:nilnil // no snapshot is not an error
		}
		if err != nil {
			return nil, err
		}
	}
}
