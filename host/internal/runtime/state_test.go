package runtime_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/internal/runtime"
	. "github.com/vespiary/vespiary/host/internal/runtime/wasm/wasmtest"
)

// lives are the guests whose program is to go on in another process.
var lives = []struct {
	name, guest string
	vars        map[string]string
}{
	{"c", "c", nil},
	{"rust", "rust", nil},
	{"go", "durable", nil},
	{"large heap", "durable", map[string]string{"heap": "64"}},
}

// roomy is an engine with room for a large heap.
func roomy(tb testing.TB) runtime.Engine {
	tb.Helper()
	o := options(tb)
	o.MemoryLimit = 256 << 20
	return newEngine(tb, runtime.NewNative, o)
}

// turnWorld is the world of one guest, of which every turn has a time and
// randomness of its own.
type turnWorld struct {
	clock  *testClock
	random io.Reader
}

func newTurnWorld() *turnWorld { return &turnWorld{clock: newClock()} }

func (w *turnWorld) enter(turn int) {
	w.clock.mu.Lock()
	w.clock.now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(turn) * time.Second)
	w.clock.mu.Unlock()
	w.random = rand.NewChaCha8([32]byte{byte(turn), byte(turn >> 8)})
}

// Read implements io.Reader.
func (w *turnWorld) Read(b []byte) (int, error) { return w.random.Read(b) }

func (w *turnWorld) config(vars map[string]string, s *runtime.State) runtime.Config {
	host := hostFunc(func(_ context.Context, _ string, b []byte) ([]byte, error) {
		return append([]byte("answer to "), b...), nil
	})
	return runtime.Config{Host: host, Clock: w.clock.Now, Sleep: w.clock.Sleep, Random: w, Vars: vars, State: s}
}

// turnResult is what a turn comes to.
type turnResult struct {
	Output string
	Fuel   int64
}

func takeTurn(tb testing.TB, i runtime.Instance, turn int) turnResult {
	tb.Helper()
	before := i.Fuel()
	out := must(tb, i, "turn", fmt.Appendf(nil, "word%d ", turn%5))
	return turnResult{fmt.Sprintf("%q", out), i.Fuel() - before}
}

func stateOf(tb testing.TB, i runtime.Instance) *runtime.State {
	tb.Helper()
	s, err := i.State(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// straight takes turns on one instance.
func straight(tb testing.TB, m runtime.Module, vars map[string]string, turns int) []turnResult {
	tb.Helper()
	w := newTurnWorld()
	w.enter(0)
	i := instantiate(tb, m, w.config(vars, nil))
	var results []turnResult
	for turn := range turns {
		if turn > 0 {
			w.enter(turn)
		}
		results = append(results, takeTurn(tb, i, turn))
	}
	closed(tb, i)
	return results
}

// TestRevived restores a guest after each of its calls, in the same process.
func TestRevived(t *testing.T) {
	e := roomy(t)
	for _, l := range lives {
		t.Run(l.name, func(t *testing.T) {
			const turns = revivedTurns
			m := load(t, e, wasmOf(t, l.guest))
			want := straight(t, m, l.vars, turns)
			var got []turnResult
			var s *runtime.State
			for turn := range turns {
				w := newTurnWorld()
				w.enter(turn)
				i := instantiate(t, m, w.config(l.vars, s))
				got = append(got, takeTurn(t, i, turn))
				s = stateOf(t, i)
				closed(t, i)
				s = throughBytes(t, s)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-straight +revived):\n%s", diff)
			}
			t.Logf("%d bytes of memory, %d pages differ, %d fuel in the last turn", s.Size, len(s.Pages), got[turns-1].Fuel)
		})
	}
}

// throughBytes is a state as somebody else stores it.
func throughBytes(tb testing.TB, s *runtime.State) *runtime.State {
	tb.Helper()
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(s); err != nil {
		tb.Fatal(err)
	}
	var out runtime.State
	if err := gob.NewDecoder(&b).Decode(&out); err != nil {
		tb.Fatal(err)
	}
	return &out
}

// TestStateIsOurs changes a state, and the instance that it was taken from.
func TestStateIsOurs(t *testing.T) {
	m := load(t, newEngine(t, runtime.NewNative, options(t)), wasmOf(t, "c"))
	i := instantiate(t, m, config())
	must(t, i, "remember", []byte("one"))
	must(t, i, "state", nil)
	s := stateOf(t, i)
	kept := throughBytes(t, s)
	must(t, i, "remember", []byte("two"))
	must(t, i, "state", nil)
	if diff := cmp.Diff(kept, s); diff != "" {
		t.Errorf("the instance changed its state:\n%s", diff)
	}
	c := config()
	c.State = s
	j := instantiate(t, m, c)
	for _, p := range s.Pages {
		clear(p.Data)
	}
	for _, v := range s.Vars {
		clear(v)
	}
	if got := string(must(t, j, "remember", nil)) + string(must(t, j, "state", nil)); got != "one2" {
		t.Errorf("the restored instance says %s, want one2", got)
	}
}

// TestDamagedState: whatever a state says, it is an error and no panic.
func TestDamagedState(t *testing.T) {
	m := load(t, newEngine(t, runtime.NewNative, options(t)), wasmOf(t, "c"))
	i := instantiate(t, m, config())
	must(t, i, "turn", []byte("x"))
	good := stateOf(t, i)
	if len(good.Pages) < 2 || len(good.Globals) == 0 {
		t.Fatalf("%d pages, %d globals", len(good.Pages), len(good.Globals))
	}
	tests := map[string]func(s *runtime.State){
		"its memory has 65537":    func(s *runtime.State) { s.Size = 65537 },
		"its memory has 0":        func(s *runtime.State) { s.Size = 0 },
		"the limit is":            func(s *runtime.State) { s.Size = 1 << 40 },
		"globals where":           func(s *runtime.State) { s.Globals = nil },
		"no value of the global":  func(s *runtime.State) { s.Globals[0] = 1 << 32 },
		"of 4095 bytes is out of": func(s *runtime.State) { s.Pages[0].Data = s.Pages[0].Data[:4095] },
		"of 0 bytes is out of":    func(s *runtime.State) { s.Pages[1].Data = nil },
		"page 4294967295 of":      func(s *runtime.State) { s.Pages[len(s.Pages)-1].Number = 1<<32 - 1 },
		"of 4096 bytes is out of": func(s *runtime.State) { s.Pages[1].Number = s.Pages[0].Number },
		"its variables exceed":    func(s *runtime.State) { s.Vars = map[string][]byte{"a": make([]byte, 2<<20)} },
	}
	for want, damage := range tests {
		s := throughBytes(t, good)
		damage(s)
		c := config()
		c.State = s
		if _, err := m.Instantiate(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	for name, other := range map[string][]byte{"another module": wasmOf(t, "rust"), "no memory": Guest{}.Bytes()} {
		c := config()
		c.State = good
		_, err := load(t, newEngine(t, runtime.NewNative, options(t)), other).Instantiate(t.Context(), c)
		if !errors.Is(err, runtime.ErrBase) || !strings.Contains(err.Error(), "replay the calls") {
			t.Errorf("%s: %v, want ErrBase", name, err)
		}
	}
	if _, err := i.State(cancelled(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("a state under a context that is done: %v", err)
	}
	closed(t, i)
	if _, err := i.State(t.Context()); !errors.Is(err, runtime.ErrUnusable) {
		t.Errorf("the state of a closed instance: %v", err)
	}
}

func cancelled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// FuzzState restores any state on top of what is a good one.
func FuzzState(f *testing.F) {
	e := newEngine(f, runtime.NewNative, options(f))
	m := load(f, e, Guest{Memory: []byte{1, 1, 4}, Code: []byte{I32Const, 0, I32Const, 1, 0x36, 2, 0}}.Bytes())
	i := instantiate(f, m, config())
	must(f, i, "run", nil)
	good := stateOf(f, i)
	f.Add(good.Size, uint32(0), uint32(3), uint16(4096), uint64(7))
	f.Add(good.Size+1<<16, uint32(15), uint32(16), uint16(4096), uint64(1<<32))
	f.Fuzz(func(t *testing.T, size uint64, first, second uint32, length uint16, global uint64) {
		s := &runtime.State{Base: good.Base, Size: size, Pages: []runtime.Page{
			{Number: first, Data: make([]byte, length)}, {Number: second, Data: make([]byte, length)},
		}}
		for range good.Globals {
			s.Globals = append(s.Globals, global)
		}
		c := config()
		c.State = s
		i, err := m.Instantiate(t.Context(), c)
		if err != nil {
			return
		}
		must(t, i, "run", nil)
		if again := stateOf(t, i); again.Size != size || !reflect.DeepEqual(again.Globals, append([]uint64{}, s.Globals...)) {
			t.Errorf("a state of %d bytes became one of %d", size, again.Size)
		}
		closed(t, i)
	})
}
