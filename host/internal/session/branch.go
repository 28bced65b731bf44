package session

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// Fork begins a session that shares the entries of another up to one of them, by
// reference. What was under way there goes on here, with new idempotency keys; 0 forks
// after the newest turn that ended.
func (s *Service) Fork(ctx context.Context, c host.Caller, session string, at uint64) (host.Session, error) {
	parent, err := s.Get(ctx, c, session)
	if err != nil {
		return parent, err
	}
	defer s.open.lock(parent.Tenant + "/" + parent.ID)() // it is not removed meanwhile
	if parent.Status == host.SessionErased {
		return parent, host.Errorf(host.ErrConflict, "fork session %s: it was erased", session)
	}
	if at == 0 {
		if at, err = s.newestEnd(ctx, parent); err != nil {
			return parent, err
		}
	}
	open, err := s.opened(ctx, parent)
	if err != nil {
		return parent, err
	}
	o, err := s.outlineAt(ctx, parent, at)
	if err != nil {
		return parent, err
	}
	return s.branch(ctx, parent, open, o, at)
}

// newestEnd is the newest entry at which no turn was under way.
func (s *Service) newestEnd(ctx context.Context, head host.Session) (uint64, error) {
	from, err := s.place(ctx, head, head.Ended)
	if err != nil {
		return 0, err
	}
	at := uint64(1)
	for e, err := range s.opt.Journals.Read(ctx, head.Tenant, head.ID, from) {
		if err != nil {
			return 0, err
		}
		if e.Kind == host.EntryEnd || e.Kind == host.EntryAbort {
			at = e.Seq
		}
	}
	return at, nil
}

func (s *Service) branch(ctx context.Context, parent host.Session, open host.Open, o *outline, at uint64) (host.Session, error) {
	now := s.opt.Now().UTC()
	head := o.applyTo(parent)
	head.ID, head.Created, head.Updated = newID(now), now, now
	head.Parent, head.At = parent.ID, at
	head.Usage = abi.Usage{} // it has used nothing yet
	open.Session, open.Parent, open.At = head, parent.ID, at
	ops, err := branchOps(head, o)
	if err != nil {
		return head, err
	}
	log, err := s.opt.Journals.Fork(ctx, open, ops...)
	if err != nil {
		return head, full("the fork", err)
	}
	if err := log.Commit(ctx); err != nil {
		log.Close()
		return head, full("the fork", err)
	}
	log.Close()
	return head, s.takeUp(ctx, head)
}

// branchOps are written with the beginning of a session that shares another's entries.
func branchOps(head host.Session, o *outline) ([]store.Op, error) {
	op, err := headOp(head)
	ops := []store.Op{op, {Key: rebuildKey(head.Tenant, head.ID), Value: []byte{}}}
	if o.placed > 0 {
		ops = append(ops, placeOp(head.Tenant, head.ID, o.placed, o.place))
	}
	return ops, err
}

// takeUp begins what a session has to do.
func (s *Service) takeUp(ctx context.Context, head host.Session) error {
	switch head.Status {
	case host.SessionRunning:
		a, err := s.actor(ctx, head.Tenant, head.ID)
		if err != nil {
			return err
		}
		a.release()
	case host.SessionWaiting, host.SessionSuspended:
		s.schedule(head)
	case host.SessionIdle, host.SessionParked, host.SessionErased:
	}
	return nil
}

// Revert makes a session what it was at one of its entries. What came after stays on
// record, hidden; what went out into the world is not undone.
func (s *Service) Revert(ctx context.Context, c host.Caller, session string, to uint64) (host.Session, error) {
	return s.onActor(ctx, c, session, "revert", func(ctx context.Context, a *actor) error {
		o, err := s.outlineAt(ctx, a.now(), to)
		if err != nil {
			return err
		}
		a.drop()
		if err := s.opt.Images.Drop(ctx, a.open.Session.Tenant, session, to); err != nil {
			return err
		}
		if err := a.revertTo(ctx, o, to); err != nil {
			return err
		}
		s.disown(ctx, a.now()) // in the new epoch others are called
		return nil
	})
}

func (a *actor) revertTo(ctx context.Context, o *outline, to uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.revert(ctx, o, to); err != nil {
		return err
	}
	if a.head.Status == host.SessionWaiting {
		a.svc.schedule(a.head)
	}
	return a.refill(ctx)
}

// revert writes the new epoch with the head that it begins with.
func (a *actor) revert(ctx context.Context, o *outline, to uint64) error {
	head := o.applyTo(a.head)
	head.Updated = a.svc.opt.Now().UTC()
	op, err := headOp(head)
	if err != nil {
		return err
	}
	ops, err := a.forget(ctx, o, to)
	if err != nil {
		return err
	}
	if err := a.log.Revert(ctx, to, append(ops, op, store.Op{Key: rebuildKey(head.Tenant, head.ID), Value: []byte{}})...); err != nil {
		return err
	}
	a.head = head
	return nil
}

// forget returns the ops that take away what later entries left beside the journal: the
// places of later turns, what is unsettled of them, and questions.
func (a *actor) forget(ctx context.Context, o *outline, to uint64) ([]store.Op, error) {
	tenant, id := a.open.Session.Tenant, a.open.Session.ID
	var ops []store.Op
	err := a.svc.opt.Store.View(ctx, func(tx store.Tx) error {
		for item, err := range tx.Scan(store.Query{Prefix: placePrefix(tenant, id), From: placeKey(tenant, id, o.placed+1), KeysOnly: true}) {
			if err != nil {
				return err
			}
			ops = append(ops, store.Op{Key: slices.Clone(item.Key)})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	hidden, asked, err := a.hidden(ctx, to)
	if err != nil {
		return nil, err
	}
	questions, err := a.svc.questions(ctx, tenant)
	if err != nil {
		return nil, err
	}
	for _, q := range questions {
		if asked[q.ID] || q.Session == id && q.Status == host.ApprovalPending { // it is asked anew in the new epoch
			ops = append(ops, store.Op{Key: approvalKey(tenant, q.ID)})
		}
	}
	prefix := []byte(unsettledPrefix + tenant + "/" + id + "/")
	err = a.svc.eachUnsettled(ctx, prefix, func(key []byte, u host.Unsettled) {
		if hidden[u.Path] {
			ops = append(ops, store.Op{Key: slices.Clone(key)})
		}
	})
	return ops, err
}

// hidden returns the paths of the calls that ended after an entry, and the ids of the
// questions that were asked or answered.
func (a *actor) hidden(ctx context.Context, to uint64) (paths, asked map[string]bool, err error) {
	paths, asked = map[string]bool{}, map[string]bool{}
	for e, err := range a.svc.opt.Journals.Read(ctx, a.open.Session.Tenant, a.open.Session.ID, to+1) {
		if err != nil {
			return nil, nil, err
		}
		switch e.Kind {
		case host.EntryUnknown, host.EntryResult:
			paths[e.Path] = true
		case host.EntryApproval:
			var q host.Approval
			if json.Unmarshal(e.Body, &q) == nil {
				asked[q.ID] = true
			}
		default: // the others leave nothing beside the journal
		}
	}
	return paths, asked, nil
}
