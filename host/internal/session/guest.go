package session

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// maxGuestLog is how many lines one activation may write to the host's log.
const maxGuestLog = 200

// guestLog passes on what a guest prints and logs, up to a bound: a guest that dies
// prints all it knows, and one that loops never ends.
func (a *actor) guestLog(ctx context.Context, plugin string) func(slog.Level, string) {
	lines := 0
	return func(level slog.Level, msg string) {
		if lines++; lines > maxGuestLog {
			return
		}
		if lines == maxGuestLog {
			msg = "more of this guest is not logged"
		}
		a.svc.opt.Log.Log(ctx, level, msg, "plugin", plugin, "session", a.open.Session.ID)
	}
}

// errTurnTime ends a guest whose turn has a time limit of its own.
var errTurnTime = &abi.Error{Code: abi.CodeTimeout, Message: "the turn's time is up"}

// grace is how long a guest may go on after its turn was cancelled, to see that its
// calls are.
const grace = 5 * time.Second

// graceful returns the guest's own context: it outlives a cancelled turn for a while,
// and no other end of ctx. A limit that is not 0 ends it too.
func graceful(ctx context.Context, limit time.Duration) (context.Context, func()) {
	guest, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	if limit > 0 {
		t := time.AfterFunc(limit, func() { cancel(errTurnTime) })
		context.AfterFunc(guest, func() { t.Stop() })
	}
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), host.ErrCancelled) {
			t := time.AfterFunc(grace, func() { cancel(host.ErrCancelled) })
			context.AfterFunc(guest, func() { t.Stop() })
			return
		}
		cancel(context.Cause(ctx))
	})
	return guest, func() {
		stop()
		cancel(nil)
	}
}

// within makes a guest's host calls under the turn's own context, which ends them
// at once when the turn is cancelled.
type within struct {
	Guest
	ctx context.Context //nolint:containedctx // the guest's context is another one
}

// Call performs the host call until the turn ends.
func (w within) Call(_ context.Context, name string, request []byte) ([]byte, error) {
	return w.Guest.Call(w.ctx, name, request) //nolint:contextcheck // the turn's context, on purpose
}
