package session

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// A rehearsal runs a session's turns again beside the session: nothing is recorded, and no
// call is performed but, if another model is to answer, the calls to it. Without another
// module or model it is the replay that follows a crash, and must do what was done.

// Replay runs a session again and tells what is different.
func (s *Service) Replay(ctx context.Context, c host.Caller, session string, o host.ReplayOptions) (host.Replayed, error) {
	head, err := s.Get(ctx, c, session)
	if err != nil {
		return host.Replayed{}, err
	}
	r, err := s.rehearsal(ctx, c, head, o)
	if err != nil {
		return host.Replayed{}, err
	}
	defer func() { r.live.close() }()
	defer func() { s.spend(ctx, head, r.out.Usage) }()
	for e, err := range s.opt.Journals.Read(ctx, head.Tenant, head.ID, 1) {
		if err != nil {
			return r.out, err
		}
		if o.Until > 0 && e.Seq > o.Until {
			break
		}
		if err := r.add(ctx, e); err != nil {
			return r.out, err
		}
		if r.failed {
			break
		}
	}
	return r.out, nil
}

// rehearsal is a replay under way.
type rehearsal struct {
	svc    *Service
	head   host.Session
	agent  *host.Agent
	opt    host.ReplayOptions
	seed   []byte
	caller host.Caller
	live   *live
	hash   func([]byte) string
	out    host.Replayed
	turn   *recordedTurn
	origin origin
	failed bool // a turn ended without a reply: nothing can be said of those after it
}

func (s *Service) rehearsal(ctx context.Context, c host.Caller, head host.Session, o host.ReplayOptions) (*rehearsal, error) {
	open, err := s.opened(ctx, head)
	if err != nil {
		return nil, err
	}
	agent, ok := s.opt.Agents.Agent(head.Agent)
	if !ok {
		return nil, host.Errorf(host.ErrConflict, "replay session %s: its agent %s is no longer configured", head.ID, head.Agent)
	}
	from, err := s.origin(ctx, head, open.Session.Module)
	if err != nil {
		return nil, err
	}
	module := from.module
	if o.Module != "" {
		module = o.Module
	}
	if _, _, err := s.opt.Agents.Plugin(ctx, module); err != nil {
		return nil, host.Errorf(host.ErrNotFound, "replay session %s: the module %s cannot be read: %w", head.ID, module, err)
	}
	hash, err := s.opt.Journals.Hasher(ctx, head.Tenant, head.ID)
	if err != nil {
		return nil, err
	}
	return &rehearsal{
		svc: s, head: head, agent: agent, opt: o, seed: open.Seed, caller: c, hash: hash, origin: from,
		live: &live{stage: &stage{}, module: module},
		out:  host.Replayed{Session: head.ID, Module: module, Same: true, Turns: []host.ReplayedTurn{}},
	}, nil
}

// differs tells whether the replay may do other things than the record.
func (r *rehearsal) differs() bool { return r.opt.Module != "" || r.opt.Model != "" }

func (r *rehearsal) add(ctx context.Context, e host.Entry) error {
	switch e.Kind {
	case host.EntryStart:
		t := &recordedTurn{start: e}
		if err := json.Unmarshal(e.Body, &t.started); err != nil {
			return err
		}
		r.turn = t
	case host.EntryIntent, host.EntryResult, host.EntryUnknown:
		if r.turn != nil && e.Turn == r.turn.start.Turn {
			r.turn.past = append(r.turn.past, e)
		}
	case host.EntryAbort:
		r.turn = nil
	case host.EntryEnd:
		if r.turn == nil || e.Turn != r.turn.start.Turn {
			return nil
		}
		r.turn.end = e
		return r.run(ctx, *r.turn)
	case host.EntryMigrate:
		return r.migrated(ctx, e)
	default: // the others change nothing in a guest
	}
	return nil
}

// migrated goes over to another module where the session did, unless another one was
// asked for.
func (r *rehearsal) migrated(ctx context.Context, e host.Entry) error {
	if r.opt.Module != "" {
		return nil
	}
	a := &actor{svc: r.svc, open: host.Open{Seed: r.seed, Session: r.head}, head: r.head}
	b := builder{actor: a, live: r.live, origin: r.origin, memory: r.memory()}
	err := b.migrated(ctx, e)
	r.out.Module = r.live.module
	return err
}

func (r *rehearsal) memory() uint64 { return lesser(r.agent.Budget.Memory, r.agent.Turn.Memory) }

// run rehearses one turn.
func (r *rehearsal) run(ctx context.Context, t recordedTurn) error {
	report := host.ReplayedTurn{Turn: t.start.Turn}
	var ended host.Ended
	if err := json.Unmarshal(t.end.Body, &ended); err != nil {
		return err
	}
	report.WasFuel = ended.Fuel
	p := &passing{begun: begun{entry: t.start, started: t.started}, seed: r.seed, account: &account{limit: rehearsalFuel}, memory: r.memory()}
	log := newScratch(t.end, r.hash)
	calls, err := r.perform(ctx, t, p, log, &report)
	if err != nil {
		return err
	}
	if err := r.compare(ctx, t, calls, &report); err != nil {
		return err
	}
	r.out.Usage = r.out.Usage.Plus(log.asked)
	r.failed = report.Error != ""
	r.out.Turns, r.out.Same = append(r.out.Turns, report), r.out.Same && report.Same
	return nil
}

// rehearsalFuel bounds a guest that does something else than what is on record.
const rehearsalFuel = 100_000_000_000

// perform has the guest handle the turn's event and notes what it called and replied.
func (r *rehearsal) perform(ctx context.Context, t recordedTurn, p *passing, log *scratch, report *host.ReplayedTurn) (*witness, error) {
	s := r.svc
	spec := PassageSpec{
		Mode: Record, Session: r.head.ID, Log: log, Past: t.past, Label: t.started.Label,
		Tasks: assumed{host.Task{User: r.caller.User, Agent: r.head.Agent}},
		Payload: func(ctx context.Context, e host.Entry) ([]byte, error) {
			return s.opt.Journals.Payload(ctx, r.head.Tenant, e)
		},
	}
	if r.differs() {
		spec.Mode, spec.Budget = Rehearse, r.agent.Budget
	}
	if r.opt.Model != "" {
		spec.Anew = []string{abi.CallModelChat}
	}
	event, err := s.opt.Journals.Payload(ctx, r.head.Tenant, t.start)
	if err != nil {
		return nil, err
	}
	if p.passage, err = s.opt.Door.Begin(spec); err != nil {
		return nil, err
	}
	q := &queued{turn: t.start.Turn, accepted: host.Accepted{Task: t.started.Task, Caller: r.caller}}
	head := r.head
	head.Module = r.live.module
	if p.root, err = s.rootRun(ctx, head, r.agent, q); err != nil {
		return nil, err
	}
	p.guest = p.passage.Guest(p.root, t.start.Time)
	defer p.guest.Drain()
	a := &actor{svc: s, open: host.Open{Session: head, Seed: r.seed}, head: head, waits: map[string][]abi.Wait{}}
	ctx, cancel := context.WithCancel(withTurn(ctx, &turnState{actor: a, passing: p}))
	defer cancel()
	w := &witness{Calls: within{p.guest, ctx}, root: p.root.Path, model: r.opt.Model}
	on := stage{calls: w, random: randomOf(r.seed, p.root.Path), fuel: p.account, log: func(slog.Level, string) {}}
	out, fuel, err := r.live.call(ctx, s.opt.Runner, on, p.memory, "handle", event)
	report.Fuel = fuel
	r.live.ran(t.end, fuel)
	return w, r.finish(ctx, p, out, err, report)
}

// finish notes how the guest ended: a replay that fails is a finding, not a failure.
func (r *rehearsal) finish(ctx context.Context, p *passing, out []byte, err error, report *host.ReplayedTurn) error {
	if err == nil {
		err = p.guest.Finish(ctx)
	}
	if err == nil && !r.differs() {
		err = errors.Join(p.guest.Reply(ctx, out), p.passage.Finish())
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		report.Error = err.Error()
		return nil
	}
	report.Is = new(abi.Reply)
	return json.Unmarshal(out, report.Is)
}

// scratch is a log that keeps nothing.
type scratch struct {
	mu    sync.Mutex
	seq   uint64
	time  time.Time
	hash  func([]byte) string
	asked abi.Usage // of what was performed
}

func newScratch(after host.Entry, hash func([]byte) string) *scratch {
	return &scratch{seq: after.Seq, time: after.Time, hash: hash}
}

// Append implements Recorder.
func (l *scratch) Append(_ context.Context, e host.Entry, body any, _ []byte, _ ...store.Op) (host.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq++
	l.time = l.time.Add(time.Microsecond)
	e.Seq, e.Time = l.seq, l.time
	if o, ok := body.(host.Outcome); ok {
		l.asked = l.asked.Plus(o.Usage)
	}
	return e, nil
}

// Commit, Flush, Waiting, Hash and Epoch implement Recorder.
func (l *scratch) Commit(context.Context) error { return nil }
func (l *scratch) Flush()                       {}
func (l *scratch) Waiting() int                 { return 0 }
func (l *scratch) Hash(request []byte) string   { return l.hash(request) }
func (l *scratch) Epoch() uint32                { return 0 }
