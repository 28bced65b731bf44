package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// A session's guest is one long-lived instance: what it keeps in its memory is there at
// the next event. Its state is a function of the journal: the image of some turn, and the
// turns since run again with what is on record. So an image is only a shortcut, and a
// turn that was aborted leaves nothing behind in the guest.

// live is a guest between or in turns.
type live struct {
	stage  *stage
	inst   Instance
	module string
	after  int    // the last turn whose work its state holds
	seq    uint64 // of that turn's end
	saved  int    // the turn of the newest snapshot
	turns  int    // run since then
	burned int64  // fuel used since then
}

// stage is the world of an instance, which changes with every turn.
type stage struct {
	calls  Calls
	random io.Reader
	fuel   Fuel
	log    func(slog.Level, string)
}

func (s *stage) Call(ctx context.Context, name string, request []byte) ([]byte, error) {
	return s.calls.Call(ctx, name, request)
}
func (s *stage) Clock() time.Time                           { return s.calls.Clock() }
func (s *stage) Sleep(ctx context.Context, d time.Duration) { s.calls.Sleep(ctx, d) }
func (s *stage) Read(b []byte) (int, error)                 { return s.random.Read(b) }
func (s *stage) Draw(used int64) (int64, error)             { return s.fuel.Draw(used) }
func (s *stage) line(level slog.Level, message string)      { s.log(level, message) }

// call runs an export of the guest on a stage, making the instance if need be.
func (l *live) call(ctx context.Context, r Runner, on stage, memory uint64, export string, input []byte) (out []byte, fuel int64, err error) {
	*l.stage = on
	if err := l.ensure(ctx, r, nil, memory); err != nil {
		return nil, 0, err
	}
	before := l.inst.Fuel()
	if l.fresh() {
		before = 0 // what making it used belongs to the turn that it was made in
	}
	out, err = l.inst.Call(ctx, export, input)
	return out, l.inst.Fuel() - before, err
}

// fresh tells whether the instance has run no turn yet.
func (l *live) fresh() bool { return l.after == 0 }

// ensure makes the instance, from an image or fresh.
func (l *live) ensure(ctx context.Context, r Runner, image *host.Image, memory uint64) error {
	if l.inst != nil {
		return nil
	}
	var err error
	l.inst, err = r.Start(ctx, World{
		Module: l.module, Calls: l.stage, Random: l.stage, Fuel: l.stage, Log: l.stage.line, Memory: memory, Image: image,
	})
	return err
}

func (l *live) close() {
	if l != nil && l.inst != nil {
		l.inst.Close()
	}
}

// drop gives the guest up; the next turn makes it again.
func (a *actor) drop() {
	a.live.close()
	a.live = nil
}

// guest returns the session's guest as the turns before this one left it.
func (a *actor) guest(ctx context.Context, turn int, seq uint64, memory uint64) (*live, error) {
	if a.live != nil {
		return a.live, nil
	}
	from, err := a.svc.origin(ctx, a.now(), a.open.Session.Module)
	if err != nil {
		return nil, err
	}
	l, err := a.restored(ctx, from, seq-1, memory)
	if err != nil {
		return nil, err
	}
	b := builder{actor: a, live: l, memory: memory, origin: from}
	if err := b.upTo(ctx, turn); err != nil {
		l.close()
		return nil, err
	}
	a.live = l
	return l, nil
}

// restored makes the guest of the newest snapshot, one without an instance where there is
// none that can be used.
func (a *actor) restored(ctx context.Context, from origin, upTo, memory uint64) (*live, error) {
	l := &live{stage: &stage{log: func(slog.Level, string) {}, fuel: &account{}}, module: from.module}
	t, err := a.svc.snapshot(ctx, a.now(), upTo)
	if err != nil {
		a.damaged = true
		a.svc.opt.Log.WarnContext(ctx, "a snapshot cannot be read; its turns are replayed", "session", a.open.Session.ID, "error", err)
		return l, nil
	}
	if t == nil || t.Seq < from.seq { // or it is of before an upgrade by replay
		return l, nil
	}
	l.module = t.Module
	l.stage.random, l.stage.calls = randomOf(a.open.Seed, "image"), nowhere{}
	err = l.ensure(ctx, a.svc.opt.Runner, &t.Image, memory)
	if errors.Is(err, ErrImage) || errors.Is(err, ErrNoImage) {
		l.module = from.module
		return l, nil
	}
	l.after, l.seq, l.saved = t.Turn, t.Seq, t.Turn
	return l, err
}

// nowhere is the world of a guest that is being restored: nothing of it runs.
type nowhere struct{}

func (nowhere) Call(context.Context, string, []byte) ([]byte, error) {
	return nil, errors.New("session: a guest made a call while it was restored")
}
func (nowhere) Clock() time.Time                     { return time.Unix(0, 0) }
func (nowhere) Sleep(context.Context, time.Duration) {}

// builder runs the turns on record that a guest has not seen.
type builder struct {
	actor  *actor
	live   *live
	memory uint64
	origin origin

	start   *host.Entry
	started host.Started
	past    []host.Entry
}

// upTo runs all turns before the given one, and the upgrades after them.
func (b *builder) upTo(ctx context.Context, turn int) error {
	a := b.actor
	if b.live.after+1 >= turn && a.now().Upgraded == 0 {
		return nil
	}
	from, err := a.svc.place(ctx, a.now(), b.live.after+1)
	if err != nil {
		return err
	}
	if b.live.seq > 0 { // an upgrade may come before the next turn's event
		from = min(from, b.live.seq+1)
	}
	for e, err := range a.svc.opt.Journals.Read(ctx, a.open.Session.Tenant, a.open.Session.ID, from) {
		if err != nil {
			return err
		}
		if e.Turn >= turn && e.Kind == host.EntryStart {
			return nil
		}
		if err := b.add(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) add(ctx context.Context, e host.Entry) error {
	switch e.Kind {
	case host.EntryStart:
		b.start, b.past = nil, nil
		if e.Turn > b.live.after {
			b.start = &e
			return json.Unmarshal(e.Body, &b.started)
		}
	case host.EntryIntent, host.EntryResult, host.EntryUnknown:
		if b.start != nil && e.Turn == b.start.Turn {
			b.past = append(b.past, e)
		}
	case host.EntryAbort:
		b.start, b.past = nil, nil
	case host.EntryEnd:
		if b.start != nil && e.Turn == b.start.Turn {
			return b.run(ctx, e)
		}
	case host.EntryMigrate:
		return b.migrated(ctx, e)
	default: // the others change nothing in a guest
	}
	return nil
}

// run makes the guest do a turn again that has ended.
func (b *builder) run(ctx context.Context, end host.Entry) error {
	a := b.actor
	t := recordedTurn{start: *b.start, started: b.started, past: b.past, end: end}
	passage, guest, err := a.again(t)
	if err != nil {
		return err
	}
	event, err := a.payload(ctx, t.start)
	if err != nil {
		return err
	}
	on := stage{calls: guest, random: randomOf(a.open.Seed, strconv.Itoa(end.Turn)), fuel: &account{}, log: func(slog.Level, string) {}}
	out, fuel, err := b.live.call(ctx, a.svc.opt.Runner, on, b.memory, "handle", event)
	guest.Drain()
	if err == nil {
		err = a.sameEnd(ctx, t, passage, guest, out)
	}
	if errors.Is(err, host.ErrJournalEnds) {
		err = fmt.Errorf("%w: it made a call that is not on record", host.ErrDiverged)
	}
	if err != nil {
		return fmt.Errorf("turn %d again: %w", end.Turn, causeOf(ctx, err))
	}
	b.live.ran(end, fuel)
	b.start, b.past = nil, nil
	return nil
}

// ran notes a turn that the guest has done.
func (l *live) ran(end host.Entry, fuel int64) {
	l.after, l.seq = end.Turn, end.Seq
	l.turns++
	l.burned += fuel
}

// recordedTurn is a turn that has ended, as the journal has it.
type recordedTurn struct {
	start   host.Entry
	started host.Started
	past    []host.Entry
	end     host.Entry
}

// again begins a passage that answers from the record and nothing else.
func (a *actor) again(t recordedTurn) (Passage, Guest, error) {
	passage, err := a.svc.opt.Door.Begin(PassageSpec{
		Mode: Record, Session: a.open.Session.ID, Log: a.log, Past: t.past, Label: t.started.Label, Payload: a.payload,
	})
	if err != nil {
		return nil, nil, err
	}
	run := &host.Run{
		Session: a.open.Session.ID, Task: t.started.Task, Tenant: a.open.Session.Tenant, Owner: a.open.Session.Owner,
		Agent: &host.Agent{Name: a.open.Session.Agent}, Module: t.started.Module, Turn: t.start.Turn, Path: strconv.Itoa(t.start.Turn),
	}
	return passage, passage.Guest(run, t.start.Time), nil
}

// sameEnd checks that a turn that was run again ended as it did before.
func (a *actor) sameEnd(ctx context.Context, t recordedTurn, p Passage, g Guest, out []byte) error {
	if err := g.Finish(ctx); err != nil {
		return err
	}
	if err := g.Reply(ctx, out); err != nil {
		return err
	}
	if err := p.Finish(); err != nil {
		return err
	}
	was, err := a.payload(ctx, t.end)
	if err != nil {
		return err
	}
	if is, err := canonicalReply(out); err != nil || string(is) != string(was) {
		return fmt.Errorf("%w: its reply is not the recorded one", host.ErrDiverged)
	}
	return nil
}

// canonicalReply is a reply in the form in which it is recorded.
func canonicalReply(out []byte) ([]byte, error) {
	var reply abi.Reply
	if err := json.Unmarshal(out, &reply); err != nil {
		return nil, err
	}
	return json.Marshal(reply)
}

func (a *actor) payload(ctx context.Context, e host.Entry) ([]byte, error) {
	return a.svc.opt.Journals.Payload(ctx, a.open.Session.Tenant, e)
}
