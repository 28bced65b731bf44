package store

import (
	"io"
	"testing"

	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/host/store/storetest"
)

func TestSuite(t *testing.T) {
	for name, edge := range map[string]bool{"default": false, "edge": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			open := func(t *testing.T, name string) store.Store {
				t.Helper()
				return open(t, Options{Dir: name, Edge: edge})
			}
			storetest.Run(t, open)
			t.Run("Backup", func(t *testing.T) {
				storetest.RunBackup(t, open, func(t *testing.T, name string, backup io.Reader) error {
					t.Helper()
					_, err := Restore(t.Context(), Options{Dir: name, Edge: edge}, backup, nil)
					return err
				})
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
