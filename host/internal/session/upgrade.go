package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// An upgrade gives a session another module between two turns. By replay, the new module
// runs all that is on record and must do what the old one did. By migration, it takes over
// what the old one saved. Either way the session is changed only when that went well.

// origin is what a session's first turns are run with when no image is there: the module
// that it was opened with, or that of the last upgrade by replay, which holds the upgrades
// up to the entry seq.
type origin struct {
	module string
	seq    uint64
}

func (s *Service) origin(ctx context.Context, head host.Session, opened string) (origin, error) {
	o := origin{module: opened}
	if head.Upgraded == 0 {
		return o, nil
	}
	for e, err := range s.opt.Journals.Read(ctx, head.Tenant, head.ID, 1) {
		if err != nil {
			return o, err
		}
		var m host.Migrated
		if e.Kind == host.EntryMigrate && json.Unmarshal(e.Body, &m) == nil && m.Mode == host.UpgradeReplay {
			o = origin{module: m.To, seq: e.Seq}
		}
	}
	return o, nil
}

// Upgrade moves a session over to another module. After a failure it is as it was.
func (s *Service) Upgrade(ctx context.Context, c host.Caller, session string, o host.UpgradeOptions) (host.Upgraded, error) {
	var out host.Upgraded
	_, err := s.onActor(ctx, c, session, "upgrade", func(ctx context.Context, a *actor) error {
		u, err := a.upgradeTo(ctx, o)
		if err != nil {
			return err
		}
		out, err = u.run(ctx, c)
		return err
	})
	return out, err
}

// upgrade is one on its way.
type upgrade struct {
	actor *actor
	agent *host.Agent
	head  host.Session
	from  string
	to    string
	mode  string
}

func (a *actor) upgradeTo(ctx context.Context, o host.UpgradeOptions) (*upgrade, error) {
	agent, ok := a.svc.opt.Agents.Agent(a.open.Session.Agent)
	if !ok {
		return nil, host.Errorf(host.ErrConflict, "upgrade session %s: its agent %s is no longer configured", a.open.Session.ID, a.open.Session.Agent)
	}
	head := a.now()
	u := &upgrade{actor: a, agent: agent, head: head, from: head.Module, to: o.Module, mode: o.Mode}
	if u.to == "" {
		u.to = agent.Module
	}
	switch {
	case u.to != agent.Module: // an agent's permissions are for the module that its configuration names
		return nil, host.Errorf(host.ErrForbidden, "upgrade session %s: agent %s runs %s, not %s; configure the agent with that module first", a.open.Session.ID, agent.Name, agent.Module, u.to)
	case u.to == u.from:
		return nil, host.Errorf(host.ErrConflict, "upgrade session %s: it runs %s already", a.open.Session.ID, u.from)
	case head.Status == host.SessionSuspended, head.Status == host.SessionRunning && a.began():
		return nil, host.Errorf(host.ErrConflict, "upgrade session %s: turn %d waits in the middle; wait for it or cancel it first", head.ID, head.Ended+1)
	case u.mode != "" && u.mode != host.UpgradeMigrate && u.mode != host.UpgradeReplay:
		return nil, host.Errorf(host.ErrInvalid, "upgrade session %s: the mode is %s or %s, not %q", a.open.Session.ID, host.UpgradeMigrate, host.UpgradeReplay, u.mode)
	}
	if _, _, err := a.svc.opt.Agents.Plugin(ctx, u.to); err != nil {
		return nil, host.Errorf(host.ErrNotFound, "upgrade session %s: the module %s cannot be read; install it first: %w", a.open.Session.ID, u.to, err)
	}
	return u, nil
}

// began tells whether the next turn is one that another host left in the middle.
func (a *actor) began() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.queue) > 0 && a.queue[0].begun != nil
}

// run makes the new guest, and records the upgrade when it is there.
func (u *upgrade) run(ctx context.Context, by host.Caller) (host.Upgraded, error) {
	a := u.actor
	next, err := u.next(ctx)
	if err != nil {
		return host.Upgraded{}, host.Errorf(host.ErrConflict, "upgrade session %s to %s: %w; it stays with %s", a.open.Session.ID, u.to, err, u.from)
	}
	e, err := u.record(ctx, by)
	if err != nil {
		next.close()
		return host.Upgraded{}, err
	}
	a.live.close()
	a.live = next
	next.saved, next.turns = 0, max(next.turns, 1)
	if next.inst != nil && next.after > 0 {
		next.seq = e.Seq // the image holds the upgrade
		a.save(ctx)
	}
	return host.Upgraded{Session: a.open.Session.ID, From: u.from, To: u.to, Mode: u.mode, Seq: e.Seq, Time: e.Time}, nil
}

// next makes the new guest in the way that was asked for, or that its module offers.
func (u *upgrade) next(ctx context.Context) (*live, error) {
	a := u.actor
	probe := &live{stage: &stage{}, module: u.to}
	if u.mode != host.UpgradeReplay {
		if err := u.blank(ctx, probe); err != nil {
			return nil, err
		}
	}
	if u.mode == "" {
		u.mode = host.UpgradeReplay
		if probe.inst.Exports(exportMigrate) {
			u.mode = host.UpgradeMigrate
		}
	}
	if u.mode == host.UpgradeReplay {
		probe.close()
		l := &live{stage: &stage{}, module: u.to}
		b := builder{actor: a, live: l, memory: u.memory(), origin: origin{seq: maxSeq}}
		if err := b.upTo(ctx, u.head.Ended+1); err != nil {
			l.close()
			return nil, err
		}
		return l, nil
	}
	old, err := a.guest(ctx, u.head.Ended+1, maxSeq, u.memory())
	if err == nil {
		err = a.migrate(ctx, old, probe)
	}
	if err != nil {
		probe.close()
		a.drop() // saving may have left something in the old guest
		return nil, err
	}
	return probe, nil
}

const maxSeq = 1<<64 - 1

func (u *upgrade) memory() uint64 { return lesser(u.agent.Budget.Memory, u.agent.Turn.Memory) }

// blank makes a guest of the new module outside of any turn.
func (u *upgrade) blank(ctx context.Context, l *live) error {
	*l.stage = aside(u.actor.open.Seed)
	return l.ensure(ctx, u.actor.svc.opt.Runner, nil, u.memory())
}

// aside is the stage of what a guest does between two turns: it sees no world.
func aside(seed []byte) stage {
	return stage{calls: nowhere{}, random: randomOf(seed, "migrate"), fuel: &account{limit: migrateFuel}, log: func(slog.Level, string) {}}
}

// The exports that take a guest's state over into another module: the old one's save
// returns it, and the new one's migrate takes an abi.Migration.
const (
	exportSave    = "save"
	exportMigrate = "migrate"
	migrateFuel   = 1_000_000_000
)

var errNoMigrate = errors.New("the new module has no function migrate; upgrade by replay")

// migrate has the new guest take over from the old one.
func (a *actor) migrate(ctx context.Context, old, next *live) error {
	if !next.inst.Exports(exportMigrate) {
		return errNoMigrate
	}
	m := abi.Migration{From: old.module, Turn: old.after}
	if old.inst != nil && old.inst.Exports(exportSave) {
		*old.stage = aside(a.open.Seed)
		state, err := old.inst.Call(ctx, exportSave, nil)
		if err != nil {
			return fmt.Errorf("the old module could not save its state: %w", err)
		}
		if !json.Valid(state) {
			return errors.New("what the old module saved is not JSON")
		}
		m.State = state
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if _, err := next.inst.Call(ctx, exportMigrate, b); err != nil {
		return fmt.Errorf("the new module could not take over: %w", err)
	}
	next.after, next.seq = old.after, old.seq
	return nil
}

// record writes the upgrade with the session's new head.
func (u *upgrade) record(ctx context.Context, by host.Caller) (host.Entry, error) {
	a := u.actor
	a.mu.Lock()
	defer a.mu.Unlock()
	head := a.head
	head.Module, head.Updated = u.to, a.svc.opt.Now().UTC()
	head.Upgraded++
	op, err := headOp(head)
	if err != nil {
		return host.Entry{}, err
	}
	body := host.Migrated{From: u.from, To: u.to, Mode: u.mode, By: by}
	e, err := a.log.AppendNow(ctx, host.Entry{Kind: host.EntryMigrate, Turn: head.Ended}, body, nil, []store.Op{op}...)
	if err == nil {
		a.head = head
	}
	return e, full("the session", err)
}

// migrated does again what an upgrade did whose guest was not stored.
func (b *builder) migrated(ctx context.Context, e host.Entry) error {
	var m host.Migrated
	if err := json.Unmarshal(e.Body, &m); err != nil {
		return err
	}
	if m.Mode != host.UpgradeMigrate || e.Seq <= max(b.origin.seq, b.live.seq) {
		return nil // the origin holds it, or the image
	}
	next := &live{stage: &stage{}, module: m.To}
	*next.stage = aside(b.actor.open.Seed)
	if err := next.ensure(ctx, b.actor.svc.opt.Runner, nil, b.memory); err != nil {
		return err
	}
	if err := b.actor.migrate(ctx, b.live, next); err != nil {
		next.close()
		return fmt.Errorf("%w: the upgrade at entry %d: %w", host.ErrDiverged, e.Seq, err)
	}
	old := *b.live
	*b.live = *next
	b.live.seq = e.Seq
	old.close()
	return nil
}
