package runtime_test

import (
	"encoding/gob"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/internal/runtime"
)

// hibernated is a guest in a file, with what its turns came to.
type hibernated struct {
	State   *runtime.State
	Results []turnResult
}

const childEnv = "VESPIARY_TEST_TURN" // of a process that takes one turn: the folder with the guests

// TestProcesses has every guest take each of its turns in a new process, and
// compares it with an uninterrupted run in this one.
func TestProcesses(t *testing.T) {
	turns := processTurns
	if testing.Short() {
		turns = min(turns, 10)
	}
	dir := t.TempDir()
	e := roomy(t)
	want := map[string][]turnResult{}
	for _, l := range lives {
		module := wasmOf(t, l.guest)
		if err := os.WriteFile(filepath.Join(dir, l.guest+".wasm"), module, 0o600); err != nil {
			t.Fatal(err)
		}
		want[l.name] = straight(t, load(t, e, module), l.vars, turns)
	}
	for range turns {
		child(t, dir)
	}
	for _, l := range lives {
		if diff := cmp.Diff(want[l.name], read(t, dir, l.name).Results); diff != "" {
			t.Errorf("%s (-straight +revived):\n%s", l.name, diff)
		}
	}
}

// TestSameEverywhere: three processes that do the same have the same state, to the
// last bit, and use the same fuel.
func TestSameEverywhere(t *testing.T) {
	var all [3][]hibernated
	for n := range all {
		dir := t.TempDir()
		for _, l := range lives {
			if err := os.WriteFile(filepath.Join(dir, l.guest+".wasm"), wasmOf(t, l.guest), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			child(t, dir)
		}
		for _, l := range lives {
			all[n] = append(all[n], read(t, dir, l.name))
		}
	}
	for _, other := range all[1:] {
		for n, l := range lives {
			if !reflect.DeepEqual(all[0][n], other[n]) {
				t.Errorf("%s differs in two processes: %d and %d pages, %v and %v", l.name,
					len(all[0][n].State.Pages), len(other[n].State.Pages), all[0][n].Results, other[n].Results)
			}
		}
	}
}

// child takes a turn of every guest in dir in a process of its own.
func child(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$", "-test.count=1")
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("a turn in another process: %v\n%s", err, out)
	}
}

// TestChild is what child runs.
func TestChild(t *testing.T) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		t.Skip("other tests run it in processes of its own")
	}
	e := roomy(t)
	modules := map[string]runtime.Module{}
	for _, l := range lives {
		if modules[l.guest] == nil {
			b, err := os.ReadFile(filepath.Join(dir, l.guest+".wasm"))
			if err != nil {
				t.Fatal(err)
			}
			modules[l.guest] = load(t, e, b)
		}
	}
	var all sync.WaitGroup
	for _, l := range lives {
		all.Go(func() {
			h := read(t, dir, l.name)
			turn := len(h.Results)
			w := newTurnWorld()
			w.enter(turn)
			i, err := modules[l.guest].Instantiate(t.Context(), w.config(l.vars, h.State))
			if err != nil {
				t.Error(err)
				return
			}
			defer closed(t, i)
			h.Results = append(h.Results, takeTurn(t, i, turn))
			h.State = stateOf(t, i)
			write(t, dir, l.name, h)
		})
	}
	all.Wait()
}

func read(t *testing.T, dir, name string) (h hibernated) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return hibernated{}
	}
	if err == nil {
		err = errors.Join(gob.NewDecoder(f).Decode(&h), f.Close())
	}
	if err != nil {
		t.Error(err)
	}
	return h
}

func write(t *testing.T, dir, name string, h hibernated) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, name))
	if err == nil {
		err = errors.Join(gob.NewEncoder(f).Encode(h), f.Close())
	}
	if err != nil {
		t.Error(err)
	}
}
