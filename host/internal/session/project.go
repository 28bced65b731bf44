package session

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// projector makes stream events of journal entries, in order.
type projector struct {
	svc  *Service
	head host.Session
	next uint64 // entry to read next
	skip string // id of the last event that the client has
	only int    // events of turns before this one are not shown
}

// find sets the projector behind the event that the client has, or to the beginning of
// the turn that it names.
func (p *projector) find(ctx context.Context) error {
	from, err := p.svc.place(ctx, p.head, turnOfID(p.skip))
	if err != nil {
		return err
	}
	if !strings.Contains(p.skip, ".") && turnOfID(p.skip) > 0 {
		p.next, p.only = from, turnOfID(p.skip)
		return nil
	}
	for e, err := range p.svc.opt.Journals.Read(ctx, p.head.Tenant, p.head.ID, from) {
		if err != nil {
			return err
		}
		if ev, ok, err := p.event(ctx, e); err != nil {
			return err
		} else if ok && ev.ID == p.skip {
			p.next = e.Seq + 1
			return nil
		}
	}
	return host.Errorf(host.ErrInvalid, "follow session %s: it has no event %s; leave Last-Event-ID out to follow from its beginning", p.head.ID, p.skip)
}

// drain yields the events of all entries that are durable by now.
func (p *projector) drain(ctx context.Context, yield func(host.StreamEvent, error) bool) (bool, error) {
	for e, err := range p.svc.opt.Journals.Read(ctx, p.head.Tenant, p.head.ID, max(p.next, 1)) {
		if err != nil {
			return false, err
		}
		p.next = e.Seq + 1
		ev, ok, err := p.event(ctx, e)
		if err != nil {
			return false, err
		}
		if ok && (ev.Turn == 0 || ev.Turn >= p.only) && !yield(ev, nil) {
			return false, nil
		}
	}
	return true, nil
}

// event is the stream event that an entry shows; false for an entry that shows none.
func (p *projector) event(ctx context.Context, e host.Entry) (host.StreamEvent, bool, error) {
	ev := host.StreamEvent{Time: e.Time, Turn: e.Turn}
	var data any
	var err error
	switch e.Kind {
	case host.EntryAccepted:
		ev.Type, ev.ID, data = host.StreamAccepted, id(e.Turn, "0", 0, 0), p.turn(e)
	case host.EntryStart:
		ev.Type, ev.ID, data = host.StreamStart, id(e.Turn, "0", 1, 0), p.turn(e)
	case host.EntryIntent:
		return p.intent(e, ev)
	case host.EntryResult, host.EntryUnknown:
		return p.outcome(ctx, e, ev)
	case host.EntryChunk:
		return p.chunk(ctx, e, ev)
	case host.EntryEnd, host.EntryAbort:
		ev.Type, ev.ID = host.StreamEnd, id(e.Turn, "end", 1, 0)
		data, err = p.end(ctx, e)
	case host.EntryWait:
		ev.Type, ev.ID = host.StreamWaiting, id(e.Turn, "wait", 1, int(e.Seq)) //nolint:gosec // sequence numbers are small
		data, err = suspension(e)
	case host.EntryApproval:
		ev.Type, ev.ID = host.StreamApproval, id(e.Turn, e.Path, 0, int(e.Seq)) //nolint:gosec // as above
		data, err = approvalOf(e)
	case host.EntryCancel:
		ev.Type, ev.ID, data = host.StreamCancel, id(0, "cancel", 1, int(e.Seq)), e.Body //nolint:gosec // as above
	case host.EntryPark:
		ev.Type, ev.ID, data = host.StreamParked, id(0, "park", 1, int(e.Seq)), e.Body //nolint:gosec // as above
	case host.EntryOpen, host.EntryFence, host.EntryRevert, host.EntrySettle, host.EntrySnapshot,
		host.EntryMigrate, host.EntryResume, host.EntryErase:
		return ev, false, nil
	}
	if err != nil {
		return ev, false, err
	}
	ev.Data, err = json.Marshal(data)
	return ev, ev.Type != "", err
}

// id has the form turn.call.attempt.offset.
func id(turn int, call string, attempt, offset int) string {
	return strconv.Itoa(turn) + "." + call + "." + strconv.Itoa(attempt) + "." + strconv.Itoa(offset)
}

func (p *projector) turn(e host.Entry) host.Turn {
	var a struct {
		Task string `json:"task"`
	}
	_ = json.Unmarshal(e.Body, &a) // both kinds have one; without it the event still tells of the turn
	status := host.TurnQueued
	if e.Kind == host.EntryStart {
		status = host.TurnRunning
	}
	return host.Turn{Session: p.head.ID, Agent: p.head.Agent, Number: e.Turn, Task: a.Task, Status: status}
}

func suspension(e host.Entry) (host.Suspension, error) {
	var w host.Waits
	if err := json.Unmarshal(e.Body, &w); err != nil {
		return host.Suspension{}, fmt.Errorf("session: entry %d: %w", e.Seq, err)
	}
	return host.Suspension{Turn: e.Turn, Waiting: w.Waiting}, nil
}

// approvalOf is an approval that was asked for or answered. Who follows a session need not
// be who may see the arguments.
func approvalOf(e host.Entry) (host.Approval, error) {
	var q host.Approval
	if err := json.Unmarshal(e.Body, &q); err != nil {
		return host.Approval{}, fmt.Errorf("session: entry %d: %w", e.Seq, err)
	}
	q.Request = nil
	return q, nil
}

// intent shows a call; a second attempt first voids what the one before streamed.
func (p *projector) intent(e host.Entry, ev host.StreamEvent) (host.StreamEvent, bool, error) {
	var in host.Intent
	if err := json.Unmarshal(e.Body, &in); err != nil {
		return ev, false, fmt.Errorf("session: entry %d: %w", e.Seq, err)
	}
	ev.Type, ev.ID = host.StreamCall, id(e.Turn, e.Path, in.Attempt, 0)
	if in.Attempt > 1 {
		ev.Type = host.StreamReset
	}
	var err error
	ev.Data, err = json.Marshal(viewOf(e, in))
	return ev, true, err
}

func viewOf(e host.Entry, in host.Intent) host.CallView {
	return host.CallView{Path: e.Path, Name: in.Name, Detail: in.Detail, Action: in.Action, Decision: in.Decision}
}

func (p *projector) outcome(ctx context.Context, e host.Entry, ev host.StreamEvent) (host.StreamEvent, bool, error) {
	var o host.Outcome
	if err := json.Unmarshal(e.Body, &o); err != nil {
		return ev, false, fmt.Errorf("session: entry %d: %w", e.Seq, err)
	}
	ev.Type, ev.ID = host.StreamResult, id(e.Turn, e.Path, 0, int(e.Seq)) //nolint:gosec // sequence numbers are small
	v := host.CallView{Path: e.Path, Name: o.Name, Took: o.Took}
	if o.Usage.InputTokens+o.Usage.OutputTokens+o.Usage.CostMicros > 0 {
		v.Usage = &o.Usage
	}
	if o.Code != "" {
		v.Error = p.failure(ctx, e, o)
	}
	var err error
	ev.Data, err = json.Marshal(v)
	return ev, true, err
}

// failure is the error that a recorded result holds; where that is erased, its code.
func (p *projector) failure(ctx context.Context, e host.Entry, o host.Outcome) *abi.Error {
	var r abi.Result
	b, err := p.svc.opt.Journals.Payload(ctx, p.head.Tenant, e)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil || r.Error == nil {
		return &abi.Error{Code: o.Code}
	}
	return r.Error
}

func (p *projector) chunk(ctx context.Context, e host.Entry, ev host.StreamEvent) (host.StreamEvent, bool, error) {
	var c host.Chunk
	if err := json.Unmarshal(e.Body, &c); err != nil {
		return ev, false, fmt.Errorf("session: entry %d: %w", e.Seq, err)
	}
	payload, err := p.svc.opt.Journals.Payload(ctx, p.head.Tenant, e)
	if err != nil && p.svc.erased(ctx, p.head) {
		return ev, false, nil // there is nothing left of it to show
	}
	ev.Type, ev.ID, ev.Data = host.StreamDelta, id(e.Turn, e.Path, c.Attempt, c.Offset+1), payload
	return ev, true, err
}

func (p *projector) end(ctx context.Context, e host.Entry) (host.Turn, error) {
	t := &turnView{end: e}
	t.turn = e.Turn
	if err := json.Unmarshal(e.Body, &t.ended); err != nil {
		return host.Turn{}, err
	}
	t.status, t.accepted.Task = t.ended.Status, t.ended.Task
	return p.svc.project(ctx, p.head, t)
}
