package session

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// Invoke accepts an event: when it returns, the event is durable and its turn will
// run, whatever becomes of the host or of the caller's connection.
func (s *Service) Invoke(ctx context.Context, in host.Invocation) (host.Turn, error) {
	if in.IdempotencyKey == "" {
		return s.accept(ctx, in, nil)
	}
	id := idemKey(in)
	defer s.idem.lock(string(id))()
	earlier, err := s.earlier(ctx, id, in)
	if err != nil || earlier != nil {
		return deref(earlier), err
	}
	return s.accept(ctx, in, id)
}

func deref(t *host.Turn) host.Turn {
	if t == nil {
		return host.Turn{}
	}
	return *t
}

// promise is what an idempotency key stands for.
type promise struct {
	Body    string    `json:"body"` // digest of the request
	Session string    `json:"session"`
	Turn    int       `json:"turn"`
	Time    time.Time `json:"time"`
	// Budget is what an agent that is called has of its caller's.
	Budget host.Budget `json:"budget,omitzero"`
}

func idemKey(in host.Invocation) []byte {
	sum := sha256.Sum256([]byte(in.IdempotencyKey)) // keys are the client's: of any length
	return []byte(idemPrefix + in.Caller.Tenant + "/" + in.Caller.User + "/" + hex.EncodeToString(sum[:]))
}

func digestOf(in host.Invocation) string {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(in.Agent), {0}, []byte(in.Session), {0}, in.Body} {
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// earlier returns the turn that the key was used for before, nil for none.
func (s *Service) earlier(ctx context.Context, id []byte, in host.Invocation) (*host.Turn, error) {
	p, err := s.promised(ctx, id)
	if err != nil || p == nil {
		return nil, err
	}
	if p.Body != digestOf(in) {
		return nil, host.Errorf(host.ErrConflict, "invoke %s: this Idempotency-Key was used for another request; use a new key", in.Agent)
	}
	t, err := s.Turn(ctx, in.Caller, p.Session, p.Turn)
	if host.CodeOf(err) == host.ErrNotFound { // the session was removed since
		return nil, nil //nolint:nilnil // as above
	}
	return &t, err
}

// promised returns what a key stands for, nil for nothing.
func (s *Service) promised(ctx context.Context, key []byte) (*promise, error) {
	p := &promise{}
	err := s.opt.Store.View(ctx, func(tx store.Tx) error {
		item, err := tx.Get(key)
		if err != nil {
			return err
		}
		return json.Unmarshal(item.Value, p)
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil //nolint:nilnil // a key that was not used is not an error
	}
	return p, err
}

// accept makes the event durable in its session.
func (s *Service) accept(ctx context.Context, in host.Invocation, idem []byte) (host.Turn, error) {
	agent, ok := s.opt.Agents.Agent(in.Agent)
	if !ok {
		return host.Turn{}, host.Errorf(host.ErrNotFound, "invoke %s: no agent of the configuration has this name", in.Agent)
	}
	if (agent.Module == host.ModuleExternal) != in.External {
		return host.Turn{}, host.Errorf(host.ErrInvalid, "invoke %s: it is a program elsewhere, which nobody can invoke; open a task for it", in.Agent)
	}
	if err := s.admit(); err != nil {
		return host.Turn{}, err
	}
	a, err := s.target(ctx, in, agent)
	if err != nil {
		return host.Turn{}, full(in.Agent, err)
	}
	defer a.release()
	t, err := a.accept(ctx, in, agent, idem)
	return t, full(in.Agent, err)
}

// full tells a caller what a store without space means.
func full(agent string, err error) error {
	if errors.Is(err, store.ErrFull) {
		return host.Errorf(host.ErrFull, "invoke %s: the data folder's disk is full; free space and try again: %w", agent, err)
	}
	return err
}

// admit refuses what would go beyond the host's limits.
func (s *Service) admit() error {
	if n := s.opt.Limits.Sessions; n > 0 && s.busy() >= n {
		return host.Errorf(host.ErrTooMany, "%d sessions are busy, the limit of this host; try again soon", n)
	}
	if limit := s.opt.Limits.Memory; limit > 0 && s.opt.Memory != nil && s.opt.Memory() >= limit {
		return host.Errorf(host.ErrTooMany, "the guests of this host use all of their %d bytes of memory; try again soon, or raise limits.memory", limit)
	}
	if day := s.opt.Limits.MicrosPerDay; day > 0 && s.spent.today(s.opt.Now()) >= day {
		return host.Errorf(host.ErrTooMany, "this host's budget for today is used up; raise limits.usd_per_day or wait until tomorrow (UTC)")
	}
	return nil
}

// target returns the actor of the session that the event is for, a new one for none.
func (s *Service) target(ctx context.Context, in host.Invocation, agent *host.Agent) (*actor, error) {
	if in.Session == "" {
		return s.create(ctx, in, agent)
	}
	head, err := s.Get(ctx, in.Caller, in.Session)
	if err != nil {
		return nil, err
	}
	switch {
	case head.Agent != agent.Name:
		return nil, host.Errorf(host.ErrConflict, "invoke %s: session %s belongs to agent %s", agent.Name, in.Session, head.Agent)
	case head.Status == host.SessionParked:
		return nil, host.Errorf(host.ErrConflict, "invoke %s: session %s is parked: %s", agent.Name, in.Session, head.Reason)
	case head.Status == host.SessionErased:
		return nil, host.Errorf(host.ErrConflict, "invoke %s: session %s was erased; open a new one", agent.Name, in.Session)
	case agent.MaxAge > 0 && s.opt.Now().Sub(head.Created) >= agent.MaxAge:
		return nil, host.Errorf(host.ErrConflict, "invoke %s: session %s has reached its maximum age of %s; open a new one", agent.Name, in.Session, agent.MaxAge)
	}
	return s.actor(ctx, head.Tenant, head.ID)
}

func (s *Service) create(ctx context.Context, in host.Invocation, agent *host.Agent) (*actor, error) {
	now := s.opt.Now().UTC()
	seed := make([]byte, 32)
	_, _ = rand.Read(seed) // never fails
	open := host.Open{
		ABI: abi.Version, Arch: runtime.GOARCH, Seed: seed,
		Session: host.Session{
			ID: newID(now), Tenant: in.Caller.Tenant, Owner: in.Caller.User, Agent: agent.Name, Module: agent.Module,
			Status: host.SessionIdle, Created: now, Updated: now,
		},
	}
	if len(in.For) > 0 { // it belongs to whom its caller's belongs to, whoever uses that
		by, err := s.head(ctx, in.Caller.Tenant, in.For[0].Session)
		if err != nil {
			return nil, err
		}
		open.Session.By, open.Session.Owner = by.ID, by.Owner
	}
	log, err := s.opt.Journals.Create(ctx, open)
	if err != nil {
		return nil, err
	}
	a := newActor(s, log, open)
	return a, s.begin(a)
}

// accept queues the event of an invocation.
func (a *actor) accept(ctx context.Context, in host.Invocation, agent *host.Agent, idem []byte) (host.Turn, error) {
	event, err := json.Marshal(in.Event)
	if err != nil {
		return host.Turn{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	t, err := a.newTask(in, agent, a.head.Turns+1)
	if err != nil {
		return host.Turn{}, err
	}
	if err := a.welcomes(in, agent); err != nil {
		return host.Turn{}, err
	}
	accepted := acceptedOf(in, t)
	accepted.Trace = a.svc.opt.Observer.Trace(ctx)
	q := &queued{turn: a.head.Turns + 1, accepted: accepted, event: &in.Event}
	head := a.head
	head.Turns, head.Updated = q.turn, a.svc.opt.Now().UTC()
	if head.Status != host.SessionSuspended {
		head.Status, head.Waiting = host.SessionRunning, nil
	} else if wanted(head.Waiting, &in.Event) { // another event waits behind the turn
		roused(&head)
	}
	ops, err := acceptOps(in, head, t, idem)
	if err != nil {
		return host.Turn{}, err
	}
	token := ""
	if in.Issue != nil {
		token = in.Issue(t)
	}
	opened, err := a.svc.opt.Tasks.Open(t, token)
	if err != nil {
		return host.Turn{}, err
	}
	err = a.svc.note(ctx, a.svc.taskRecord(t, host.TaskActive, &in.Caller), func(record ...store.Op) (err error) {
		all := slices.Concat(ops, opened, record)
		q.entry, err = a.log.AppendNow(ctx, host.Entry{Kind: host.EntryAccepted, Turn: q.turn}, accepted, event, all...)
		return err
	})
	if err != nil {
		return host.Turn{}, err
	}
	if a.head = head; head.Status == host.SessionRunning {
		a.dormant = nil
	}
	a.queue = append(a.queue, q)
	a.busy.Store(true)
	a.poke()
	return host.Turn{Session: head.ID, Number: q.turn, Task: accepted.Task, Agent: head.Agent, Status: host.TurnQueued, Created: true}, nil
}

// welcomes tells why the session takes no event, or not this one. The caller holds mu.
func (a *actor) welcomes(in host.Invocation, agent *host.Agent) error {
	switch n := a.svc.opt.Limits.Queue; {
	case a.head.Status == host.SessionParked:
		return host.Errorf(host.ErrConflict, "invoke %s: session %s is parked: %s", agent.Name, a.head.ID, a.head.Reason)
	case a.head.Status == host.SessionErased:
		return host.Errorf(host.ErrConflict, "invoke %s: session %s was erased; open a new one", agent.Name, a.head.ID)
	case n > 0 && len(a.queue) >= n:
		return host.Errorf(host.ErrTooMany, "session %s has %d events queued, the limit; wait for its turns", a.head.ID, n)
	case in.Awaited && !a.awaits(&in.Event):
		return host.Errorf(host.ErrForbidden, "signal session %s: nothing waits for %q now, and to begin a turn with it you need to be permitted invokeAgent and continueSession", a.head.ID, in.Event.Name)
	}
	return nil
}

// acceptedOf is what the journal says of an event whose task is t.
func acceptedOf(in host.Invocation, t host.Task) host.Accepted {
	out := host.Accepted{
		Task: t.ID, Caller: in.Caller, Budget: t.Budget, Grants: t.Grants, Recorded: true, Chain: in.For, Label: in.Label, External: in.External,
	}
	if !t.Expires.IsZero() {
		out.Expires = t.Expires.UnixNano()
	}
	return out
}

// expiry is when a task that begins now and may take a time ends at the latest, in Unix
// nanoseconds; 0: never.
func (a *actor) expiry(agent *host.Agent, within time.Duration) int64 {
	var by int64
	if within > 0 {
		by = a.svc.opt.Now().Add(within).UnixNano()
	}
	if agent.MaxAge > 0 {
		by = lesser(by, a.open.Session.Created.Add(agent.MaxAge).UnixNano())
	}
	return by
}

func acceptOps(in host.Invocation, head host.Session, t host.Task, idem []byte) ([]store.Op, error) {
	op, err := headOp(head)
	if err != nil {
		return nil, err
	}
	ops := []store.Op{op}
	if idem != nil {
		p := promise{Body: digestOf(in), Session: head.ID, Turn: head.Turns, Time: head.Updated}
		if len(in.For) > 0 {
			p.Budget = t.Budget
		}
		b, err := json.Marshal(p)
		if err != nil {
			return nil, err
		}
		ops = append(ops, store.Op{Key: idem, Value: b})
	}
	return ops, nil
}
