package session

import (
	"context"
	"encoding/json"
	"errors"
	"math"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/memory"
)

// outline is what a session was at one of its entries: what a fork begins with, and what a
// revert or an import leaves.
type outline struct {
	turns    int // accepted
	ended    int
	label    *abi.Label
	running  bool // the last turn that began has not ended
	queued   bool
	waiting  []abi.Wait
	module   string
	upgraded int
	place    uint64 // where the newest turn that began is
	placed   int
	lastEnd  uint64 // newest entry that ended a turn
	accepted map[int]bool
}

// outlineAt reads a session up to an entry, from the beginning of the turn that it lies in.
func (s *Service) outlineAt(ctx context.Context, head host.Session, at uint64) (*outline, error) {
	open, err := s.opened(ctx, head)
	if err != nil {
		return nil, err
	}
	for before := at; ; {
		from, err := s.placeBefore(ctx, head, before)
		if err != nil {
			return nil, err
		}
		o, err := s.outlineOf(ctx, head, open.Session.Module, from, at)
		if err != nil || o.label != nil || from == 1 {
			return o, err
		}
		before = from - 1 // its turn had not begun: the one before it says what the session was
	}
}

func (s *Service) outlineOf(ctx context.Context, head host.Session, module string, from, at uint64) (*outline, error) {
	o := &outline{module: module, accepted: map[int]bool{}}
	for e, err := range s.opt.Journals.Read(ctx, head.Tenant, head.ID, from) {
		if err != nil {
			return nil, err
		}
		if e.Seq > at {
			break
		}
		if err := o.add(e); err != nil {
			return nil, err
		}
	}
	o.queued = len(o.accepted) > 0
	return o, nil
}

// placeBefore returns where the newest turn begins that had begun by an entry.
func (s *Service) placeBefore(ctx context.Context, head host.Session, at uint64) (uint64, error) {
	place, err := s.placeIn(ctx, head, math.MaxInt32, at)
	for err == nil && place == 0 && head.At > 0 {
		at = min(at, head.At)
		if head, err = s.head(ctx, head.Tenant, head.Parent); err != nil {
			return 1, nil // the parent was removed: read from the beginning
		}
		place, err = s.placeIn(ctx, head, math.MaxInt32, at)
	}
	return max(place, 1), err
}

func (o *outline) add(e host.Entry) error {
	switch e.Kind {
	case host.EntryAccepted:
		o.turns = max(o.turns, e.Turn)
		o.accepted[e.Turn] = true
		if e.Turn > o.placed {
			o.place, o.placed = e.Seq, e.Turn
		}
	case host.EntryStart:
		var started host.Started
		if err := json.Unmarshal(e.Body, &started); err != nil {
			return err
		}
		o.running, o.label, o.module = true, &started.Label, started.Module
		o.waiting = nil
		o.ended = e.Turn - 1
	case host.EntryEnd, host.EntryAbort:
		return o.end(e)
	case host.EntryResult:
		var out host.Outcome
		if err := json.Unmarshal(e.Body, &out); err != nil {
			return err
		}
		delete(o.accepted, out.Consumes)
	case host.EntryMigrate:
		var m host.Migrated
		if err := json.Unmarshal(e.Body, &m); err != nil {
			return err
		}
		o.module = m.To
		o.upgraded++
	default: // the others change nothing of this
	}
	return nil
}

func (o *outline) end(e host.Entry) error {
	var ended host.Ended
	if err := json.Unmarshal(e.Body, &ended); err != nil {
		return err
	}
	o.running, o.label, o.ended, o.lastEnd = false, &ended.Label, e.Turn, e.Seq
	delete(o.accepted, e.Turn)
	o.waiting = nil
	if ended.Status == host.TurnWaiting {
		o.waiting = ended.Waiting
	}
	return nil
}

// applyTo makes a head what the outline says.
func (o *outline) applyTo(head host.Session) host.Session {
	head.Turns, head.Ended, head.Module = max(o.turns, o.ended), o.ended, o.module
	head.Waiting, head.Reason, head.Status = nil, "", host.SessionIdle
	head.Label = abi.Label{}
	if o.label != nil {
		head.Label = *o.label
	}
	switch {
	case o.running || o.queued:
		head.Status = host.SessionRunning
	case len(o.waiting) > 0:
		head.Status, head.Waiting = host.SessionWaiting, o.waiting
	}
	if !o.running && !o.queued {
		head.Ended = head.Turns
	}
	return head
}

// rebuildKey marks a session whose working memory must be made anew before its next turn.
func rebuildKey(tenant, session string) []byte { return []byte("rebuild/" + tenant + "/" + session) }

// rebuild makes a session's working memory anew where a fork or a revert asked for it.
func (s *Service) rebuild(ctx context.Context, head host.Session) error {
	key := rebuildKey(head.Tenant, head.ID)
	err := s.opt.Store.View(ctx, func(tx store.Tx) error {
		_, err := tx.Get(key)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = s.rebuildMemory(ctx, head)
	}
	if err == nil {
		_, err = s.opt.Store.Commit(ctx, store.Batch{Ops: []store.Op{{Key: key}}})
	}
	return err
}

// rebuildMemory makes a session's working memory what its journal says: every write that
// is on record, in order.
func (s *Service) rebuildMemory(ctx context.Context, head host.Session) error {
	if err := s.deleteAll(ctx, memory.Prefix(head.Tenant, head.ID), nil); err != nil {
		return err
	}
	run := &host.Run{Tenant: head.Tenant, Session: head.ID}
	space := memory.Session{Store: s.opt.Store, Sealer: sealer{s.opt.Journals, run}, Tenant: head.Tenant, ID: head.ID}
	requests := map[string]host.Entry{}
	for e, err := range s.opt.Journals.Read(ctx, head.Tenant, head.ID, 1) {
		if err != nil {
			return err
		}
		switch e.Kind {
		case host.EntryIntent:
			var in host.Intent
			if json.Unmarshal(e.Body, &in) == nil && in.Name == abi.CallMemorySession {
				requests[e.Path] = e
			}
		case host.EntryResult:
			request, ok := requests[e.Path]
			delete(requests, e.Path)
			if !ok {
				continue
			}
			if err := s.remember(ctx, space, head, request, e); err != nil {
				return err
			}
		default: // only calls write
		}
	}
	return nil
}

// remember does a recorded write again.
func (s *Service) remember(ctx context.Context, space memory.Session, head host.Session, request, result host.Entry) error {
	var o host.Outcome
	if err := json.Unmarshal(result.Body, &o); err != nil || o.Code != "" {
		return err
	}
	b, err := s.opt.Journals.Payload(ctx, head.Tenant, request)
	if err != nil {
		return err
	}
	var in abi.SessionMemory
	if err := strict(b, &in); err != nil {
		return err
	}
	var ops []store.Op
	switch in.Op {
	case "append":
		ops, err = space.Append(ctx, result.Path, in.Key, in.Items)
	case "set":
		ops, err = space.Set(ctx, in.Key, in.Value)
	}
	if err != nil || len(ops) == 0 {
		return err
	}
	_, err = s.opt.Store.Commit(ctx, store.Batch{Ops: ops})
	return err
}
