package session

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// A call of which nobody knows whether it happened has a record beside the journal until
// a person says what became of it.

const unsettledPrefix = "unsettled/"

func unsettledKey(tenant, session string, epoch uint32, path string) []byte {
	k := []byte(unsettledPrefix + tenant + "/" + session + "/")
	return append(append(binary.BigEndian.AppendUint32(k, epoch), '/'), path...)
}

// unknown returns what is written together with an unknown outcome.
func (a *actor) unknown(c *host.Call) ([]store.Op, error) {
	u := host.Unsettled{
		Session: a.open.Session.ID, Agent: a.open.Session.Agent, Turn: c.Run.Turn, Path: c.Path,
		Time: a.svc.opt.Now().UTC(), Call: c.Name, Key: c.Key,
	}
	if in := c.Intent; in != nil {
		u.Action, u.Resource = in.Action, in.Resource
	} else {
		u.Action, u.Resource = c.Class.Action, c.Class.Resource.UID
	}
	b, err := json.Marshal(u)
	if err != nil {
		return nil, err
	}
	ops := []store.Op{{Key: unsettledKey(a.open.Session.Tenant, u.Session, a.log.Epoch(), u.Path), Value: b}}
	return a.noticed(ops, &host.Notice{Type: host.NoticeUnknown, Turn: u.Turn, Path: u.Path, Reason: u.Call})
}

// Unsettled returns the caller's calls of which nobody knows whether they happened, oldest
// session first.
func (s *Service) Unsettled(ctx context.Context, c host.Caller) ([]host.Unsettled, error) {
	var all []host.Unsettled
	err := s.eachUnsettled(ctx, []byte(unsettledPrefix+c.Tenant+"/"), func(_ []byte, u host.Unsettled) { all = append(all, u) })
	if err != nil {
		return nil, err
	}
	out := []host.Unsettled{}
	for _, u := range all {
		head, err := s.head(ctx, c.Tenant, u.Session)
		if err != nil || !mayTouch(c, &head) {
			continue
		}
		if u.Seq, err = s.saidSo(ctx, head, u); err != nil {
			return nil, err
		}
		out = append(out, u)
	}
	return out, nil
}

// saidSo returns the entry that says that a call's outcome is unknown.
func (s *Service) saidSo(ctx context.Context, head host.Session, u host.Unsettled) (uint64, error) {
	from, err := s.place(ctx, head, u.Turn)
	if err != nil {
		return 0, err
	}
	for e, err := range s.opt.Journals.Read(ctx, head.Tenant, head.ID, from) {
		if err != nil {
			return 0, err
		}
		if e.Path == u.Path && (e.Kind == host.EntryUnknown || e.Kind == host.EntryResult) {
			return e.Seq, nil
		}
	}
	return 0, nil
}

func (s *Service) eachUnsettled(ctx context.Context, prefix []byte, f func(key []byte, u host.Unsettled)) error {
	return s.opt.Store.View(ctx, func(tx store.Tx) error {
		for item, err := range tx.Scan(store.Query{Prefix: prefix}) {
			if err != nil {
				return err
			}
			var u host.Unsettled
			if err := json.Unmarshal(item.Value, &u); err != nil {
				return fmt.Errorf("unsettled call %s: %w", item.Key, err)
			}
			f(item.Key, u)
		}
		return nil
	})
}

// Settle records what became of a call whose outcome was unknown.
func (s *Service) Settle(ctx context.Context, c host.Caller, session string, in host.Settlement) (host.Unsettled, error) {
	if in.Outcome != host.SettledHappened && in.Outcome != host.SettledNot {
		return host.Unsettled{}, host.Errorf(host.ErrInvalid, "settle call %s: the outcome is %s or %s, not %q", in.Path, host.SettledHappened, host.SettledNot, in.Outcome)
	}
	head, err := s.Get(ctx, c, session)
	if err != nil {
		return host.Unsettled{}, err
	}
	a, err := s.actor(ctx, head.Tenant, head.ID)
	if err != nil {
		return host.Unsettled{}, err
	}
	defer a.release()
	in.By = c
	u, err := a.settle(ctx, in)
	if err != nil || !in.Tell {
		return u, full("the settlement", err)
	}
	b, err := json.Marshal(in)
	if err != nil {
		return u, err
	}
	_, err = s.Signal(ctx, host.Signal{Caller: c, Session: session, Name: "settled", Data: b})
	return u, err
}

func (a *actor) settle(ctx context.Context, in host.Settlement) (host.Unsettled, error) {
	a.answers.Lock()
	defer a.answers.Unlock()
	var key []byte
	var found host.Unsettled
	prefix := []byte(unsettledPrefix + a.open.Session.Tenant + "/" + a.open.Session.ID + "/")
	err := a.svc.eachUnsettled(ctx, prefix, func(k []byte, u host.Unsettled) {
		if u.Path == in.Path {
			key, found = k, u
		}
	})
	if err != nil {
		return found, err
	}
	if key == nil {
		return found, host.Errorf(host.ErrNotFound, "settle call %s of session %s: its outcome is not unknown, or was settled", in.Path, a.open.Session.ID)
	}
	_, err = a.log.AppendNow(ctx, host.Entry{Kind: host.EntrySettle, Turn: found.Turn, Path: in.Path}, in, nil, store.Op{Key: key})
	found.Settled = &in
	return found, err
}

// Signal delivers a named event to a session.
func (s *Service) Signal(ctx context.Context, in host.Signal) (host.Turn, error) {
	if in.Name == "" {
		return host.Turn{}, host.Errorf(host.ErrInvalid, "signal session %s: give the signal a name", in.Session)
	}
	head, err := s.Get(ctx, in.Caller, in.Session)
	if err != nil {
		return host.Turn{}, err
	}
	return s.Invoke(ctx, host.Invocation{
		Caller: in.Caller, Agent: head.Agent, Session: in.Session,
		Event:          abi.Event{Type: abi.EventSignal, Name: in.Name, Content: in.Content, Data: in.Data},
		IdempotencyKey: in.IdempotencyKey, Body: in.Body, Awaited: in.Awaited,
	})
}

// Unpark lets a parked session go on where it was stopped.
func (s *Service) Unpark(ctx context.Context, c host.Caller, session, note string) (host.Session, error) {
	return s.onActor(ctx, c, session, "resume", func(ctx context.Context, a *actor) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.head.Status != host.SessionParked {
			return host.Errorf(host.ErrConflict, "resume session %s: it is %s, not parked", session, a.head.Status)
		}
		head := a.head
		head.Reason, head.Status, head.Updated = "", host.SessionIdle, s.opt.Now().UTC()
		if len(a.queue) > 0 {
			head.Status = host.SessionRunning
		}
		op, err := headOp(head)
		if err != nil {
			return err
		}
		if _, err := a.log.AppendNow(ctx, host.Entry{Kind: host.EntryResume}, host.Resumed{By: c, Note: note}, nil, op); err != nil {
			return err
		}
		return a.refill(ctx)
	})
}
