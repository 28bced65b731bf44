package snapshot

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vespiary/vespiary/host"
)

func sample() *manifest {
	digest := strings.Repeat("d", digestLen)
	return &manifest{
		Taken: Taken{
			Turn: 3, Seq: 40, Epoch: 1, Module: "sha256:m", Prepared: 2, Fuel: -1, Digest: digest,
			Image: host.Image{
				Base: "b", Size: 1 << 32, Globals: []uint64{1, 1 << 63}, Vars: map[string][]byte{"a": {}, "b": []byte("x")},
				Pages: []host.ImagePage{{Number: 0}, {Number: 5}, {Number: maxPage}},
			},
		},
		packs:  []pack{{40, digest, 1}, {7, digest, packPages}},
		sums:   []sum{{1}, {2}, {3}},
		places: []place{{0, 0}, {1, packPages - 1}, {0, 0}},
	}
}

var private = cmp.AllowUnexported(manifest{}, pack{}, place{}, root{})

func TestManifestComesBack(t *testing.T) {
	want := sample()
	got, err := decodeManifest(want.encode())
	if diff := cmp.Diff(want, got, private); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestBadManifestsAreRefused checks that nothing a manifest says leads out of its packs.
func TestBadManifestsAreRefused(t *testing.T) {
	for name, change := range map[string]func(*manifest){
		"no such pack":     func(m *manifest) { m.places[1].pack = 2 },
		"no such slot":     func(m *manifest) { m.places[0].slot = 1 },
		"empty pack":       func(m *manifest) { m.packs[0].pages = 0 },
		"too full a pack":  func(m *manifest) { m.packs[0].pages = packPages + 1 },
		"pack to come":     func(m *manifest) { m.packs[0].seq = 41 },
		"pages twice":      func(m *manifest) { m.Image.Pages[1].Number = 0 },
		"pages not sorted": func(m *manifest) { m.Image.Pages[2].Number = 1 },
	} {
		m := sample()
		change(m)
		if got, err := decodeManifest(m.encode()); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	whole := sample().encode()
	for n := range whole {
		if _, err := decodeManifest(whole[:n]); !errors.Is(err, ErrDamaged) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
	}
	if _, err := decodeManifest(append(whole, 0)); !errors.Is(err, ErrDamaged) {
		t.Errorf("one byte more: %v", err)
	}
}

// FuzzManifest checks that what is accepted is in bounds and comes back.
func FuzzManifest(f *testing.F) {
	f.Add(sample().encode())
	f.Add((&manifest{}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeManifest(b)
		if err != nil {
			return
		}
		for i, p := range m.places {
			if p.slot >= m.packs[p.pack].pages || i > 0 && m.Image.Pages[i-1].Number >= m.Image.Pages[i].Number {
				t.Fatalf("page %d is at %v of %v", i, p, m.packs)
			}
		}
		again, err := decodeManifest(m.encode())
		if diff := cmp.Diff(m, again, private, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Fatalf("%v (-first +second):\n%s", err, diff)
		}
	})
}

func FuzzRoot(f *testing.F) {
	f.Add((&root{seq: 9, parts: []string{strings.Repeat("d", digestLen)}, tail: []byte("tail")}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRoot(b)
		if err != nil {
			return
		}
		again, err := decodeRoot(r.encode())
		if diff := cmp.Diff(r, again, private, cmpopts.EquateEmpty()); err != nil || diff != "" {
			t.Fatalf("%v (-first +second):\n%s", err, diff)
		}
	})
}
