package runtime

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Loader shares modules by digest: the first who asks has the bytes fetched and
// compiled, everyone else waits for that, and a module that nobody has used for a
// while is closed. It may be used by several goroutines.
type Loader struct {
	engine Engine
	fetch  func(ctx context.Context, digest string) ([]byte, error)
	idle   time.Duration

	mu      sync.Mutex
	entries map[string]*entry
	closed  bool
}

// entry is a module that is used, idle or being loaded. The fields from refs on
// are guarded by Loader.mu; module and err are set before ready is closed.
type entry struct {
	digest string
	ready  chan struct{}
	module Module
	err    error
	cancel context.CancelFunc // stops loading

	refs  int
	timer *time.Timer // runs while the module is idle
}

// NewLoader returns a loader over engine, which stays the caller's. Fetch returns
// the bytes with a digest. A module is closed when it has not been in use for
// idle; 0 or less keeps it until Close.
func NewLoader(engine Engine, fetch func(ctx context.Context, digest string) ([]byte, error), idle time.Duration) *Loader {
	return &Loader{engine: engine, fetch: fetch, idle: idle, entries: map[string]*entry{}}
}

var errLoaderClosed = errors.New("load: the loader is closed")

// Acquire returns the module with this digest, loading it if need be, and a
// function to call once its instances are closed. Nobody but the loader closes
// the module. Loading goes on while somebody waits for it; a failure is not
// remembered.
func (l *Loader) Acquire(ctx context.Context, digest string) (m Module, release func(), err error) {
	e, err := l.enter(ctx, digest)
	if err != nil {
		return nil, nil, err
	}
	select {
	case <-e.ready:
		err = e.err
	case <-ctx.Done():
		err = fmt.Errorf("load %s: %w", digest, context.Cause(ctx))
	}
	if err != nil {
		l.leave(e) //nolint:contextcheck // closing a module must not depend on the caller's time
		return nil, nil, err
	}
	return e.module, sync.OnceFunc(func() { l.leave(e) }), nil //nolint:contextcheck // as above
}

// enter takes a share of the entry, and starts loading if it is new.
func (l *Loader) enter(ctx context.Context, digest string) (*entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errLoaderClosed
	}
	e := l.entries[digest]
	if e == nil {
		e = &entry{digest: digest, ready: make(chan struct{})}
		l.entries[digest] = e
		ctx, e.cancel = context.WithCancel(context.WithoutCancel(ctx))
		go l.load(ctx, e)
	}
	if e.timer != nil {
		e.timer.Stop()
		e.timer = nil
	}
	e.refs++
	return e, nil
}

// load fetches and compiles. If everyone has left meanwhile, the entry is no
// longer listed, and what was loaded is closed again.
func (l *Loader) load(ctx context.Context, e *entry) {
	defer e.cancel()
	e.module, e.err = l.fetched(ctx, e.digest)
	l.mu.Lock()
	abandoned := e.refs == 0
	if e.err != nil && l.entries[e.digest] == e {
		delete(l.entries, e.digest)
	}
	close(e.ready)
	l.mu.Unlock()
	if abandoned {
		e.close() //nolint:contextcheck // ctx is cancelled by now
	}
}

func (l *Loader) fetched(ctx context.Context, digest string) (Module, error) {
	b, err := l.fetch(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", digest, err)
	}
	m, err := l.engine.Load(ctx, b)
	if err != nil {
		return nil, err
	}
	if got := m.Info().Digest; got != digest {
		_ = m.Close(ctx)
		return nil, fmt.Errorf("load %s: what is stored under this digest is %s; store the module again", digest, got)
	}
	return m, nil
}

// leave gives a share back. The last one starts the idle time of a module, and
// stops the loading of one that nobody waits for any more.
func (l *Loader) leave(e *entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.refs--; e.refs > 0 {
		return
	}
	select {
	case <-e.ready:
		l.rest(e)
	default:
		delete(l.entries, e.digest)
		e.cancel()
	}
}

// rest decides what becomes of a loaded module that nobody uses.
func (l *Loader) rest(e *entry) {
	switch {
	case e.err != nil:
	case l.closed:
		e.close()
	case l.idle > 0:
		e.timer = time.AfterFunc(l.idle, func() { l.expire(e) })
	}
}

// expire closes a module whose idle time is over, unless it is in use again.
func (l *Loader) expire(e *entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e.refs == 0 && l.entries[e.digest] == e {
		delete(l.entries, e.digest)
		e.close()
	}
}

// close closes the module; engines do so without fail.
func (e *entry) close() {
	if e.module != nil {
		_ = e.module.Close(context.Background())
	}
}

// Close closes the modules that are idle, and each other one when it is released.
// It is idempotent. The engine stays open.
func (l *Loader) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for digest, e := range l.entries {
		if e.refs == 0 {
			if e.timer != nil {
				e.timer.Stop()
			}
			delete(l.entries, digest)
			e.close()
		}
	}
}
