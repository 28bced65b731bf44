package session

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// childKeys lead to the sessions that the turn under way of a session has called.
func childKeys(tenant, session string) []byte {
	return []byte(childPrefix + tenant + "/" + session + "/")
}

const childPrefix = "child/"

// answered lets the session go on whose agent called the one that has ended its turn.
func (s *Service) answered(head host.Session, q *queued) {
	if len(q.accepted.Chain) == 0 {
		return
	}
	caller := q.accepted.Chain[0].Session
	s.aux.Go(func() { s.rouseCaller(head.Tenant, caller, head.ID) })
}

// reunite lets a session go on that was left waiting for an agent which has ended its turn
// while no host ran.
func (s *Service) reunite(ctx context.Context, head host.Session) {
	for _, w := range head.Waiting {
		if s.answers(ctx, head.Tenant, w) {
			s.aux.Go(func() { s.rouseCaller(head.Tenant, head.ID, w.Name) })
		}
	}
}

func (s *Service) rouseCaller(tenant, session, child string) {
	head, err := s.head(s.run, tenant, session)
	if err != nil || head.Status != host.SessionSuspended && head.Status != host.SessionRunning {
		return
	}
	a, err := s.actor(s.run, tenant, session)
	if err != nil {
		if s.run.Err() == nil {
			s.opt.Log.ErrorContext(s.run, "a session was not told that the agent it called has ended", "session", session, "error", err)
		}
		return
	}
	defer a.release()
	a.mu.Lock()
	defer a.mu.Unlock()
	called := func(w abi.Wait) bool { return w.Type == abi.EventAgent && w.Name == child }
	if slices.ContainsFunc(a.dormant, called) {
		a.dormant = nil
		a.poke()
	}
}

// answers tells whether an agent that is waited for has ended its turn.
func (s *Service) answers(ctx context.Context, tenant string, w abi.Wait) bool {
	if w.Type != abi.EventAgent {
		return false
	}
	head, err := s.head(ctx, tenant, w.Name)
	return host.CodeOf(err) == host.ErrNotFound || err == nil && (head.Ended > 0 || head.Status == host.SessionErased)
}

// disown cancels what the turn that has ended called and no longer waits for. What cannot be
// cancelled now is when the host begins anew.
func (s *Service) disown(ctx context.Context, head host.Session) {
	called, err := s.called(ctx, head.Tenant, head.ID)
	if err != nil {
		s.opt.Log.ErrorContext(ctx, "agents that were called may go on without their caller", "session", head.ID, "error", err)
		return
	}
	ops := make([]store.Op, 0, len(called))
	for key, p := range called {
		h, err := s.head(ctx, head.Tenant, p.Session)
		if err == nil && h.Ended < p.Turn {
			err = s.cancelChild(ctx, head.Tenant, p.Session)
		}
		if err == nil || host.CodeOf(err) == host.ErrNotFound {
			ops = append(ops, store.Op{Key: []byte(key)})
		}
	}
	if len(ops) == 0 {
		return
	}
	if _, err := s.opt.Store.Commit(ctx, store.Batch{Ops: ops}); err != nil {
		s.opt.Log.WarnContext(ctx, "what leads to called sessions stays until the next turn ends", "session", head.ID, "error", err)
	}
}

// disownAll does so for the turns that ended with an earlier host.
func (s *Service) disownAll(ctx context.Context) error {
	callers := map[[2]string]bool{}
	err := s.opt.Store.View(ctx, func(tx store.Tx) error {
		for item, err := range tx.Scan(store.Query{Prefix: []byte(childPrefix), KeysOnly: true}) {
			if err != nil {
				return err
			}
			tenant, rest, _ := strings.Cut(strings.TrimPrefix(string(item.Key), childPrefix), "/")
			session, _, _ := strings.Cut(rest, "/")
			callers[[2]string{tenant, session}] = true
		}
		return nil
	})
	for c := range callers {
		head, err := s.head(ctx, c[0], c[1])
		if err != nil && host.CodeOf(err) != host.ErrNotFound {
			return err
		}
		switch head.Status {
		case host.SessionRunning, host.SessionSuspended, host.SessionParked: // its turn has not ended
		default:
			s.disown(ctx, host.Session{Tenant: c[0], ID: c[1]})
		}
	}
	return err
}

// called are the sessions that the turn under way of a session has called, by key.
func (s *Service) called(ctx context.Context, tenant, session string) (map[string]promise, error) {
	out := map[string]promise{}
	err := s.opt.Store.View(ctx, func(tx store.Tx) error {
		for item, err := range tx.Scan(store.Query{Prefix: childKeys(tenant, session)}) {
			if err != nil {
				return err
			}
			var p promise
			if err := json.Unmarshal(item.Value, &p); err != nil {
				return fmt.Errorf("called session %q: %w", item.Key, err)
			}
			out[string(item.Key)] = p
		}
		return nil
	})
	return out, err
}

func (s *Service) cancelChild(ctx context.Context, tenant, session string) error {
	_, err := s.Cancel(ctx, host.Caller{Tenant: tenant}, session)
	if err != nil && host.CodeOf(err) != host.ErrNotFound {
		s.opt.Log.ErrorContext(ctx, "an agent that was called goes on without its caller", "session", session, "error", err)
	}
	return err
}
