package app

import (
	"context"
	"errors"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/gate"
	"github.com/vespiary/vespiary/host/internal/journal"
	"github.com/vespiary/vespiary/host/internal/runtime"
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

// door fits gate.Gate to session.Door.
type door struct{ gate *gate.Gate }

func (d door) Begin(s session.PassageSpec) (session.Passage, error) {
	t, err := d.gate.Begin(gate.TurnOptions{
		Mode: gate.Live, Session: s.Session, Journal: s.Log,
		Past: s.Past, Payload: s.Payload, Budget: s.Budget, Label: s.Label,
	})
	if err != nil {
		return nil, err
	}
	return passage{t}, nil
}

type passage struct{ *gate.Turn }

func (p passage) Guest(run *host.Run, begun time.Time) session.Guest {
	return p.Turn.Guest(run, begun)
}

// runner fits the engines to session.Runner. An instance serves one call: what a
// guest keeps, it keeps in its session's memory.
type runner struct{ engines *engines }

func (r runner) Run(ctx context.Context, a session.Activation, export string, input []byte) ([]byte, error) {
	module, release, err := r.engines.Acquire(ctx, a.Module)
	if err != nil {
		return nil, err
	}
	defer release()
	guest, err := module.Instantiate(ctx, runtime.Config{
		Host: a.Guest, Clock: a.Guest.Clock, Sleep: a.Guest.Sleep, Random: a.Random, Log: a.Log,
	})
	if err != nil {
		return nil, err
	}
	out, err := guest.Call(ctx, export, input)
	return out, errors.Join(err, guest.Close(context.WithoutCancel(ctx)))
}
