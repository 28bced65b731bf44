package app_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host/internal/store"
	"github.com/vespiary/vespiary/registry"
)

// TestRegistryOverTheStore: names survive a restart, and of many that set one name
// at once each gets a version that follows the one before it.
func TestRegistryOverTheStore(t *testing.T) {
	dir := t.TempDir()
	open := func() (*store.Local, *registry.Registry) {
		s, err := store.Open(t.Context(), store.Options{Dir: dir + "/store"})
		if err != nil {
			t.Fatal(err)
		}
		r, err := registry.New(registry.Options{Dir: dir + "/modules", Store: s, Tenant: "default", Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		return s, r
	}
	s, r := open()
	const writers = 8
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			if _, err := r.Put(context.Background(), "loop", fmt.Appendf(nil, "\x00asm\x01\x00\x00\x00%d", i), "world"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s, r = open()
	defer s.Close() //nolint:errcheck // of a test
	versions, err := r.Versions(t.Context(), "loop")
	if err != nil || len(versions) != writers {
		t.Fatalf("%d versions, %v", len(versions), err)
	}
	var before registry.Digest
	for i, v := range versions {
		if v.Number != i+1 || v.Previous != before {
			t.Errorf("version %d = %+v", i+1, v)
		}
		before = v.Digest
	}
	if d, err := r.Resolve(t.Context(), "loop"); d != before || err != nil {
		t.Errorf("Resolve = %s, %v; want %s", d, err, before)
	}
	if list, err := r.List(t.Context()); err != nil || len(list) != 1 || list[0] != versions[writers-1] {
		t.Errorf("List = %+v, %v", list, err)
	}
}
