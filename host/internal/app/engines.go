package app

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/runtime"
)

// engines runs each module on the engine that the configuration names for it: native,
// or for a tool that asks for it, Extism's own.
type engines struct {
	options runtime.Options
	fetch   func(ctx context.Context, digest string) ([]byte, error)
	choice  func(digest string) string
	// next are the engines of a configuration that is being made ready, by digest: its tools
	// are described on them. nil when none is.
	next atomic.Pointer[map[string]string]

	mu      sync.Mutex
	engines []runtime.Engine
	loaders map[string]*runtime.Loader
}

// Acquire returns the module with a digest, and a function to call when its instances
// are closed.
func (e *engines) Acquire(ctx context.Context, digest string) (runtime.Module, func(), error) {
	return e.acquire(ctx, e.choice(digest), digest)
}

func (e *engines) acquire(ctx context.Context, engine, digest string) (runtime.Module, func(), error) {
	l, err := e.loader(engine)
	if err != nil {
		return nil, nil, err
	}
	return l.Acquire(ctx, digest)
}

// loader returns the loader of an engine, which is made when it is first needed.
func (e *engines) loader(name string) (*runtime.Loader, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l := e.loaders[name]; l != nil {
		return l, nil
	}
	open := runtime.NewNative
	if name == config.EngineExtism {
		open = runtime.NewExtism
	}
	engine, err := open(e.options)
	if err != nil {
		return nil, err
	}
	l := runtime.NewLoader(engine, e.fetch, idle)
	e.engines, e.loaders[name] = append(e.engines, engine), l
	return l, nil
}

// Memory returns the linear memory of all guests in bytes.
func (e *engines) Memory() int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	var sum int64
	for _, engine := range e.engines {
		sum += engine.Memory()
	}
	return sum
}

// Close closes loaders and engines.
func (e *engines) Close(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.loaders {
		l.Close() //nolint:contextcheck // it waits for nothing
	}
	var errs []error
	for _, engine := range e.engines {
		errs = append(errs, engine.Close(ctx))
	}
	return errors.Join(errs...)
}
