package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/memory"
)

// Erase destroys a session's key: what was said, read and remembered in it cannot be read
// again, by anybody. Its entries stay, and their chain verifies.
func (s *Service) Erase(ctx context.Context, c host.Caller, session string) (host.Session, error) {
	head, err := s.Get(ctx, c, session)
	if err != nil {
		return head, err
	}
	if head.Status == host.SessionErased { // perhaps not to its end
		return head, s.wipe(ctx, head)
	}
	return s.onActor(ctx, c, session, "erase", func(ctx context.Context, a *actor) error {
		a.mu.Lock()
		err := a.erase(ctx, c)
		a.mu.Unlock()
		if err != nil {
			return err
		}
		a.drop()
		s.disown(ctx, a.now())
		return s.wipe(ctx, a.now())
	})
}

func (a *actor) erase(ctx context.Context, by host.Caller) error {
	head := a.head
	head.Status, head.Reason, head.Waiting, head.Updated = host.SessionErased, "", nil, a.svc.opt.Now().UTC()
	head.Ended = head.Turns
	op, err := headOp(head)
	if err != nil {
		return err
	}
	ops := []store.Op{op, {Key: wipeKey(head.Tenant, head.ID), Value: []byte{}}}
	for _, q := range a.queue {
		ended, err := a.endTask(ctx, q, host.TaskCancelled)
		if err != nil {
			return err
		}
		ops = append(ops, ended...)
	}
	if _, err := a.log.AppendNow(ctx, host.Entry{Kind: host.EntryErase}, host.Erased{By: by}, nil, ops...); err != nil {
		each(a.queue, a.reopen)
		return err
	}
	each(a.queue, a.closed)
	a.head, a.queue, a.dormant, a.retired = head, nil, nil, true
	a.busy.Store(false)
	return nil
}

// wipeKey marks a session that is erased, and whose key may still be there.
func wipeKey(tenant, session string) []byte { return []byte(wipePrefix + tenant + "/" + session) }

const wipePrefix = "wipe/"

// finishWipes goes on with the erasures that earlier hosts began.
func (s *Service) finishWipes(ctx context.Context) error {
	var marked []host.Session
	err := s.opt.Store.View(ctx, func(tx store.Tx) error {
		for item, err := range tx.Scan(store.Query{Prefix: []byte(wipePrefix), KeysOnly: true}) {
			if err != nil {
				return err
			}
			tenant, id, _ := strings.Cut(strings.TrimPrefix(string(item.Key), wipePrefix), "/")
			marked = append(marked, host.Session{Tenant: tenant, ID: id})
		}
		return nil
	})
	for _, head := range marked {
		err = errors.Join(err, s.wipe(ctx, head))
	}
	return err
}

// wipe destroys the key and deletes what is not part of the journal. It is repeated when
// it was interrupted.
func (s *Service) wipe(ctx context.Context, head host.Session) error {
	if err := s.opt.Journals.Erase(ctx, head.Tenant, head.ID); err != nil {
		return err
	}
	if err := s.opt.Tasks.Forget(ctx, head.Tenant, head.ID); err != nil { // they say what they are for
		return err
	}
	prefixes := append(s.opt.Private(head.Tenant, head.ID), memory.Prefix(head.Tenant, head.ID), unsettledOf(head))
	for _, p := range prefixes {
		if err := s.deleteAll(ctx, p, nil); err != nil {
			return err
		}
	}
	_, err := s.opt.Store.Commit(ctx, store.Batch{Ops: []store.Op{{Key: wipeKey(head.Tenant, head.ID)}}})
	return err
}

func unsettledOf(head host.Session) []byte {
	return []byte(unsettledPrefix + head.Tenant + "/" + head.ID + "/")
}

// opened returns how a session was opened.
func (s *Service) opened(ctx context.Context, head host.Session) (host.Open, error) {
	var open host.Open
	for e, err := range s.opt.Journals.Read(ctx, head.Tenant, head.ID, 1) {
		if err != nil {
			return open, err
		}
		if e.Kind == host.EntryOpen {
			return open, json.Unmarshal(e.Body, &open)
		}
		break
	}
	return open, fmt.Errorf("session %s: its journal has no open entry", head.ID)
}
