package session

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/memory"
)

const (
	sweepEvery = time.Hour
	idemKept   = 7 * 24 * time.Hour // how long an idempotency key is remembered
	sweepBatch = 1000               // keys deleted at once
	idemPrefix = "idem/"
)

// sweeper removes what is past its time, now and every hour until the host stops.
func (s *Service) sweeper() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := s.Sweep(s.run); err != nil && s.run.Err() == nil {
			s.opt.Log.ErrorContext(s.run, "old sessions were not removed", "error", err)
		}
		select {
		case <-tick.C:
		case <-s.run.Done():
			return
		}
	}
}

// Sweep removes the sessions whose agents keep them no longer, and idempotency keys
// that are a week old.
func (s *Service) Sweep(ctx context.Context) error {
	now := s.opt.Now()
	shared := map[string]bool{} // sessions whose entries a branch shares: it goes first
	var old []host.Session
	for h, err := range s.heads(ctx, nil) {
		if err != nil {
			return err
		}
		if h.At > 0 {
			shared[h.Tenant+"/"+h.Parent] = true
		}
		if s.expired(&h, now) {
			old = append(old, h)
		}
	}
	for _, h := range old {
		if shared[h.Tenant+"/"+h.ID] {
			continue
		}
		awaited, err := s.awaited(ctx, &h)
		if err == nil && !awaited {
			err = s.remove(ctx, h)
		}
		if err != nil {
			return err
		}
	}
	return s.forgetKeys(ctx, now.Add(-idemKept))
}

// expired tells whether a session that does nothing, and waits for nothing that will
// come by itself, was last used longer ago than its agent wants it kept.
func (s *Service) expired(h *host.Session, now time.Time) bool {
	agent, ok := s.opt.Agents.Agent(h.Agent)
	if !ok || agent.Retain <= 0 || now.Sub(h.Updated) < agent.Retain {
		return false
	}
	comes := !h.Expires.IsZero() || slices.ContainsFunc(h.Waiting, func(w abi.Wait) bool {
		return !w.At.IsZero() || w.Type == abi.EventAgent && s.works(h.Tenant, w.Name, now.Add(-agent.Retain))
	})
	waits := h.Status == host.SessionWaiting || h.Status == host.SessionSuspended
	return h.Status == host.SessionIdle || h.Status == host.SessionErased || waits && !comes
}

// works tells whether an agent that was called has done something since a moment.
func (s *Service) works(tenant, session string, since time.Time) bool {
	h, err := s.head(s.run, tenant, session)
	return err == nil && (h.Status == host.SessionRunning || h.Updated.After(since))
}

// awaited tells whether the agent that called a session's has yet to read what came of it.
func (s *Service) awaited(ctx context.Context, h *host.Session) (bool, error) {
	if h.By == "" {
		return false, nil
	}
	called, err := s.called(ctx, h.Tenant, h.By)
	for _, p := range called {
		if p.Session == h.ID {
			return true, err
		}
	}
	return false, err
}

// remove deletes a session. Its key goes first, which makes the rest unreadable, and
// its head last, so that a removal that was interrupted is taken up again.
func (s *Service) remove(ctx context.Context, h host.Session) error {
	id := h.Tenant + "/" + h.ID
	defer s.open.lock(id)() // nobody opens it meanwhile
	s.mu.Lock()
	active := s.actors[id] != nil
	s.mu.Unlock()
	now, err := s.head(ctx, h.Tenant, h.ID)
	switch {
	case host.CodeOf(err) == host.ErrNotFound: // another sweep was faster
		return nil
	case err != nil || active || !s.expired(&now, s.opt.Now()):
		return err
	}
	s.disown(ctx, h)
	if err := s.opt.Journals.Erase(ctx, h.Tenant, h.ID); err != nil {
		return err
	}
	if err := s.opt.Tasks.Forget(ctx, h.Tenant, h.ID); err != nil {
		return err
	}
	prefixes := append(s.opt.Prefixes(h.Tenant, h.ID), placePrefix(h.Tenant, h.ID), memory.Prefix(h.Tenant, h.ID), unsettledOf(h), rebuildKey(h.Tenant, h.ID))
	for _, p := range prefixes {
		if err := s.deleteAll(ctx, p, nil); err != nil {
			return err
		}
	}
	if err := s.deleteAll(ctx, approvalKey(h.Tenant, ""), ofSession(h.ID)); err != nil {
		return err
	}
	_, err = s.opt.Store.Commit(ctx, store.Batch{Ops: []store.Op{{Key: headKey(h.Tenant, h.ID)}}})
	s.hub.wake(id)
	return err
}

// ofSession selects the approvals that a session asked for.
func ofSession(id string) func(store.Item) bool {
	return func(item store.Item) bool {
		var q host.Approval
		return json.Unmarshal(item.Value, &q) == nil && q.Session == id
	}
}

func (s *Service) forgetKeys(ctx context.Context, before time.Time) error {
	return s.deleteAll(ctx, []byte(idemPrefix), func(item store.Item) bool {
		var p promise
		return json.Unmarshal(item.Value, &p) == nil && p.Time.Before(before)
	})
}

// deleteAll deletes the keys under a prefix that drop selects; nil selects all.
func (s *Service) deleteAll(ctx context.Context, prefix []byte, drop func(store.Item) bool) error {
	var from []byte
	for {
		var ops []store.Op
		seen := 0
		err := s.opt.Store.View(ctx, func(tx store.Tx) error {
			for item, err := range tx.Scan(store.Query{Prefix: prefix, From: from, KeysOnly: drop == nil, Limit: sweepBatch}) {
				if err != nil {
					return err
				}
				seen++
				from = append(slices.Clone(item.Key), 0)
				if drop == nil || drop(item) {
					ops = append(ops, store.Op{Key: item.Key})
				}
			}
			return nil
		})
		if err == nil && len(ops) > 0 {
			_, err = s.opt.Store.Commit(ctx, store.Batch{Ops: ops})
		}
		if err != nil || seen < sweepBatch {
			return err
		}
	}
}
