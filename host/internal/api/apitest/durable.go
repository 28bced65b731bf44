package apitest

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/policy"
)

var _ api.Durable = (*Sessions)(nil)

var errNoSession = host.Errorf(host.ErrNotFound, "there is no such session; GET /v1/sessions lists them")

// on runs f with a session of the caller's.
func (s *Sessions) on(c host.Caller, id string, f func(x *session) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.find(c, id); x != nil {
		return f(x)
	}
	return errNoSession
}

// Signal implements api.Durable.
func (s *Sessions) Signal(_ context.Context, sig host.Signal) (turn host.Turn, err error) {
	in := host.Invocation{
		Caller: sig.Caller, Session: sig.Session, IdempotencyKey: sig.IdempotencyKey, Body: sig.Body,
		Event: abi.Event{Type: abi.EventSignal, Name: sig.Name, Content: sig.Content, Data: sig.Data},
	}
	err = s.on(sig.Caller, sig.Session, func(x *session) error {
		found := false
		if turn, found, err = s.promised(in); !found {
			turn = s.accept(in, x)
		}
		return err
	})
	return turn, err
}

// ask suspends a turn until the approval is answered that it makes.
func (s *Sessions) ask(x *session, t *host.Turn) {
	a := &host.Approval{
		ID: fmt.Sprintf("hmac:a%d", len(s.approvals)+1), Status: host.ApprovalPending,
		Tenant: x.Tenant, Session: x.ID, Owner: x.Owner, Agent: x.Agent, Task: t.Task, User: x.Owner, Turn: t.Number,
		Path: fmt.Sprintf("%d/1", t.Number), Call: abi.CallToolCall, Action: "payTransfer",
		Resource: policy.UID{Type: "Tool", ID: "pay.transfer"}, Digest: "hmac:d", Note: "payments need a person",
		Asked: Epoch, Expires: Epoch.Add(time.Hour), Request: json.RawMessage(`{"amount":5,"to":"someone\u001b[2J"}`),
	}
	s.approvals = append(s.approvals, a)
	s.emit(x, t.Number, host.StreamCall, a.Path+".0.0", host.CallView{
		Path: a.Path, Name: a.Call, Detail: a.Resource.ID, Action: a.Action,
		Decision: policy.Decision{Approval: a.Note, Policies: []policy.Cause{{ID: "payments", File: "pay.cedar", Line: 1}}},
	})
	s.tell(x, a, 4)
	t.Waiting = []abi.Wait{{Type: abi.EventApproval, Name: a.ID, At: a.Expires}}
	s.emit(x, t.Number, host.StreamWaiting, "wait.1.5", host.Suspension{Turn: t.Number, Waiting: t.Waiting})
}

// tell emits an approval as it is now, without its request.
func (s *Sessions) tell(x *session, a *host.Approval, offset int) {
	told := *a
	told.Request = nil
	s.emit(x, a.Turn, host.StreamApproval, fmt.Sprintf("%s.0.%d", a.Path, offset), told)
}

// Approvals implements api.Approvals.
func (s *Sessions) Approvals(_ context.Context, c host.Caller, f host.ApprovalFilter) ([]host.Approval, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []host.Approval
	status := cmp.Or(f.Status, host.ApprovalPending)
	for _, a := range slices.Backward(s.approvals) {
		if a.Tenant == c.Tenant && a.Status == status && cmp.Or(f.Session, a.Session) == a.Session && len(out) < cmp.Or(f.Limit, 100) {
			listed := *a
			listed.Request = nil
			out = append(out, listed)
		}
	}
	return out, nil
}

// Approval implements api.Approvals.
func (s *Sessions) Approval(_ context.Context, c host.Caller, id string) (host.Approval, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.approval(c, id)
	if err != nil {
		return host.Approval{}, err
	}
	return *a, nil
}

func (s *Sessions) approval(c host.Caller, id string) (*host.Approval, error) {
	for _, a := range s.approvals {
		if a.ID == id && a.Tenant == c.Tenant {
			return a, nil
		}
	}
	return nil, host.Errorf(host.ErrNotFound, "there is no approval %q; GET /v1/approvals lists them", id)
}

// Answer implements api.Approvals: the turn ends either way.
func (s *Sessions) Answer(_ context.Context, c host.Caller, id string, answer host.Answer) (host.Approval, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.approval(c, id)
	if err != nil {
		return host.Approval{}, err
	}
	if a.Status != host.ApprovalPending {
		return host.Approval{}, host.Errorf(host.ErrConflict, "the approval is %s already; nothing was changed", a.Status)
	}
	x := s.find(c, a.Session)
	t := x.turns[a.Turn-1]
	t.Waiting = nil
	a.By, a.Reason, a.Answered = c.User, answer.Reason, Epoch.Add(time.Minute)
	if a.Status = host.ApprovalDenied; answer.Grant {
		a.Status = host.ApprovalGranted
	}
	s.tell(x, a, 6)
	if answer.Grant {
		s.end(x, t, host.TurnDone, "paid")
		return *a, nil
	}
	t.Error = &abi.Error{Code: abi.CodeDenied, Message: "a person denied it"}
	s.end(x, t, host.TurnFailed, "")
	return *a, nil
}

// lose makes a call whose outcome is unknown.
func (s *Sessions) lose(x *session, t *host.Turn) {
	s.unsettled = append(s.unsettled, &host.Unsettled{
		Session: x.ID, Agent: x.Agent, Turn: t.Number, Path: fmt.Sprintf("%d/1", t.Number), Seq: 4, Time: Epoch,
		Call: abi.CallToolCall, Action: "mailSend", Resource: policy.UID{Type: "Tool", ID: "mail.send"}, Key: "key-1",
	})
}

// Unsettled implements api.Settlements.
func (s *Sessions) Unsettled(_ context.Context, c host.Caller) ([]host.Unsettled, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []host.Unsettled
	for _, u := range s.unsettled {
		if u.Settled == nil && s.find(c, u.Session) != nil {
			out = append(out, *u)
		}
	}
	return out, nil
}

// Settle implements api.Settlements.
func (s *Sessions) Settle(_ context.Context, c host.Caller, id string, settlement host.Settlement) (out host.Unsettled, err error) {
	err = s.on(c, id, func(x *session) error {
		i := slices.IndexFunc(s.unsettled, func(u *host.Unsettled) bool { return u.Session == x.ID && u.Path == settlement.Path })
		if i < 0 {
			return host.Errorf(host.ErrNotFound, "session %s has no call %s with an unknown outcome; GET /v1/unsettled lists them", id, settlement.Path)
		}
		if s.unsettled[i].Settled != nil {
			return host.Errorf(host.ErrConflict, "call %s of session %s is settled already", settlement.Path, id)
		}
		s.unsettled[i].Settled = &settlement
		out = *s.unsettled[i]
		return nil
	})
	return out, err
}

// Fork implements api.Travel. An entry is a turn.
func (s *Sessions) Fork(_ context.Context, c host.Caller, id string, at uint64) (out host.Session, err error) {
	err = s.on(c, id, func(x *session) error {
		last := uint64(len(x.turns))
		if at > last {
			return host.Errorf(host.ErrInvalid, "session %s has no entry %d; its last one is %d", id, at, last)
		}
		y := &session{Session: x.Session, events: slices.Clone(x.events)}
		y.ID, y.Parent, y.At = fmt.Sprintf("S%d", len(s.sessions)+1), x.ID, cmp.Or(at, last)
		y.keep(x.turns[:y.At])
		s.sessions = append(s.sessions, y)
		out = y.Session
		return nil
	})
	return out, err
}

// keep gives a session turns of its own.
func (x *session) keep(turns []*host.Turn) {
	x.turns = nil
	for _, t := range turns {
		mine := *t
		mine.Session = x.ID
		x.turns = append(x.turns, &mine)
	}
	x.Turns, x.Ended = len(turns), len(turns)
}

// Revert implements api.Travel. An entry is a turn.
func (s *Sessions) Revert(_ context.Context, c host.Caller, id string, to uint64) (out host.Session, err error) {
	err = s.on(c, id, func(x *session) error {
		if to > uint64(len(x.turns)) {
			return host.Errorf(host.ErrInvalid, "session %s has no entry %d; its last one is %d", id, to, len(x.turns))
		}
		x.keep(x.turns[:to])
		out = x.Session
		return nil
	})
	return out, err
}

// Replay implements api.Travel. With another module or model the first turn is not the same.
func (s *Sessions) Replay(_ context.Context, c host.Caller, id string, o host.ReplayOptions) (out host.Replayed, err error) {
	err = s.on(c, id, func(x *session) error {
		out = host.Replayed{Session: x.ID, Module: cmp.Or(o.Module, x.Module), Same: true}
		for _, t := range x.turns {
			if o.Until > 0 && uint64(t.Number) > o.Until {
				break
			}
			out.Turns = append(out.Turns, host.ReplayedTurn{Turn: t.Number, Same: true, Calls: 2, Fuel: 1000, WasFuel: 1000})
		}
		if cmp.Or(o.Module, o.Model) != "" && len(out.Turns) > 0 {
			out.Same = false
			out.Turns[0] = otherwise(o)
		}
		return nil
	})
	return out, err
}

func otherwise(o host.ReplayOptions) host.ReplayedTurn {
	return host.ReplayedTurn{
		Turn: 1, Calls: 3, Fuel: 1200, WasFuel: 1000,
		Changes: []host.ReplayedCall{
			{Path: "1/1", Name: abi.CallModelChat, Change: host.CallChanged, Was: json.RawMessage(`{"a":1}`), Is: json.RawMessage(`{"a":2}`), Answer: "asked"},
			{Path: "1/3", Name: abi.CallHTTPFetch, Change: host.CallNew, Is: json.RawMessage(`{"url":"https://example.com/"}`), Answer: "refused"},
			{Path: "1/2", Name: abi.CallFileRead, Change: host.CallMissing, Was: json.RawMessage(`{"path":"a"}`)},
		},
		Was: &abi.Reply{Content: []abi.Content{abi.Text("as it was")}, Status: abi.StatusDone},
		Is:  &abi.Reply{Content: []abi.Content{abi.Text("by " + cmp.Or(o.Model, o.Module))}, Status: abi.StatusDone},
	}
}

// Diff implements api.Travel: sessions differ where the texts of their turns do.
func (s *Sessions) Diff(_ context.Context, c host.Caller, a, b string) (out host.Comparison, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x, y := s.find(c, a), s.find(c, b)
	if x == nil || y == nil {
		return out, errNoSession
	}
	out = host.Comparison{A: a, B: b}
	if y.Parent == a {
		out.Shared = y.At
	}
	for i := range max(len(x.turns), len(y.turns)) {
		d := host.Difference{Turn: i + 1, What: "reply", A: textAt(x, i), B: textAt(y, i)}
		if string(d.A) == string(d.B) {
			continue
		}
		if d.A == nil || d.B == nil {
			d.What = "turn"
		}
		out.Differences = append(out.Differences, d)
	}
	out.Same = len(out.Differences) == 0
	return out, nil
}

func textAt(x *session, i int) json.RawMessage {
	if i >= len(x.turns) {
		return nil
	}
	b, err := json.Marshal(abi.TextOf(x.turns[i].Content))
	if err != nil {
		panic(err)
	}
	return b
}

// Upgrade implements api.Travel. The module sha256:bad does not fit.
func (s *Sessions) Upgrade(_ context.Context, c host.Caller, id string, o host.UpgradeOptions) (out host.Upgraded, err error) {
	err = s.on(c, id, func(x *session) error {
		if o.Module == "sha256:bad" {
			return host.Errorf(host.ErrConflict, "the module does not repeat turn 1; nothing was changed; fork the session instead")
		}
		out = host.Upgraded{
			Session: id, From: x.Module, To: cmp.Or(o.Module, "sha256:01"), Mode: cmp.Or(o.Mode, host.UpgradeReplay),
			Seq: uint64(len(x.turns) + 1), Time: Epoch,
		}
		x.Module, x.Upgraded = out.To, x.Upgraded+1
		return nil
	})
	return out, err
}

// Root is the digest of every exported session.
const Root = "sha256:ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"

// exported is the first line of an exported session.
const exported = "session of "

// Export implements api.Archive with a line for each turn and a last one. A session of
// the agent broken ends in the middle of many lines.
func (s *Sessions) Export(ctx context.Context, c host.Caller, id string, w io.Writer) error {
	var b strings.Builder
	err := s.on(c, id, func(x *session) error {
		b.WriteString(exported + x.Agent + "\n")
		for _, t := range x.turns {
			b.WriteString(abi.TextOf(t.Content) + "\n")
		}
		if x.Agent == "broken" {
			b.WriteString(strings.Repeat("many\n", 1<<18))
			return nil
		}
		b.WriteString("end\n")
		return nil
	})
	if err != nil {
		return err
	}
	if _, err = io.WriteString(w, b.String()); err == nil && !strings.HasSuffix(b.String(), "end\n") {
		err = errors.New("a detail that clients must not see")
	}
	return cmp.Or(err, ctx.Err())
}

// Import implements api.Archive.
func (s *Sessions) Import(_ context.Context, c host.Caller, o host.ImportOptions, r io.Reader) (host.Session, error) {
	lines := bufio.NewScanner(r)
	var all []string
	for lines.Scan() {
		all = append(all, lines.Text())
	}
	if err := lines.Err(); err != nil {
		return host.Session{}, host.Errorf(host.ErrInvalid, "the file broke off: %w", err)
	}
	if len(all) < 2 || !strings.HasPrefix(all[0], exported) || all[len(all)-1] != "end" {
		return host.Session{}, host.Errorf(host.ErrInvalid, "it is no exported session, or cut off; export it again")
	}
	agent := cmp.Or(o.Agent, strings.TrimPrefix(all[0], exported))
	if o.Allow != nil {
		if err := o.Allow(agent); err != nil {
			return host.Session{}, err
		}
	}
	if err := refuse(agent); err != nil {
		return host.Session{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x, err := s.open(host.Invocation{Caller: c, Agent: agent})
	if err != nil {
		return host.Session{}, err
	}
	var turns []*host.Turn
	for i, text := range all[1 : len(all)-1] {
		turns = append(turns, &host.Turn{Number: i + 1, Agent: x.Agent, Status: host.TurnDone, Content: []abi.Content{abi.Text(text)}})
	}
	x.Parent = Root
	x.keep(turns)
	return x.Session, nil
}

// Verify implements api.Archive.
func (s *Sessions) Verify(_ context.Context, c host.Caller, id string) (out host.Verified, err error) {
	err = s.on(c, id, func(x *session) error {
		n := uint64(len(x.turns))
		out = host.Verified{Session: id, Entries: n, Chain: "sha256:cc", Read: n}
		if x.Status == host.SessionErased {
			out.Read, out.Erased = 0, n
		}
		return nil
	})
	return out, err
}

// Unpark implements api.Durable.
func (s *Sessions) Unpark(_ context.Context, c host.Caller, id, _ string) (out host.Session, err error) {
	err = s.on(c, id, func(x *session) error {
		if x.Status != host.SessionParked {
			return host.Errorf(host.ErrConflict, "session %s is %s, not parked; it needs no resuming", id, x.Status)
		}
		x.Status, x.Reason = host.SessionIdle, ""
		out = x.Session
		return nil
	})
	return out, err
}

// Erase implements api.Durable.
func (s *Sessions) Erase(_ context.Context, c host.Caller, id string) (out host.Session, err error) {
	err = s.on(c, id, func(x *session) error {
		x.Status = host.SessionErased
		out = x.Session
		return nil
	})
	return out, err
}
