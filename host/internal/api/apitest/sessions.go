package apitest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

// Epoch is when everything in a fake happens.
var Epoch = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// Sessions is an api.Sessions and an api.Durable in memory. An agent's name decides what its turns do:
//
//	echo     streams the message word by word and replies with it
//	history  replies with how many messages of context it was given
//	revise   streams a text, loses it to a retry, and streams another
//	lost     makes a call whose outcome nobody knows
//	waiter   replies, and waits for the signal go, with which it replies
//	approve  is suspended until its approval is answered, or Release
//	slow     runs until Release
//	stuck    is parked
//	fail     fails with budget_exceeded
//	cancelled  is cancelled
//	full     is refused with host.ErrFull
//	panic    panics in Invoke
//	broken   is accepted and breaks the stream of events
type Sessions struct {
	mu       sync.Mutex
	changed  chan struct{}
	sessions []*session
	promises map[string]promise
	accepted []host.Invocation

	approvals []*host.Approval
	unsettled []*host.Unsettled
}

type session struct {
	host.Session
	turns  []*host.Turn
	events []host.StreamEvent
}

// promise is what an idempotency key stands for.
type promise struct {
	body []byte
	turn host.Turn
}

var _ api.Sessions = (*Sessions)(nil)

// NewSessions returns a host without sessions.
func NewSessions() *Sessions {
	return &Sessions{changed: make(chan struct{}), promises: map[string]promise{}}
}

// Release lets the turns of slow and approve end. Call it once.
func (s *Sessions) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.sessions {
		for _, t := range x.turns {
			if t.Status == host.TurnRunning {
				t.Waiting = nil
				s.end(x, t, host.TurnDone, "late")
			}
		}
	}
}

// Accepted returns the invocations so far.
func (s *Sessions) Accepted() []host.Invocation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.accepted)
}

// Invoke implements api.Sessions.
func (s *Sessions) Invoke(ctx context.Context, in host.Invocation) (host.Turn, error) {
	if ctx.Err() != nil {
		return host.Turn{}, ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if turn, found, err := s.promised(in); found {
		return turn, err
	}
	if err := refuse(in.Agent); err != nil {
		return host.Turn{}, err
	}
	x, err := s.open(in)
	if err != nil {
		return host.Turn{}, err
	}
	return s.accept(in, x), nil
}

// promised finds the turn that an earlier request with the same key made.
func (s *Sessions) promised(in host.Invocation) (turn host.Turn, found bool, err error) {
	p, ok := s.promises[in.Caller.Tenant+"/"+in.IdempotencyKey]
	if !ok || in.IdempotencyKey == "" {
		return turn, false, nil
	}
	if !bytes.Equal(p.body, in.Body) {
		return turn, true, host.Errorf(host.ErrConflict, "the idempotency key was used for another request; use a new one")
	}
	turn = *s.find(in.Caller, p.turn.Session).turns[p.turn.Number-1]
	turn.Created = false
	return turn, true, nil
}

// accept makes a turn of the session and runs it.
func (s *Sessions) accept(in host.Invocation, x *session) host.Turn {
	s.accepted = append(s.accepted, in)
	t := &host.Turn{Session: x.ID, Number: len(x.turns) + 1, Task: "task-1", Agent: x.Agent, Status: host.TurnQueued, Created: true}
	x.turns = append(x.turns, t)
	x.Turns++
	s.emit(x, t.Number, host.StreamAccepted, "0.0.0", t)
	accepted := *t
	s.run(x, t, in.Event)
	s.promises[in.Caller.Tenant+"/"+in.IdempotencyKey] = promise{in.Body, accepted}
	return accepted
}

// refuse fails before anything is accepted.
func refuse(agent string) error {
	switch agent {
	case "full":
		return host.Errorf(host.ErrFull, "the disk is full; free some space")
	case "panic":
		panic("of a test")
	case "secret":
		return errors.New("a detail that clients must not see")
	}
	if !slices.Contains(agents, agent) {
		return host.Errorf(host.ErrNotFound, "there is no agent %q; GET /v1/agents lists them", agent)
	}
	return nil
}

// open returns the session of an invocation, a new one when it names none.
func (s *Sessions) open(in host.Invocation) (*session, error) {
	if in.Session != "" {
		if x := s.find(in.Caller, in.Session); x != nil {
			return x, nil
		}
		return nil, host.Errorf(host.ErrNotFound, "there is no session %q", in.Session)
	}
	x := &session{Session: host.Session{
		ID: fmt.Sprintf("S%d", len(s.sessions)+1), Tenant: in.Caller.Tenant, Owner: in.Caller.User, Agent: in.Agent,
		Module: "sha256:00", Status: host.SessionIdle, Created: Epoch, Updated: Epoch,
	}}
	s.sessions = append(s.sessions, x)
	return x, nil
}

// find returns nil for a session of another tenant.
func (s *Sessions) find(c host.Caller, id string) *session {
	for _, x := range s.sessions {
		if x.ID == id && x.Tenant == c.Tenant {
			return x
		}
	}
	return nil
}

// run does what the agent's name says, at once.
func (s *Sessions) run(x *session, t *host.Turn, e abi.Event) {
	t.Status = host.TurnRunning
	s.emit(x, t.Number, host.StreamStart, "0.1.0", t)
	text := abi.TextOf(e.Content)
	switch x.Agent {
	case "echo":
		for i, word := range strings.SplitAfter(text, " ") {
			s.delta(x, t, fmt.Sprintf("1.1.%d", i+1), word)
		}
		s.end(x, t, host.TurnDone, text)
	case "history":
		s.end(x, t, host.TurnDone, fmt.Sprintf("%d earlier messages", len(e.History)))
	case "revise":
		s.delta(x, t, "1.1.1", "first try")
		s.emit(x, t.Number, host.StreamReset, "1.2.0", host.CallView{Path: "1/1", Name: abi.CallModelChat})
		s.delta(x, t, "1.2.1", "first")
		s.delta(x, t, "1.2.2", " answer")
		s.end(x, t, host.TurnDone, "first answer")
	case "waiter":
		if e.Type == abi.EventSignal {
			s.end(x, t, host.TurnDone, e.Name+" "+string(e.Data)+text)
			return
		}
		t.Waiting = []abi.Wait{{Type: abi.EventSignal, Name: "go"}}
		s.end(x, t, host.TurnWaiting, "ready")
	case "approve":
		s.ask(x, t)
	case "lost":
		s.lose(x, t)
		s.end(x, t, host.TurnDone, "nobody knows")
	case "stuck":
		x.Status, x.Reason = host.SessionParked, "three crashes"
		s.emit(x, 0, host.StreamParked, "park.1.1", host.Parked{Reason: x.Reason})
	case "fail":
		t.Error = &abi.Error{Code: abi.CodeBudgetExceeded, Message: "the budget is used up"}
		s.end(x, t, host.TurnFailed, "")
	case "cancelled":
		s.end(x, t, host.TurnCancelled, "")
	}
}

func (s *Sessions) delta(x *session, t *host.Turn, id, text string) {
	s.emit(x, t.Number, host.StreamDelta, id, abi.Emit{Content: []abi.Content{abi.Text(text)}})
}

// end ends a turn, with the same usage always.
func (s *Sessions) end(x *session, t *host.Turn, status host.TurnStatus, text string) {
	t.Status = status
	if text != "" {
		t.Content = []abi.Content{abi.Text(text)}
	}
	t.Usage = abi.Usage{InputTokens: 3, OutputTokens: 5, CacheReadTokens: 1}
	x.Ended++
	s.emit(x, t.Number, host.StreamEnd, "end.1.0", t)
}

// emit adds an event and wakes the followers.
func (s *Sessions) emit(x *session, turn int, kind host.StreamType, id string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	x.events = append(x.events, host.StreamEvent{ID: fmt.Sprintf("%d.%s", turn, id), Type: kind, Time: Epoch, Turn: turn, Data: data})
	close(s.changed)
	s.changed = make(chan struct{})
}

// Turn implements api.Sessions.
func (s *Sessions) Turn(_ context.Context, c host.Caller, id string, n int) (host.Turn, error) {
	t, _, err := s.turn(c, id, n)
	return t, err
}

// Await implements api.Sessions.
func (s *Sessions) Await(ctx context.Context, c host.Caller, id string, n int) (host.Turn, error) {
	for {
		t, changed, err := s.turn(c, id, n)
		if err != nil || t.Status.Over() || len(t.Waiting) > 0 {
			return t, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return t, ctx.Err()
		}
	}
}

func (s *Sessions) turn(c host.Caller, id string, n int) (host.Turn, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.find(c, id)
	if x == nil || n > len(x.turns) {
		return host.Turn{}, nil, host.Errorf(host.ErrNotFound, "there is no turn %d in session %q", n, id)
	}
	return *x.turns[n-1], s.changed, nil
}

// Events implements api.Sessions.
func (s *Sessions) Events(ctx context.Context, c host.Caller, id, after string) iter.Seq2[host.StreamEvent, error] {
	return func(yield func(host.StreamEvent, error) bool) {
		next := 0
		for {
			events, changed, err := s.since(c, id, after, &next)
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
			}
			if err != nil {
				yield(host.StreamEvent{}, err)
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// since returns the events from next on and a channel that is closed by the next one.
func (s *Sessions) since(c host.Caller, id, after string, next *int) ([]host.StreamEvent, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.find(c, id)
	if x == nil {
		return nil, nil, host.Errorf(host.ErrNotFound, "there is no session %q", id)
	}
	if *next == 0 && after != "" {
		*next = 1 + slices.IndexFunc(x.events, func(e host.StreamEvent) bool { return e.ID == after })
		if turn, err := strconv.Atoi(after); err == nil {
			*next = max(0, slices.IndexFunc(x.events, func(e host.StreamEvent) bool { return e.Turn >= turn }))
		}
	}
	events := slices.Clone(x.events[*next:])
	*next = len(x.events)
	if x.Agent == "broken" {
		return events, nil, errors.New("a detail that clients must not see")
	}
	return events, s.changed, nil
}

// Journal implements api.Sessions with a record per turn.
func (s *Sessions) Journal(_ context.Context, c host.Caller, id string, from uint64, limit int) ([]host.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := s.find(c, id)
	if x == nil {
		return nil, host.Errorf(host.ErrNotFound, "there is no session %q", id)
	}
	var out []host.Record
	for _, t := range x.turns {
		seq := uint64(t.Number)
		if seq < from || len(out) == limit {
			continue
		}
		out = append(out, host.Record{
			Entry:   host.Entry{Seq: seq, Epoch: 1, Fence: 1, Time: Epoch, Kind: host.EntryAccepted, Turn: t.Number, Digest: "d"},
			Payload: json.RawMessage(`{"type":"message"}`),
		})
	}
	return out, nil
}

// List implements api.Sessions.
func (s *Sessions) List(_ context.Context, c host.Caller, f host.SessionFilter) ([]host.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []host.Session
	for _, x := range slices.Backward(s.sessions) {
		match := x.Tenant == c.Tenant && cmp.Or(f.Agent, x.Agent) == x.Agent && cmp.Or(f.Status, x.Status) == x.Status
		if match && (f.After == "" || x.ID < f.After) && len(out) < f.Limit {
			out = append(out, x.Session)
		}
	}
	return out, nil
}

// Get implements api.Sessions.
func (s *Sessions) Get(_ context.Context, c host.Caller, id string) (host.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.find(c, id); x != nil {
		return x.Session, nil
	}
	return host.Session{}, host.Errorf(host.ErrNotFound, "there is no session %q; GET /v1/sessions lists them", id)
}

// Cancel implements api.Sessions.
func (s *Sessions) Cancel(ctx context.Context, c host.Caller, id string) (host.Session, error) {
	s.mu.Lock()
	if x := s.find(c, id); x != nil {
		for _, t := range x.turns {
			if !t.Status.Over() {
				s.end(x, t, host.TurnCancelled, "")
			}
		}
	}
	s.mu.Unlock()
	return s.Get(ctx, c, id)
}

// Now is the clock of what golden files show.
func Now() time.Time { return Epoch }
