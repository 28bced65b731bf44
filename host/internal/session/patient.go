package session

import (
	"context"
	"errors"
	"time"

	"github.com/vespiary/vespiary/host/store"
)

// patient is the log of a turn under way: where the disk is full, it waits for space
// instead of failing, so that nothing that the turn did is forgotten.
type patient struct {
	Log
	actor *actor
}

// Commit returns once everything appended is durable, or ctx ends.
func (p patient) Commit(ctx context.Context) error { return p.actor.commit(ctx) }

// spaceAgain is the pause between two looks at a full disk.
const spaceAgain = time.Second

// commit makes what was appended durable, as soon as there is space for it.
func (a *actor) commit(ctx context.Context) error {
	for waited := false; ; waited = true {
		err := a.log.Commit(ctx)
		if !errors.Is(err, store.ErrFull) {
			return err
		}
		if !waited {
			a.svc.opt.Log.WarnContext(ctx, "a turn waits for free space", "session", a.open.Session.ID)
		}
		select {
		case <-time.After(spaceAgain):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
