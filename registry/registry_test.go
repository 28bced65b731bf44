package registry_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/registry"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// clock ticks a minute each time it is read.
func clock() func() time.Time {
	var mu sync.Mutex
	now := epoch
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Minute)
		return now
	}
}

func open(t *testing.T, dir string, s *memory) *registry.Registry {
	t.Helper()
	o := registry.Options{Dir: dir, Tenant: "default", Now: clock()}
	if s != nil {
		o.Store = s
	}
	r, err := registry.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func module(content string) []byte { return []byte("\x00asm\x01\x00\x00\x00" + content) }

func put(t *testing.T, r *registry.Registry, name, content, by string) registry.Digest {
	t.Helper()
	d, err := r.Put(t.Context(), name, module(content), by)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDigest(t *testing.T) {
	const empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" // FIPS 180-4
	if got := registry.Of(nil); got != empty || !got.Valid() {
		t.Errorf("Of(nil) = %s", got)
	}
	for _, bad := range []string{"", "sha256:", empty[7:], "sha512:" + empty[7:], empty + "0", strings.ToUpper(empty)} {
		if registry.Digest(bad).Valid() {
			t.Errorf("%q is valid", bad)
		}
	}
}

func TestPutAndRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "modules")
	r := open(t, dir, newMemory())
	d := put(t, r, "loop", "one", "world")
	if want := registry.Of(module("one")); d != want {
		t.Fatalf("Put = %s, want %s", d, want)
	}
	for _, ref := range []string{"loop", string(d)} {
		if got, err := r.Resolve(t.Context(), ref); got != d || err != nil {
			t.Errorf("Resolve(%s) = %s, %v", ref, got, err)
		}
	}
	got, err := r.Bytes(t.Context(), d)
	if err != nil || string(got) != string(module("one")) {
		t.Errorf("Bytes = %q, %v", got, err)
	}
	hex := strings.TrimPrefix(string(d), "sha256:")
	if diff := cmp.Diff([]string{hex[:2] + "/" + hex + ".wasm"}, tree(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestVersions(t *testing.T) {
	r := open(t, t.TempDir(), newMemory())
	one := put(t, r, "loop", "one", "world")
	put(t, r, "loop", "one", "other") // no change
	two := put(t, r, "loop", "two", "other")
	back := put(t, r, "loop", "one", "world")
	put(t, r, "loop2", "two", "world")

	got, err := r.Versions(t.Context(), "loop")
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(module("one")))
	want := []registry.Version{
		{Name: "loop", Number: 1, Digest: one, By: "world", Time: epoch.Add(time.Minute), Size: size},
		{Name: "loop", Number: 2, Digest: two, Previous: one, By: "other", Time: epoch.Add(2 * time.Minute), Size: size},
		{Name: "loop", Number: 3, Digest: back, Previous: two, By: "world", Time: epoch.Add(3 * time.Minute), Size: size},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("versions (-want +got):\n%s", diff)
	}
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || list[0] != want[2] || list[1].Name != "loop2" {
		t.Errorf("List = %+v", list)
	}
}

func TestTenantsAreApart(t *testing.T) {
	s, dir := newMemory(), t.TempDir()
	put(t, open(t, dir, s), "loop", "one", "world")
	other, err := registry.New(registry.Options{Dir: dir, Store: s, Tenant: "other", Now: clock()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Resolve(t.Context(), "loop"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("another tenant's name: %v", err)
	}
	if _, err := registry.New(registry.Options{Dir: dir, Tenant: "a/b", Now: clock()}); err == nil {
		t.Error("a tenant with a slash was accepted")
	}
}

// TestConcurrentPut: of many that set one name at once each gets a version of its
// own, and each version follows the one before it.
func TestConcurrentPut(t *testing.T) {
	r := open(t, t.TempDir(), newMemory())
	const writers = 8
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			if _, err := r.Put(context.Background(), "loop", module(fmt.Sprint(i)), "world"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
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
}

func TestDamageIsFoundAndMended(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, nil)
	d := put(t, r, "", "one", "")
	path := filepath.Join(dir, tree(t, dir)[0])
	for name, content := range map[string]string{"flipped": string(module("onf")), "cut": "\x00asm", "empty": ""} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := r.Bytes(t.Context(), d)
		if !errors.Is(err, registry.ErrCorrupt) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error = %v", name, err)
		}
		put(t, r, "", "one", "")
		if _, err := r.Bytes(t.Context(), d); err != nil {
			t.Errorf("%s: after Put: %v", name, err)
		}
	}
}

func TestErrors(t *testing.T) {
	r := open(t, t.TempDir(), newMemory())
	absent := string(registry.Of([]byte("absent")))
	for name, tc := range map[string]struct {
		do   func() error
		want error
	}{
		"name":      {func() error { _, err := r.Put(t.Context(), "A/b", module(""), ""); return err }, registry.ErrInvalid},
		"not wasm":  {func() error { _, err := r.Put(t.Context(), "a", []byte("#!/bin/sh"), ""); return err }, registry.ErrInvalid},
		"reference": {func() error { _, err := r.Resolve(t.Context(), "sha256:beef"); return err }, registry.ErrInvalid},
		"unknown":   {func() error { _, err := r.Resolve(t.Context(), "loop"); return err }, registry.ErrNotFound},
		"versions":  {func() error { _, err := r.Versions(t.Context(), "loop"); return err }, registry.ErrNotFound},
		"absent":    {func() error { _, err := r.Bytes(t.Context(), registry.Digest(absent)); return err }, registry.ErrNotFound},
		"path":      {func() error { _, err := r.Bytes(t.Context(), "sha256:../../etc/passwd"); return err }, registry.ErrInvalid},
	} {
		if err := tc.do(); !errors.Is(err, tc.want) {
			t.Errorf("%s: error = %v, want %v", name, err, tc.want)
		}
	}
}

func TestWithoutStore(t *testing.T) {
	r := open(t, t.TempDir(), nil)
	d := put(t, r, "", "one", "")
	if got, err := r.Resolve(t.Context(), string(d)); got != d || err != nil {
		t.Errorf("Resolve = %s, %v", got, err)
	}
	if _, err := r.Put(t.Context(), "loop", module("one"), ""); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("a name without a store: %v", err)
	}
	if _, err := r.List(t.Context()); err == nil {
		t.Error("List without a store returned no error")
	}
}

func tree(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
