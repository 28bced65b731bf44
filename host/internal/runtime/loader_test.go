package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vespiary/vespiary/host/internal/runtime"
	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
	. "github.com/vespiary/vespiary/host/internal/runtime/wasm/wasmtest"
)

// shelf holds modules by digest and counts what is done with them. It is an
// engine over a real one.
type shelf struct {
	runtime.Engine
	modules         map[string][]byte
	fetched, closed atomic.Int32
	delay           time.Duration
}

type countedModule struct {
	runtime.Module
	shelf *shelf
}

func newShelf(t *testing.T, n int) (*shelf, []string) {
	t.Helper()
	s := &shelf{Engine: newEngine(t, runtime.NewNative, runtime.Options{}), modules: map[string][]byte{}}
	var digests []string
	for k := range n {
		b, err := wasm.WithSection(Guest{}.Bytes(), "n", fmt.Append(nil, k))
		if err != nil {
			t.Fatal(err)
		}
		digest := load(t, s.Engine, b).Info().Digest
		s.modules[digest] = b
		digests = append(digests, digest)
	}
	return s, digests
}

func (s *shelf) fetch(ctx context.Context, digest string) ([]byte, error) {
	s.fetched.Add(1)
	select {
	case <-time.After(s.delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	b, ok := s.modules[digest]
	if !ok {
		return nil, errors.New("not on the shelf")
	}
	return b, nil
}

func (s *shelf) Load(ctx context.Context, b []byte) (runtime.Module, error) {
	m, err := s.Engine.Load(ctx, b)
	if err != nil {
		return nil, err
	}
	return &countedModule{m, s}, nil
}

func (m *countedModule) Close(ctx context.Context) error {
	m.shelf.closed.Add(1)
	return m.Module.Close(ctx)
}

func (s *shelf) want(t *testing.T, fetched, closed int32) {
	t.Helper()
	if f, c := s.fetched.Load(), s.closed.Load(); f != fetched || c != closed {
		t.Errorf("fetched %d and closed %d modules, want %d and %d", f, c, fetched, closed)
	}
}

func TestLoaderSharesAndExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, digests := newShelf(t, 2)
		s.delay = time.Second
		l := runtime.NewLoader(s, s.fetch, time.Minute)
		var all sync.WaitGroup
		for range 20 {
			for _, digest := range digests {
				all.Go(func() {
					m, release, err := l.Acquire(t.Context(), digest)
					if err != nil {
						t.Error(err)
						return
					}
					if got := m.Info().Digest; got != digest {
						t.Errorf("got module %s", got)
					}
					time.Sleep(time.Second)
					release()
					release()
				})
			}
		}
		all.Wait()
		s.want(t, 2, 0)

		time.Sleep(59 * time.Second)
		_, release, err := l.Acquire(t.Context(), digests[0])
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		s.want(t, 2, 1) // the one in use stays
		release()
		time.Sleep(59 * time.Second)
		s.want(t, 2, 1)
		time.Sleep(2 * time.Second)
		s.want(t, 2, 2)

		_, release, err = l.Acquire(t.Context(), digests[0])
		if err != nil {
			t.Fatal(err)
		}
		s.want(t, 3, 2)
		l.Close()
		s.want(t, 3, 2)
		release()
		s.want(t, 3, 3)
		if _, _, err := l.Acquire(t.Context(), digests[0]); err == nil {
			t.Error("a closed loader loads")
		}
	})
}

func TestLoaderFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, digests := newShelf(t, 1)
		l := runtime.NewLoader(s, s.fetch, time.Minute)
		defer l.Close()
		for range 2 { // the first failure is not remembered
			if _, _, err := l.Acquire(t.Context(), "sha256:missing"); err == nil {
				t.Error("a missing module was loaded")
			}
		}
		s.want(t, 2, 0)
		s.modules["sha256:false"] = s.modules[digests[0]]
		if _, _, err := l.Acquire(t.Context(), "sha256:false"); err == nil {
			t.Error("a module was loaded under a digest that is not its own")
		}
		s.want(t, 3, 1)
		s.modules["sha256:bad"] = []byte("no module")
		if _, _, err := l.Acquire(t.Context(), "sha256:bad"); !errors.Is(err, runtime.ErrRefused) {
			t.Errorf("got %v", err)
		}
	})
}

// TestLoaderWaiters has callers give up while a module is loaded: the others get
// it all the same, and when nobody is left, loading stops.
func TestLoaderWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, digests := newShelf(t, 1)
		s.delay = time.Minute
		l := runtime.NewLoader(s, s.fetch, time.Minute)
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			if _, _, err := l.Acquire(impatient, digests[0]); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the one who left got %v", err)
			}
		})
		all.Go(func() {
			_, release, err := l.Acquire(t.Context(), digests[0])
			if err != nil {
				t.Fatal(err)
			}
			release()
		})
		all.Wait()
		s.want(t, 1, 0)
		l.Close()
		s.want(t, 1, 1)

		l = runtime.NewLoader(s, s.fetch, time.Minute)
		impatient, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := l.Acquire(impatient, digests[0]); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		synctest.Wait() // fetch has stopped, else the bubble would not end
		s.want(t, 2, 1)
		l.Close()
	})
}
