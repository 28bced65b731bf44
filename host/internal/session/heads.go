package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// A head is the host.Session record of a session. It is written in one batch with
// the entries that change it, so the two never disagree.

const headPrefix = "session/"

func headKey(tenant, session string) []byte {
	return []byte(headPrefix + tenant + "/" + session)
}

func headOp(s host.Session) (store.Op, error) {
	b, err := json.Marshal(s)
	return store.Op{Key: headKey(s.Tenant, s.ID), Value: b}, err
}

func (s *Service) head(ctx context.Context, tenant, session string) (host.Session, error) {
	var out host.Session
	err := s.opt.Store.View(ctx, func(tx store.Tx) error {
		item, err := tx.Get(headKey(tenant, session))
		if err != nil {
			return err
		}
		return json.Unmarshal(item.Value, &out)
	})
	if errors.Is(err, store.ErrNotFound) {
		return out, host.Errorf(host.ErrNotFound, "find session %s: there is none with this id among yours", session)
	}
	return out, err
}

// heads yields the sessions that keep holds to be wanted, newest first.
func (s *Service) heads(ctx context.Context, keep func(*host.Session) bool) iter.Seq2[host.Session, error] {
	return func(yield func(host.Session, error) bool) {
		page, err := s.headPage(ctx, nil)
		for ; err == nil && len(page) > 0; page, err = s.headPage(ctx, headKey(page[len(page)-1].Tenant, page[len(page)-1].ID)) {
			for _, h := range page {
				if (keep == nil || keep(&h)) && !yield(h, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(host.Session{}, err)
		}
	}
}

// headPage reads the heads before a key, from the end when it is nil. Ids are ULIDs,
// so the order of keys is the order of creation.
func (s *Service) headPage(ctx context.Context, before []byte) ([]host.Session, error) {
	var page []host.Session
	err := s.opt.Store.View(ctx, func(tx store.Tx) error {
		q := store.Query{Prefix: []byte(headPrefix), Reverse: true, From: before, Limit: 257}
		for item, err := range tx.Scan(q) {
			if err != nil {
				return err
			}
			if before != nil && string(item.Key) == string(before) {
				continue
			}
			var h host.Session
			if err := json.Unmarshal(item.Value, &h); err != nil {
				return fmt.Errorf("session record %s: %w", item.Key, err)
			}
			page = append(page, h)
		}
		return nil
	})
	return page, err
}

// List returns the caller's sessions that the filter selects, newest first.
func (s *Service) List(ctx context.Context, c host.Caller, f host.SessionFilter) ([]host.Session, error) {
	limit := f.Limit
	if limit <= 0 || limit > 1000 {
		limit = 100
	}
	wanted := func(h *host.Session) bool {
		return mayTouch(c, h) && (f.Agent == "" || h.Agent == f.Agent) && (f.Status == "" || h.Status == f.Status) && (f.After == "" || h.ID < f.After) &&
			(f.Visible == nil || f.Visible(h)) // last, as policies are asked
	}
	out := []host.Session{}
	for h, err := range s.heads(ctx, wanted) {
		if err != nil {
			return nil, err
		}
		if out = append(out, s.fresh(h)); len(out) == limit {
			break
		}
	}
	return out, nil
}

// Get returns one of the caller's sessions.
func (s *Service) Get(ctx context.Context, c host.Caller, session string) (host.Session, error) {
	h, err := s.head(ctx, c.Tenant, session)
	if err != nil {
		return h, err
	}
	if !mayTouch(c, &h) { // as if it were not there: ids are not for probing
		return host.Session{}, host.Errorf(host.ErrNotFound, "find session %s: there is none with this id among yours", session)
	}
	return s.fresh(h), nil
}

// Counts returns how many sessions there are by status.
func (s *Service) Counts(ctx context.Context) (map[host.SessionStatus]int, error) {
	out := map[host.SessionStatus]int{}
	for h, err := range s.heads(ctx, nil) {
		if err != nil {
			return nil, err
		}
		out[h.Status]++
	}
	return out, nil
}

// mayTouch tells whether a session is of the caller's tenant: what the caller may do with
// it is decided before anybody asks this service.
func mayTouch(c host.Caller, h *host.Session) bool { return c.Tenant == h.Tenant }

// fresh adds what only the running actor knows: what a suspended call waits for.
func (s *Service) fresh(h host.Session) host.Session {
	s.mu.Lock()
	a := s.actors[h.Tenant+"/"+h.ID]
	s.mu.Unlock()
	if a == nil {
		return h
	}
	if waits, _ := a.suspended(); len(waits) > 0 {
		h.Waiting = waits
	}
	return h
}
