package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
)

// TestDescriptionsAreKept: a plugin is asked once for what its bytes say, and again where
// nothing readable was kept.
func TestDescriptionsAreKept(t *testing.T) {
	asked := 0
	list := abi.ToolList{Tools: []abi.Tool{{Name: "greet", InputSchema: []byte(`{"type":"object"}`)}}}
	fail := errors.New("it traps")
	d := descriptions{filepath.Join(t.TempDir(), "tools"), func(string) string { return "native" }, func(context.Context, string) (abi.ToolList, error) {
		asked++
		return list, fail
	}}
	ask := func() (abi.ToolList, error) { return d.described(t.Context(), "sha256:00") }
	if _, err := ask(); !errors.Is(err, fail) {
		t.Fatal(err)
	}
	fail = nil
	for range 3 {
		got, err := ask()
		if diff := cmp.Diff(list, got); diff != "" || err != nil {
			t.Fatal(diff, err)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times, want one that failed and one that did not", asked)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "00-native.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := ask(); err != nil || len(got.Tools) != 1 || asked != 3 {
		t.Errorf("after damage: %+v, %v, asked %d times", got, err, asked)
	}
}
