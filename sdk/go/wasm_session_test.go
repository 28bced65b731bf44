//go:build !wasip1

package vespiary_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/vespiary/vespiary/abi"
)

// handle sends an event and returns the text of the reply, or why it failed.
func (h *wasmHost) handle(t *testing.T, event string) string {
	t.Helper()
	in, err := json.Marshal(abi.Event{Type: abi.EventSignal, Name: event})
	if err != nil {
		t.Fatal(err)
	}
	out, err := h.call(t, "handle", in)
	if err != nil {
		t.Fatalf("%s: %v", event, err)
	}
	var r abi.Reply
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	if r.Status != abi.StatusDone {
		return r.Error
	}
	return abi.TextOf(r.Content)
}

// counting is a host whose ids of started calls begin anew at each event.
func counting(t *testing.T, engine wazero.RuntimeConfig, arguments ...string) (h *wasmHost, turn func(event string) string) {
	t.Helper()
	started := map[int][]byte{}
	h = newWasmHostOn(t, engine, build(t, "testdata/counter", arguments...), files(started))
	return h, func(event string) string {
		clear(started)
		return h.handle(t, event)
	}
}

// TestWasmManyEvents has one instance handle a thousand events: each finds what
// the last one left in the state and nothing else of it, and the memory stops
// growing. A goroutine that piled up each turn would take 1.8 MB of the last 700.
func TestWasmManyEvents(t *testing.T) {
	turns, early := 1000, uint32(0)
	if testing.Short() {
		turns = 100
	}
	h, turn := counting(t, wazero.NewRuntimeConfigCompiler())
	for n := 1; n <= turns; n++ {
		event, want := "count", fmt.Sprintf("%d 3003", n)
		if n%10 == 0 {
			event, want = "panic", "internal: the plugin panicked: as it was asked to"
		}
		if got := turn(event); got != want {
			t.Fatalf("turn %d: got %.200q, want %q", n, got, want)
		}
		if n == 300 {
			early = h.module.Memory().Size()
		}
	}
	if late := h.module.Memory().Size(); early > 0 && late > early+512<<10 {
		t.Errorf("the memory grew from %d to %d bytes in the last 700 of %d turns", early, late, turns)
	}
	if i := slices.IndexFunc(h.asked, func(r string) bool { return strings.Contains(r, "stale") }); i >= 0 {
		t.Errorf("a call of an ended turn reached the host: %s", h.asked[i])
	}
}

func TestWasmSaveAndMigrate(t *testing.T) {
	for variant, arguments := range both {
		t.Run(variant, func(t *testing.T) {
			old, turn := counting(t, wazero.NewRuntimeConfigInterpreter(), arguments...)
			for range 3 {
				turn("count")
			}
			state, err := old.call(t, "save", nil)
			if string(state) != `{"turns":3}` || err != nil {
				t.Fatalf("saved %s, %v", state, err)
			}
			next, turn := counting(t, wazero.NewRuntimeConfigInterpreter(), arguments...)
			if out, err := next.call(t, "migrate", []byte(`{"from":"sha256:0","turn":3,"state":{"turns":3}}`)); string(out) != "{}" || err != nil {
				t.Fatalf("migrated: %s, %v", out, err)
			}
			if got := turn("count"); got != "4 3003" {
				t.Errorf("the turn after it says %s", got)
			}
			for state, want := range map[string]string{
				`{"turns":-1}`: "migrate: the plugin panicked: less than nothing",
				`[]`:           "migrate: the state that sha256:0 saved is no main.saved",
			} {
				if _, err := next.call(t, "migrate", []byte(`{"from":"sha256:0","turn":3,"state":`+state+`}`)); err == nil || !strings.HasPrefix(err.Error(), want) {
					t.Errorf("migrating %s: %v, want %s", state, err, want)
				}
			}
		})
	}
}

// TestWasmReseed: instances of one image draw other numbers by package reseed,
// and by math/rand/v2's own functions the same.
func TestWasmReseed(t *testing.T) {
	draw := func(seed byte, event string) string {
		h, turn := counting(t, wazero.NewRuntimeConfigInterpreter()) // its random numbers are the same each time
		if out, err := h.call(t, "vespiary_reseed", append(make([]byte, 31), seed)); len(out) != 0 || err != nil {
			t.Fatalf("reseeding: %s, %v", out, err)
		}
		return turn(event)
	}
	one, two, again := draw(1, "dice"), draw(2, "dice"), draw(1, "dice")
	if one != again || one == two {
		t.Errorf("seeds 1, 2 and 1 give %s, %s and %s", one, two, again)
	}
	if one, two := draw(1, "baked"), draw(2, "baked"); one != two {
		t.Errorf("math/rand/v2 is reseeded, which its documentation here denies: %s, %s", one, two)
	}
	h, _ := counting(t, wazero.NewRuntimeConfigInterpreter())
	if _, err := h.call(t, "vespiary_reseed", []byte{1}); err == nil || !strings.Contains(err.Error(), "has 1 bytes") {
		t.Errorf("a seed of one byte: %v", err)
	}
}

// TestWasmOptionalExports: a host takes an export for a promise, so that a module
// has those of the packages that it imports and no others.
func TestWasmOptionalExports(t *testing.T) {
	for folder, want := range map[string]bool{"testdata/counter": true, "../../examples/greeter": false} {
		h := newWasmHost(t, build(t, folder), nil)
		for _, name := range []string{"save", "migrate", "vespiary_reseed"} {
			if got := h.module.ExportedFunction(name) != nil; got != want {
				t.Errorf("%s exports %s: %v, want %v", folder, name, got, want)
			}
		}
		if h.module.ExportedFunction("handle") == nil {
			t.Errorf("%s does not export handle", folder)
		}
	}
}
