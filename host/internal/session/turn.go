package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// maxCrashes is how many hosts in a row may end in the middle of a turn before the
// session is parked: the turn may be what ends them.
const maxCrashes = 3

// turn runs q to its end: it begins it, or begins it again with what is recorded of
// it, and records how it ended.
func (a *actor) turn(ctx context.Context, q *queued) error {
	agent, ok := a.svc.opt.Agents.Agent(a.open.Session.Agent)
	if !ok {
		return a.fail(ctx, q, &abi.Error{Code: abi.CodeUnavailable, Message: "agent " + a.open.Session.Agent + " is no longer configured"})
	}
	over, err := a.isOver(ctx, q)
	if over {
		return a.fail(ctx, q, &abi.Error{Code: abi.CodeCancelled, Message: "its task is over"})
	}
	var p *passing
	if err == nil {
		p, err = a.prepare(ctx, q, agent)
	}
	if err != nil {
		return a.unprepared(ctx, q, err)
	}
	if p.crashes >= maxCrashes && !q.accepted.External {
		return a.park(ctx, fmt.Sprintf("the host crashed %d times in a row during turn %d", p.crashes, q.turn))
	}
	turnCtx, ended := a.svc.opt.Observer.StartTurn(ctx, a.open.Session, q.turn, q.accepted.Trace)
	reply, err := a.run(turnCtx, q, agent, p)
	if errors.Is(err, errDormant) {
		ended(host.TurnRunning, abi.Usage{}, nil)
		return err
	}
	status, err := a.conclude(ctx, q, p, reply, err)
	used, _ := p.passage.Used()
	ended(status, used, err)
	return err
}

// passing is a turn under way.
type passing struct {
	begun
	event   []byte
	passage Passage
	root    *host.Run
	guest   Guest
	seed    []byte
	fuel    int64 // that the agent's guest has used
	account *account
	memory  uint64   // most bytes of one guest
	words   []string // texts of the event, where its user wrote them
}

// prepare records the turn's start, or finds it recorded.
func (a *actor) prepare(ctx context.Context, q *queued, agent *host.Agent) (*passing, error) {
	p := &passing{seed: a.open.Seed}
	var err error
	if q.begun == nil {
		err = a.start(ctx, q, agent, p)
	} else {
		err = a.restart(ctx, q, p)
	}
	if err != nil {
		return nil, err
	}
	if p.root, err = a.svc.rootRun(ctx, a.now(), agent, q); err != nil {
		return nil, err
	}
	if labelOfEvent(q).Integrity >= abi.Trusted {
		p.words, err = wordsIn(p.event)
	}
	return p, err
}

// begin starts the passage of the turn, or the next one after its guest was dropped.
func (a *actor) begin(ctx context.Context, q *queued, agent *host.Agent, p *passing) error {
	spec := PassageSpec{
		Session: a.open.Session.ID, Log: patient{a.log, a}, Past: p.past, Budget: budgetOf(q, agent), Label: p.started.Label,
		Payload: a.payload, Patience: a.svc.opt.Patience, From: p.passage, Life: ctx, Approvals: asking{a},
		Unknown: a.unknown, Tasks: a.svc.opt.Tasks, Words: p.words,
	}
	if q.accepted.External { // there is no guest to drop
		spec.Patience = 0
	}
	passage, err := a.svc.opt.Door.Begin(spec)
	if err == nil {
		p.passage = passage
	}
	return err
}

// budgetOf is what is left to a turn: its task's budget and its own, whichever is less.
func budgetOf(q *queued, agent *host.Agent) host.Budget {
	task, turn := q.accepted.Budget, agent.Turn
	return host.Budget{
		Tokens: lesser(task.Tokens, turn.Tokens), CostMicros: lesser(task.CostMicros, turn.CostMicros),
		Calls: lesser(task.Calls, turn.Calls), Fuel: lesser(task.Fuel, turn.Fuel), Memory: lesser(task.Memory, turn.Memory),
		Time: turn.Time,
	}
}

func (a *actor) start(ctx context.Context, q *queued, agent *host.Agent, p *passing) error {
	event, err := a.eventOf(ctx, q)
	if err != nil {
		return err
	}
	event.Agent, event.Session, event.Task, event.Turn = agent.Binding, a.open.Session.ID, q.accepted.Task, q.turn
	event.Caller = abi.Caller{ID: q.accepted.Caller.User, Name: q.accepted.Caller.Name}
	said := labelOfEvent(q)
	event.Labels = abi.Labels{"": said}
	if p.event, err = json.Marshal(event); err != nil {
		return err
	}
	p.started = host.Started{
		Task: q.accepted.Task, Module: a.now().Module, Attempt: 1,
		Label: a.label,
	}
	if said.Integrity < abi.Trusted || q.accepted.Label != nil { // an agent may not say everything to everybody
		p.started.Label = a.label.Meet(said)
	}
	place := placeOp(a.open.Session.Tenant, a.open.Session.ID, q.turn, q.entry.Seq)
	p.entry, err = a.log.Append(ctx, host.Entry{Kind: host.EntryStart, Turn: q.turn}, p.started, p.event, place)
	if err != nil {
		return err
	}
	return a.commit(ctx)
}

// restart finds what earlier hosts recorded of the turn, and records that another
// one takes it up.
func (a *actor) restart(ctx context.Context, q *queued, p *passing) error {
	p.begun = *q.begun
	if !p.left {
		p.crashes++
	}
	var err error
	if p.event, err = a.payload(ctx, p.entry); err != nil {
		return err
	}
	if err := a.takeUp(ctx); err != nil {
		return err
	}
	return a.commit(ctx)
}

// takeUp appends the fence and says that the session runs again.
func (a *actor) takeUp(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	head := a.head
	head.Status, head.Waiting, head.Expires = host.SessionRunning, nil, time.Time{}
	op, err := headOp(head)
	if err != nil {
		return err
	}
	if _, err := a.log.Append(ctx, host.Entry{Kind: host.EntryFence}, host.Fence{}, nil, op); err != nil {
		return err
	}
	a.head, a.dormant = head, nil
	return nil
}

func (a *actor) eventOf(ctx context.Context, q *queued) (*abi.Event, error) {
	if q.event != nil {
		e := *q.event
		return &e, nil
	}
	b, err := a.svc.opt.Journals.Payload(ctx, a.open.Session.Tenant, q.entry)
	if err != nil {
		return nil, err
	}
	var e abi.Event
	return &e, json.Unmarshal(b, &e)
}

// run takes the turn to its guest's reply, under the task's time limit and until it is
// cancelled. A guest whose calls take long is dropped, and run again when one of them is
// over.
func (a *actor) run(ctx context.Context, q *queued, agent *host.Agent, p *passing) (*abi.Reply, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	if !p.root.Expires.IsZero() {
		var stop context.CancelFunc
		ctx, stop = context.WithDeadline(ctx, p.root.Expires)
		defer stop()
	}
	if err := a.begin(ctx, q, agent, p); err != nil {
		cancel(nil)
		return nil, err
	}
	defer func() { // a call that is late must not be recorded in the next turn
		cancel(nil)
		p.passage.Drain()
	}()
	if !a.enter(q.turn, cancel) {
		return nil, host.ErrCancelled
	}
	defer a.exit()
	for {
		work := a.activate
		if q.accepted.External {
			work = a.attend
		}
		reply, err := work(ctx, agent, q, p)
		if !errors.Is(err, host.ErrSuspended) {
			return reply, err
		}
		if err := a.doze(ctx, q, p); err != nil {
			return nil, err
		}
		if err := a.reread(ctx, q, p); err != nil {
			return nil, err
		}
		if err := a.begin(ctx, q, agent, p); err != nil {
			return nil, err
		}
	}
}

// activate has the agent's guest handle the event. What it leaves in the guest counts only
// when the turn ends well.
func (a *actor) activate(ctx context.Context, agent *host.Agent, q *queued, p *passing) (reply *abi.Reply, err error) {
	budget := budgetOf(q, agent)
	defer func() {
		if err != nil {
			a.drop()
		}
	}()
	l, err := a.guest(ctx, q.turn, p.entry.Seq, budget.Memory)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	p.guest = p.passage.Guest(p.root, p.entry.Time)
	defer p.guest.Drain()
	used, _ := p.passage.Used()
	p.account, p.memory = &account{limit: budget.Fuel, used: used.Fuel}, budget.Memory
	here := *p // what goes on without this guest must not see the next passage change
	ctx = withTurn(ctx, &turnState{actor: a, passing: &here})
	guestCtx, release := graceful(ctx, budget.Time)
	defer release()
	on := stage{calls: within{p.guest, ctx}, random: randomOf(p.seed, p.root.Path), fuel: p.account, log: a.guestLog(ctx, agent.Plugin)}
	out, fuel, err := l.call(guestCtx, a.svc.opt.Runner, on, budget.Memory, "handle", p.event)
	p.fuel = fuel
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	return a.finishGuest(ctx, p, out)
}

// reread finds what the journal has of the turn by now.
func (a *actor) reread(ctx context.Context, q *queued, p *passing) error {
	if err := a.commit(ctx); err != nil {
		return err
	}
	p.past = nil
	for e, err := range a.svc.opt.Journals.Read(ctx, a.open.Session.Tenant, a.open.Session.ID, p.entry.Seq+1) {
		if err != nil {
			return err
		}
		switch e.Kind {
		case host.EntryIntent, host.EntryResult, host.EntryUnknown:
			if e.Turn == q.turn {
				p.past = append(p.past, e)
			}
		default: // the rest is not of the turn's calls
		}
	}
	return nil
}

// finishGuest takes the guest's reply through the gate.
func (a *actor) finishGuest(ctx context.Context, p *passing, out []byte) (*abi.Reply, error) {
	if err := p.guest.Finish(ctx); err != nil {
		return nil, causeOf(ctx, err)
	}
	var reply abi.Reply
	if err := json.Unmarshal(out, &reply); err != nil {
		return nil, &abi.Error{Code: abi.CodeInvalid, Message: "the agent's reply is not a JSON reply: " + err.Error()}
	}
	switch reply.Status {
	case abi.StatusDone, abi.StatusWaiting, abi.StatusFailed:
	default:
		return nil, &abi.Error{Code: abi.CodeInvalid, Message: "the agent's reply has the status " + strconv.Quote(string(reply.Status)) + ", not done, waiting or failed"}
	}
	if err := p.guest.Reply(ctx, out); err != nil {
		return nil, causeOf(ctx, err)
	}
	return &reply, p.passage.Finish()
}

// causeOf prefers the reason why the turn was ended to what the guest made of it.
func causeOf(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, host.ErrStopping) || errors.Is(cause, host.ErrCancelled) {
		return cause
	}
	return err
}

// conclude records how the turn ended, unless it did not end: the host stops, the
// journal failed, or the guest diverged from it.
func (a *actor) conclude(ctx context.Context, q *queued, p *passing, reply *abi.Reply, err error) (host.TurnStatus, error) {
	switch {
	case err == nil:
		return a.end(ctx, q, p, reply)
	case errors.Is(err, host.ErrDiverged):
		return host.TurnFailed, a.park(ctx, "turn "+strconv.Itoa(q.turn)+": "+err.Error())
	case errors.Is(err, host.ErrStopping), errors.Is(err, store.ErrClosed), a.broken(ctx):
		return host.TurnRunning, err
	}
	failure := a.failure(p, err)
	status := host.TurnFailed
	if failure.Code == abi.CodeCancelled {
		status = host.TurnCancelled
	}
	return status, a.abort(ctx, q, p, status, failure)
}

// broken tells whether the journal accepts nothing more.
func (a *actor) broken(ctx context.Context) bool {
	err := a.log.Commit(ctx)
	return err != nil && !errors.Is(err, store.ErrFull)
}

func (a *actor) failure(p *passing, err error) *abi.Error {
	if errors.Is(err, host.ErrCancelled) {
		return &abi.Error{Code: abi.CodeCancelled, Message: "the turn was cancelled"}
	}
	late := !p.root.Expires.IsZero() && !a.svc.opt.Now().Before(p.root.Expires)
	if e, ok := errors.AsType[*abi.Error](err); ok && (!late || e.Code != abi.CodeDenied) { // what is late is denied
		return e
	}
	if late || errors.Is(err, context.DeadlineExceeded) {
		return &abi.Error{Code: abi.CodeTimeout, Message: "the task's time is up"}
	}
	return &abi.Error{Code: abi.CodeInternal, Message: "the agent failed: " + err.Error()}
}

func (a *actor) end(ctx context.Context, q *queued, p *passing, reply *abi.Reply) (host.TurnStatus, error) {
	used, calls := p.passage.Used()
	e := host.Ended{
		Task: q.accepted.Task, Status: host.TurnDone, Usage: used, Others: p.passage.Others(), Calls: calls, Fuel: p.fuel, Label: p.passage.Label(),
	}
	switch reply.Status {
	case abi.StatusWaiting:
		e.Status, e.Waiting = host.TurnWaiting, a.due(reply.Waiting)
	case abi.StatusFailed:
		e.Status, e.Error = host.TurnFailed, failureOf(reply)
	case abi.StatusDone:
	}
	payload, err := json.Marshal(reply)
	if err != nil {
		return host.TurnFailed, err
	}
	if err := a.close(ctx, q, host.EntryEnd, e, payload); err != nil {
		return e.Status, err
	}
	if !q.accepted.External {
		a.live.ran(host.Entry{Turn: q.turn, Seq: a.endSeq}, p.fuel)
		a.checkpoint(ctx)
	}
	return e.Status, nil
}

// failureOf is why a guest says that its turn failed.
func failureOf(reply *abi.Reply) *abi.Error {
	code := reply.Code
	if code == "" {
		code = abi.CodeInternal
	}
	return &abi.Error{Code: code, Message: strings.TrimPrefix(reply.Error, string(code)+": ")}
}

// due gives every timer that is waited for its moment.
func (a *actor) due(waits []abi.Wait) []abi.Wait {
	out := make([]abi.Wait, 0, len(waits))
	for _, w := range waits {
		if w.Type == abi.EventTimer && w.At.IsZero() {
			w.At = a.svc.opt.Now().Add(w.After).UTC()
		}
		w.After = 0
		out = append(out, w)
	}
	return out
}

func (a *actor) abort(ctx context.Context, q *queued, p *passing, status host.TurnStatus, failure *abi.Error) error {
	e := host.Ended{Task: q.accepted.Task, Status: status, Error: failure, Label: a.label}
	if p != nil {
		e.Usage, e.Calls = p.passage.Used()
		e.Others = p.passage.Others()
		e.Fuel = p.fuel
		e.Label = p.passage.Label()
	}
	return a.close(ctx, q, host.EntryAbort, e, nil)
}

// unprepared ends a turn that cannot begin for a reason of its own: a module that is
// gone, a record that cannot be read. Where the host stops or the journal failed, the
// turn waits for the next one.
func (a *actor) unprepared(ctx context.Context, q *queued, err error) error {
	if errors.Is(err, host.ErrStopping) || ctx.Err() != nil || a.broken(ctx) {
		return err
	}
	a.svc.opt.Log.ErrorContext(ctx, "turn not begun", "session", a.open.Session.ID, "turn", q.turn, "error", err)
	return a.fail(ctx, q, &abi.Error{Code: abi.CodeInternal, Message: "the turn could not begin; the host's log says why"})
}

// fail ends a turn that could not begin, or not begin again: what is recorded of it
// still counts.
func (a *actor) fail(ctx context.Context, q *queued, failure *abi.Error) error {
	status := host.TurnFailed
	if failure.Code == abi.CodeCancelled {
		status = host.TurnCancelled
	}
	if q.begun == nil {
		return a.abort(ctx, q, nil, status, failure)
	}
	passage, err := a.svc.opt.Door.Begin(PassageSpec{Session: a.open.Session.ID, Log: a.log, Past: q.begun.past, Label: q.begun.started.Label})
	if err != nil {
		return err
	}
	return a.abort(ctx, q, &passing{passage: passage}, status, failure)
}
