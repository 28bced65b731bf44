package app

import (
	"context"
	"io"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/gate"
	"github.com/vespiary/vespiary/host/internal/journal"
	"github.com/vespiary/vespiary/host/internal/session"
	"github.com/vespiary/vespiary/host/store"
)

// journals fits journal.Journals to session.Journals.
type journals struct{ *journal.Journals }

func (j journals) Create(ctx context.Context, o host.Open, ops ...store.Op) (session.Log, error) {
	return asLog(j.Journals.Create(ctx, o, ops...))
}

func (j journals) Acquire(ctx context.Context, tenant, id string) (session.Log, error) {
	return asLog(j.Journals.Acquire(ctx, tenant, id))
}

// asLog keeps a nil *journal.Log from becoming an interface that is not nil.
func asLog(l *journal.Log, err error) (session.Log, error) {
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Fork implements session.Journals.
func (j journals) Fork(ctx context.Context, o host.Open, ops ...store.Op) (session.Log, error) {
	return asLog(j.Journals.Fork(ctx, o, ops...))
}

// Import implements session.Journals.
func (j journals) Import(ctx context.Context, tenant string, r io.Reader, o session.ImportSpec) error {
	_, err := j.Journals.Import(ctx, tenant, r, journal.ImportOptions{
		Session: o.Session, Owner: o.Owner, Entry: o.Entry,
		Ops: func(s journal.Summary) ([]store.Op, error) { return o.Ops(s.Root) },
	})
	return err
}

// door fits gate.Gate to session.Door.
type door struct{ gate *gate.Gate }

// modes are the gate's names for what a session asks for.
var modes = map[session.Mode]gate.Mode{session.Live: gate.Live, session.Record: gate.Replay, session.Rehearse: gate.Dry}

// Begin implements session.Door.
func (d door) Begin(s session.PassageSpec) (session.Passage, error) {
	o := gate.TurnOptions{
		Mode: modes[s.Mode], Session: s.Session, Journal: s.Log,
		Past: s.Past, Payload: s.Payload, Budget: s.Budget, Label: s.Label,
		Tasks: s.Tasks, Words: s.Words,
		Patience: s.Patience, Life: s.Life, Unknown: s.Unknown, Lenient: s.Mode == session.Rehearse, Anew: s.Anew,
	}
	if s.Approvals != nil {
		o.Approvals = s.Approvals
	}
	if p, ok := s.From.(passage); ok {
		o.From = p.Turn
	}
	t, err := d.gate.Begin(o)
	if err != nil {
		return nil, err
	}
	return passage{t}, nil
}

type passage struct{ *gate.Turn }

// Guest implements session.Passage.
func (p passage) Guest(run *host.Run, begun time.Time) session.Guest {
	return p.Turn.Guest(run, begun)
}
