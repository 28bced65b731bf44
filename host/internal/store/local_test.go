package store

import (
	"testing"

	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/host/store/storetest"
)

func TestSuite(t *testing.T) {
	for name, edge := range map[string]bool{"default": false, "edge": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T, name string) store.Store {
				t.Helper()
				return open(t, Options{Dir: name, Edge: edge})
			})
		})
	}
}

// open opens a store or ends the test.
func open(t *testing.T, o Options) *Local {
	t.Helper()
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
