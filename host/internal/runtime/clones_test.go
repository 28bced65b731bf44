package runtime_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/runtime"
	. "github.com/vespiary/vespiary/host/internal/runtime/wasm/wasmtest"
)

// TestClones makes 200 clones of each guest, 16 at a time, and has each take the
// same turns: none may notice the others.
func TestClones(t *testing.T) {
	e := roomy(t)
	for _, l := range lives {
		clones, turns := 200, 5
		if l.vars != nil {
			clones = 16
		}
		t.Run(l.name, func(t *testing.T) {
			m := load(t, e, wasmOf(t, l.guest))
			want := straight(t, m, l.vars, turns)
			work := make(chan int)
			var all sync.WaitGroup
			for range 16 {
				all.Go(func() {
					for n := range work {
						if diff := cmp.Diff(want, straight(t, m, l.vars, turns)); diff != "" {
							t.Errorf("clone %d (-first +clone):\n%s", n, diff)
						}
					}
				})
			}
			for n := range clones {
				work <- n
			}
			close(work)
			all.Wait()
		})
	}
}

// TestReseed: clones of one image draw numbers of their own, and equal ones in
// equal worlds. What a guest does not reseed, its clones share.
func TestReseed(t *testing.T) {
	m := load(t, roomy(t), wasmOf(t, durable.name))
	if !m.Info().Reseeds {
		t.Fatal("the module does not say that it reseeds")
	}
	draw := func(seed byte) string {
		c := config()
		c.Random = rand.NewChaCha8([32]byte{seed})
		i := instantiate(t, m, c)
		if i.Fuel() == 0 {
			t.Error("reseeding used no fuel")
		}
		return string(must(t, i, "draw", nil))
	}
	one, same, two := draw(1), draw(1), draw(2)
	if one != same || strings.Fields(one)[1] == strings.Fields(two)[1] {
		t.Errorf("worlds 1, 1 and 2 drew %s, %s and %s", one, same, two)
	}
	c := config()
	c.Random = bytes.NewReader(nil)
	if _, err := m.Instantiate(t.Context(), c); err == nil || !strings.Contains(err.Error(), "Config.Random") {
		t.Errorf("without randomness: %v", err)
	}
}

// initialiser is a guest with _initialize, and a run that does nothing.
func initialiser(imports []Import, code []byte) []byte {
	n := byte(len(imports))
	var encoded [][]byte
	types := [][]byte{Type(nil, nil)}
	for k, im := range imports {
		types = append(types, Type([]byte{I64}, []byte{I64}))
		encoded = append(encoded, Join(String(im.Module), String(im.Name), []byte{0, byte(k + 1)}))
	}
	return Assemble(
		Section(1, Vec(types...)), Section(2, Vec(encoded...)), Section(3, Vec([]byte{0}, []byte{0})),
		Section(7, Vec(Join(String("_initialize"), []byte{0, n}), Join(String("run"), []byte{0, n + 1}))),
		Section(10, Vec(Body(code...), Body())))
}

// TestNoImage has guests that need the world to be initialised. They run as ever,
// and say why they have no state.
func TestNoImage(t *testing.T) {
	calls := initialiser([]Import{toolCall}, []byte{I64Const, 0, Call, 0, Drop})
	table := Guest{Table: []byte{0, 1}, Code: []byte{0xd0, 0x70, I32Const, 1, 0xfc, 15, 0, Drop}}.Bytes()
	subscription := make([]byte, 48) // to a clock, for a second
	subscription[16] = 1
	binary.LittleEndian.PutUint64(subscription[24:], 1e9)
	sleeps := Guest{
		Imports: []Import{ImportFunc("wasi_snapshot_preview1", "poll_oneoff", []byte{I32, I32, I32, I32}, []byte{I32})},
		Memory:  []byte{0, 1},
		Data:    [][]byte{Join([]byte{0, I32Const, 0, End}, U32(48), subscription)},
		Code:    Join([]byte{I32Const, 0, I32Const}, S64(64), []byte{I32Const, 1, I32Const}, S64(128), []byte{Call, 0, Drop}),
		Start:   true,
	}.Bytes()
	tests := map[string]struct {
		module []byte
		info   bool // that the module alone tells
		want   string
	}{
		"sleeps": {sleeps, false, "it sleeps while it is initialised"},
		"calls":  {calls, false, "it calls the host (tool_call) while it is initialised"},
		"table":  {table, true, "table"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := load(t, newEngine(t, runtime.NewNative, options(t)), test.module)
			if (len(m.Info().NoImage) > 0) != test.info {
				t.Errorf("the module says %q", m.Info().NoImage)
			}
			asked := 0
			c := config()
			c.Host = hostFunc(func(_ context.Context, name string, _ []byte) ([]byte, error) {
				if asked++; name != abi.CallToolCall {
					t.Errorf("it calls %s", name)
				}
				return nil, nil
			})
			for range 2 {
				i := instantiate(t, m, c)
				must(t, i, "run", nil)
				if _, err := i.State(t.Context()); !errors.Is(err, runtime.ErrNoImage) || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %s", err, test.want)
				}
			}
			if want := map[string]int{"calls": 2}[name]; asked != want {
				t.Errorf("two instances called %d times, want %d", asked, want)
			}
			c.State = &runtime.State{}
			if _, err := m.Instantiate(t.Context(), c); !errors.Is(err, runtime.ErrNoImage) {
				t.Errorf("restoring: %v, want ErrNoImage", err)
			}
		})
	}
	_, err := instantiate(t, load(t, newEngine(t, runtime.NewExtism, options(t)), wasmOf(t, "c")), config()).State(t.Context())
	if !errors.Is(err, runtime.ErrNoImage) {
		t.Errorf("on Extism's SDK: %v", err)
	}
}

// TestInitialiseForever has a guest that nothing but its fuel ends.
func TestInitialiseForever(t *testing.T) {
	if testing.Short() {
		t.Skip("spends all the fuel there is for initialising")
	}
	m := load(t, newEngine(t, runtime.NewNative, options(t)), initialiser(nil, Spin))
	for range 2 { // the second time at once
		_, err := m.Instantiate(t.Context(), config())
		if !errors.Is(err, runtime.ErrRefused) || !strings.Contains(err.Error(), "do the work in its first call") {
			t.Errorf("got %v, want a refusal", err)
		}
	}
}

// TestVarsAtInitialisation: a guest that reads its configuration while it is
// initialised has an image for each, and a state belongs to one of them.
func TestVarsAtInitialisation(t *testing.T) {
	m := load(t, roomy(t), wasmOf(t, durable.name))
	base := func(heap string) *runtime.State {
		c := config()
		c.Vars = map[string]string{"heap": heap}
		return stateOf(t, instantiate(t, m, c))
	}
	one, again, two := base("1"), base("1"), base("2")
	if one.Base != again.Base || one.Base == two.Base || one.Size == two.Size && one.Size == 0 {
		t.Errorf("configurations 1, 1 and 2 lead to the images %s, %s and %s", one.Base, again.Base, two.Base)
	}
	for n := range 20 { // more than are kept
		base(fmt.Sprint(n % 10))
	}
	c := config()
	c.Vars, c.State = map[string]string{"heap": "2"}, one
	if _, err := m.Instantiate(t.Context(), c); !errors.Is(err, runtime.ErrBase) {
		t.Errorf("a state under another configuration: %v, want ErrBase", err)
	}
}

// TestMemoryOfAnInstance grows beyond Config.Memory.
func TestMemoryOfAnInstance(t *testing.T) {
	m := load(t, newEngine(t, runtime.NewNative, options(t)), wasmOf(t, "c"))
	c := config()
	c.Memory = 8 << 20
	i := instantiate(t, m, c)
	if got := string(must(t, i, "grow", u64(8<<20))); got != "no" {
		t.Errorf("growing beyond the limit of the instance: %s", got)
	}
	if got := string(must(t, i, "grow", u64(4<<20))); got != "ok" {
		t.Errorf("growing within it: %s", got)
	}
	s := stateOf(t, i)
	for _, limit := range []uint64{1, 64 << 10, 4 << 20} {
		c.Memory = limit
		for _, c.State = range []*runtime.State{nil, s} {
			if _, err := m.Instantiate(t.Context(), c); limit < 2<<20 || c.State != nil {
				if err == nil || !strings.Contains(err.Error(), "raise the memory limit") {
					t.Errorf("limit %d: %v", limit, err)
				}
			}
		}
	}
	if got := string(must(t, instantiate(t, m, config()), "grow", u64(8<<20))); got != "ok" {
		t.Errorf("the limit of one instance holds for others: %s", got)
	}
}

// TestFirstCallerGivesUp: whoever waits for an image does not depend on the time
// of whoever makes it.
func TestFirstCallerGivesUp(t *testing.T) {
	m := load(t, newEngine(t, runtime.NewNative, options(t)), wasmOf(t, durable.name))
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*time.Millisecond)
			defer cancel()
			if n%2 == 0 {
				ctx = t.Context()
			}
			i, err := m.Instantiate(ctx, config())
			switch {
			case err == nil:
				closed(t, i)
			case n%2 == 0 || !errors.Is(err, context.DeadlineExceeded):
				t.Errorf("instance %d: %v", n, err)
			}
		})
	}
	all.Wait()
}

// TestFileDescriptors: what a guest does to its standard streams is no state.
func TestFileDescriptors(t *testing.T) {
	code := []byte{I32Const, 1, Call, 0, 0x04, 0x40, 0x00, End} // traps unless fd_close(1) returns 0
	module := Guest{Imports: []Import{ImportFunc("wasi_snapshot_preview1", "fd_close", []byte{I32}, []byte{I32})}, Code: code}.Bytes()
	m := load(t, newEngine(t, runtime.NewNative, options(t)), module)
	i := instantiate(t, m, config())
	must(t, i, "run", nil)
	must(t, i, "run", nil)
}

// TestLogOfInitialisation: every instance says what it would have said if it had
// been initialised for itself, and one that is restored has said it.
func TestLogOfInitialisation(t *testing.T) {
	says := Guest{
		Imports: []Import{
			ImportFunc(abi.NamespaceEnv, "alloc", []byte{I64}, []byte{I64}),
			ImportFunc(abi.NamespaceEnv, "log_info", []byte{I64}, nil),
		},
		Code:  []byte{I64Const, 1, Call, 0, Call, 1},
		Start: true,
	}.Bytes()
	m := load(t, newEngine(t, runtime.NewNative, options(t)), says)
	var s *runtime.State
	for _, want := range [][]string{{"INFO \x00"}, {"INFO \x00"}, nil} {
		var logged records
		c := config()
		c.Log = logged.log
		if want == nil {
			c.State = s
		}
		s = stateOf(t, instantiate(t, m, c))
		if diff := cmp.Diff(want, logged.lines); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	}
}

// TestImagesAreFreed counts the files that images are kept in.
func TestImagesAreFreed(t *testing.T) {
	if images(t) < 0 {
		t.Skip("needs /proc")
	}
	before := images(t)
	e := roomy(t)
	m := load(t, e, wasmOf(t, durable.name))
	for n := range 20 {
		c := config()
		c.Vars = map[string]string{"n": strconv.Itoa(n)}
		closed(t, instantiate(t, m, c))
	}
	if got := images(t) - before; got < 1 || got > 8 {
		t.Errorf("%d images are kept that nobody uses", got)
	}
	last := instantiate(t, m, config())
	closed(t, m)
	if got := images(t) - before; got < 1 {
		t.Error("the image of an instance is gone")
	}
	must(t, last, "draw", nil)
	closed(t, last)
	if got := images(t) - before; got != 0 {
		t.Errorf("%d images outlive their code", got)
	}
}

func images(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	n := 0
	for _, f := range files {
		if to, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil && strings.Contains(to, "vespiary-image") {
			n++
		}
	}
	return n
}
