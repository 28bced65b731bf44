package session

import (
	"slices"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// noticed adds what queues a notice to the ops of the entry that it tells of; nil adds
// nothing.
func (a *actor) noticed(ops []store.Op, n *host.Notice) ([]store.Op, error) {
	if n == nil {
		return ops, nil
	}
	now := a.svc.opt.Now().UTC()
	n.ID, n.Time = newID(now), now
	n.Tenant, n.Session, n.Agent = a.open.Session.Tenant, a.open.Session.ID, a.open.Session.Agent
	more, err := a.svc.opt.Notices.Ops(*n)
	return append(ops, more...), err
}

// endNotice tells of a turn that ended and needs somebody, nil for one that does not.
func (a *actor) endNotice(q *queued, e host.Ended) *host.Notice {
	switch e.Status {
	case host.TurnWaiting:
		return waitNotice(q.turn, e.Waiting)
	case host.TurnFailed:
		n := &host.Notice{Type: host.NoticeFailed, Turn: q.turn}
		if e.Error != nil {
			n.Reason = string(e.Error.Code)
		}
		return n
	case host.TurnQueued, host.TurnRunning, host.TurnDone, host.TurnCancelled:
	}
	return nil
}

// waitNotice tells of a turn that waits. For an approval there was a notice when it was
// asked for.
func waitNotice(turn int, waits []abi.Wait) *host.Notice {
	waits = slices.DeleteFunc(slices.Clone(waits), func(w abi.Wait) bool { return w.Type != abi.EventTimer && w.Type != abi.EventSignal })
	if len(waits) == 0 {
		return nil
	}
	return &host.Notice{Type: host.NoticeWaiting, Turn: turn, Waiting: waits}
}

// silent is for a host that tells nobody.
type silent struct{}

func (silent) Ops(host.Notice) ([]store.Op, error) { return nil, nil }
func (silent) Wake()                               {}
