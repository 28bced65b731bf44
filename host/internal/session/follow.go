package session

import (
	"context"
	"encoding/json"
	"iter"
	"slices"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// waitsOutside tells whether a turn waits for time or for somebody, and not only for
// another agent of this host.
func waitsOutside(waits []abi.Wait) bool {
	return slices.ContainsFunc(waits, func(w abi.Wait) bool { return w.Type != abi.EventAgent && w.Type != waitCall })
}

// Await returns the turn once it is over, or suspended: running, with Waiting set.
// When ctx ends first, it returns the turn as it is and ctx's error.
func (s *Service) Await(ctx context.Context, c host.Caller, session string, turn int) (host.Turn, error) {
	for {
		news := s.hub.news(c.Tenant + "/" + session)
		t, err := s.Turn(ctx, c, session, turn)
		if err != nil || t.Status.Over() || t.Status == host.TurnParked || waitsOutside(t.Waiting) {
			return t, err
		}
		select {
		case <-news:
		case <-ctx.Done():
			return t, ctx.Err()
		case <-s.run.Done():
			return t, host.Errorf(host.ErrUnavailable, "the host is stopping; the turn goes on when it is back: GET /v1/sessions/%s", session)
		}
	}
}

// Turn returns a turn as its durable entries tell it.
func (s *Service) Turn(ctx context.Context, c host.Caller, session string, turn int) (host.Turn, error) {
	head, err := s.Get(ctx, c, session)
	if err != nil {
		return host.Turn{}, err
	}
	t, err := s.read(ctx, head, turn)
	if err != nil {
		return host.Turn{}, err
	}
	out, err := s.project(ctx, head, t)
	if out.Status == host.TurnRunning {
		out.Waiting = head.Waiting
	}
	return out, err
}

// read finds the turn in its journal.
func (s *Service) read(ctx context.Context, head host.Session, turn int) (*turnView, error) {
	v := newView()
	from, err := s.place(ctx, head, turn)
	if err != nil {
		return nil, err
	}
	for e, err := range s.opt.Journals.Read(ctx, head.Tenant, head.ID, from) {
		if err != nil {
			return nil, err
		}
		if err := v.add(e); err != nil {
			return nil, err
		}
		if t := v.turns[turn]; t != nil && t.status.Over() {
			break
		}
	}
	t := v.turns[turn]
	if t == nil {
		return nil, host.Errorf(host.ErrNotFound, "find turn %d of session %s: it has %d turns", turn, head.ID, head.Turns)
	}
	return t, nil
}

// project makes what callers see of a turn.
func (s *Service) project(ctx context.Context, head host.Session, t *turnView) (host.Turn, error) {
	task := t.accepted.Task
	if t.end.Seq == 0 || t.end.Seq > head.At { // it went on here
		task = taskIn(&head, t.entry, task)
	}
	out := host.Turn{
		Session: head.ID, Number: t.turn, Task: task, Agent: head.Agent, Status: t.status,
		Waiting: t.ended.Waiting, Error: t.ended.Error, Usage: t.ended.Usage,
	}
	if head.Status == host.SessionParked && !t.status.Over() {
		out.Status, out.Error = host.TurnParked, &abi.Error{Code: abi.CodeInternal, Message: "the session is parked: " + head.Reason}
	}
	if head.Status == host.SessionErased && !t.status.Over() {
		out.Status, out.Error = host.TurnCancelled, &abi.Error{Code: abi.CodeCancelled, Message: "the session was erased"}
	}
	if t.end.Digest == "" {
		return out, nil
	}
	reply, err := s.reply(ctx, head.Tenant, t.end)
	out.Content = reply.Content
	if err != nil && s.erased(ctx, head) {
		err = nil // that it ended, and how, is still known
	}
	return out, err
}

// erased tells whether a session is erased by now.
func (s *Service) erased(ctx context.Context, head host.Session) bool {
	now, err := s.head(ctx, head.Tenant, head.ID)
	return err == nil && now.Status == host.SessionErased
}

func (s *Service) reply(ctx context.Context, tenant string, e host.Entry) (abi.Reply, error) {
	var reply abi.Reply
	b, err := s.opt.Journals.Payload(ctx, tenant, e)
	if err != nil {
		return reply, err
	}
	return reply, json.Unmarshal(b, &reply)
}

// Events yields what happens in a session: first what is on record after the event
// with the id after, then what comes, until ctx ends. After may also be "" for all,
// or the number of a turn for what happens from its beginning on.
func (s *Service) Events(ctx context.Context, c host.Caller, session, after string) iter.Seq2[host.StreamEvent, error] {
	return func(yield func(host.StreamEvent, error) bool) {
		head, err := s.Get(ctx, c, session)
		if err != nil {
			yield(host.StreamEvent{}, err)
			return
		}
		p := &projector{svc: s, head: head, skip: after}
		if after != "" {
			if err := p.find(ctx); err != nil {
				yield(host.StreamEvent{}, err)
				return
			}
		}
		for {
			news := s.hub.news(c.Tenant + "/" + session)
			if more, err := p.drain(ctx, yield); !more {
				if err != nil && ctx.Err() == nil {
					yield(host.StreamEvent{}, err)
				}
				return
			}
			select {
			case <-news:
			case <-ctx.Done():
				return
			case <-s.run.Done():
				return
			}
		}
	}
}

// Journal returns entries from number from on, with their payloads.
func (s *Service) Journal(ctx context.Context, c host.Caller, session string, from uint64, limit int) ([]host.Record, error) {
	if _, err := s.Get(ctx, c, session); err != nil {
		return nil, err
	}
	if limit <= 0 || limit > 1000 {
		limit = 1000
	}
	out := []host.Record{}
	for e, err := range s.opt.Journals.Read(ctx, c.Tenant, session, from) {
		if err != nil {
			return nil, err
		}
		payload, err := s.opt.Journals.Payload(ctx, c.Tenant, e)
		if err != nil { // an erased payload leaves its entry
			payload = nil
		}
		if out = append(out, host.Record{Entry: e, Payload: payload}); len(out) == limit {
			break
		}
	}
	return out, nil
}
