package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/runtime"
	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
	"github.com/vespiary/vespiary/host/internal/session"
)

// runner fits the engines to session.Runner.
type runner struct{ engines *engines }

// Start implements session.Runner.
func (r runner) Start(ctx context.Context, w session.World) (session.Instance, error) {
	module, release, err := r.engines.Acquire(ctx, w.Module)
	if err != nil {
		return nil, err
	}
	c := runtime.Config{
		Host: w.Calls, Clock: w.Calls.Clock, Sleep: w.Calls.Sleep, Random: w.Random, Log: w.Log, Memory: w.Memory,
		State: stateOf(w.Image),
	}
	if w.Fuel != nil {
		c.Fuel = w.Fuel
	}
	guest, err := module.Instantiate(ctx, c)
	if err != nil {
		release()
		return nil, imageError(err)
	}
	return &instance{Instance: guest, module: module, release: release}, nil
}

// imageError says in the session's words that a state is of no use.
func imageError(err error) error {
	switch {
	case errors.Is(err, runtime.ErrBase):
		return fmt.Errorf("%w: %w", session.ErrImage, err)
	case errors.Is(err, runtime.ErrNoImage):
		return fmt.Errorf("%w: %w", session.ErrNoImage, err)
	}
	return err
}

// instance is a guest with its share of the module.
type instance struct {
	runtime.Instance
	module  runtime.Module
	release func()
}

// Exports implements session.Instance.
func (i *instance) Exports(name string) bool {
	for _, e := range i.module.Info().Exports {
		if e.Name == name && e.Kind == wasm.Func {
			return true
		}
	}
	return false
}

// Image implements session.Instance.
func (i *instance) Image(ctx context.Context) (*host.Image, error) {
	s, err := i.State(ctx)
	if err != nil {
		return nil, imageError(err)
	}
	out := &host.Image{Base: s.Base, Size: s.Size, Globals: s.Globals, Vars: s.Vars, Pages: make([]host.ImagePage, len(s.Pages))}
	for n, p := range s.Pages {
		out.Pages[n] = host.ImagePage{Number: p.Number, Data: p.Data}
	}
	return out, nil
}

// Close implements session.Instance.
func (i *instance) Close() {
	_ = i.Instance.Close(context.Background()) // it never fails
	i.release()
}

func stateOf(m *host.Image) *runtime.State {
	if m == nil {
		return nil
	}
	s := &runtime.State{Base: m.Base, Size: m.Size, Globals: m.Globals, Vars: m.Vars, Pages: make([]runtime.Page, len(m.Pages))}
	for n, p := range m.Pages {
		s.Pages[n] = runtime.Page{Number: p.Number, Data: p.Data}
	}
	return s
}
