package snapshot_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/journal"
	"github.com/vespiary/vespiary/host/internal/session/snapshot"
	"github.com/vespiary/vespiary/host/store"
)

func TestSnapshotsComeBack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	large := host.Image{Base: "b", Size: 64 << 20, Vars: map[string][]byte{"v": nil}}
	for range 150 { // a manifest of several parts
		large.Vars["v"] = append(large.Vars["v"], noise(r)...)
	}
	for n := range uint32(1500) { // several commits
		large.Pages = append(large.Pages, host.ImagePage{Number: n * 3, Data: noise(r)})
	}
	for name, i := range map[string]host.Image{
		"nothing":    {},
		"no pages":   {Base: "b", Size: 65536, Globals: []uint64{1}},
		"few":        image(map[uint32]string{0: "zero", 7: "seven", 8: "seven", 1023: ""}),
		"the last":   {Base: "b", Pages: []host.ImagePage{{Number: 1<<32 - 1, Data: page("x")}}},
		"many, long": large,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			want := taken(10, i)
			s := w.put(t, want)
			if s.Pages != len(i.Pages) {
				t.Errorf("of %d pages: %d", len(i.Pages), s.Pages)
			}
			w = w.reopen(t)
			got := w.newest(t, 10)
			same(t, "after a restart", &want, got)
			if got.Digest != s.Digest {
				t.Errorf("the digest is %s, was %s", got.Digest, s.Digest)
			}
			if got := w.newest(t, 9); got != nil {
				t.Errorf("before it was taken there is %+v", got)
			}
			var held int64
			for _, item := range w.scan(t, "") {
				held += int64(len(item.Key) + len(item.Value))
			}
			if held != s.Bytes {
				t.Errorf("said to take %d bytes, took %d", s.Bytes, held)
			}
		})
	}
}

func TestBadImagesAreRefused(t *testing.T) {
	w := newWorld(t)
	for name, pages := range map[string][]host.ImagePage{
		"short": {{Number: 1, Data: []byte("x")}},
		"twice": {{Number: 1, Data: page("x")}, {Number: 1, Data: page("x")}},
		"order": {{Number: 2, Data: page("x")}, {Number: 1, Data: page("x")}},
	} {
		if _, err := w.Put(t.Context(), "t", "s", taken(1, host.Image{Pages: pages})); err == nil {
			t.Errorf("%s was stored", name)
		}
	}
}

// TestOnlyNewPagesAreWritten follows a session that changes a few pages a turn.
func TestOnlyNewPagesAreWritten(t *testing.T) {
	w := newWorld(t)
	r := rand.New(rand.NewPCG(3, 4))
	i := image(nil)
	for n := range uint32(400) {
		i.Pages = append(i.Pages, host.ImagePage{Number: n, Data: noise(r)})
	}
	first := w.put(t, taken(1, i))
	if first.New != 400 || first.Pages != 400 {
		t.Errorf("the first has %d new pages of %d", first.New, first.Pages)
	}
	again := w.put(t, taken(2, i))
	if again.New != 0 || again.Digest != first.Digest {
		t.Errorf("an equal one has %d new pages, digest %s and not %s", again.New, again.Digest, first.Digest)
	}
	var written int64
	for seq := uint64(3); seq < 103; seq++ {
		for range 5 {
			i.Pages[r.IntN(400)].Data = noise(r)
		}
		s := w.put(t, taken(seq, i))
		if s.New == 0 || s.New > 5 {
			t.Fatalf("5 changes made %d new pages", s.New)
		}
		if s.Digest == first.Digest {
			t.Fatal("another image has the same digest")
		}
		written += s.Bytes
	}
	w.prune(t, 1)
	if n := len(w.scan(t, "p/")); n > 400/32+7 {
		t.Errorf("400 pages lie in %d packs", n)
	}
	// 100 manifests, and 500 changed pages, some of them more than once.
	if all := 100 * first.Bytes; written > all/12 {
		t.Errorf("100 turns wrote %d bytes, whole images would be %d", written, all)
	}
	want := taken(102, i)
	same(t, "after 100 turns", &want, w.newest(t, 1000))
}

func TestEqualImagesOfTwoSessionsHaveOneDigest(t *testing.T) {
	w := newWorld(t, "other")
	i := image(map[uint32]string{1: "x"})
	a := w.put(t, taken(1, i))
	b, err := w.Put(t.Context(), "t", "other", taken(7, i))
	if err != nil || a.Digest != b.Digest {
		t.Errorf("%s and %s, %v", a.Digest, b.Digest, err)
	}
	for name, change := range map[string]func(*host.Image){
		"base":   func(i *host.Image) { i.Base = "other" },
		"size":   func(i *host.Image) { i.Size++ },
		"global": func(i *host.Image) { i.Globals = []uint64{2} },
		"var":    func(i *host.Image) { i.Vars = map[string][]byte{"a": []byte("2"), "empty": {}} },
		"number": func(i *host.Image) { i.Pages = []host.ImagePage{{Number: 2, Data: i.Pages[0].Data}} },
		"page":   func(i *host.Image) { i.Pages = []host.ImagePage{{Number: 1, Data: page("y")}} },
	} {
		other := i
		change(&other)
		if s := w.put(t, taken(2, other)); s.Digest == a.Digest {
			t.Errorf("another %s has the same digest", name)
		}
	}
}

func TestNothingReadableLiesInTheStore(t *testing.T) {
	const secret = "a secret of the user, which is long enough"
	w := newWorld(t)
	i := image(map[uint32]string{1: secret})
	i.Vars["v"] = []byte(secret)
	w.put(t, taken(1, i))
	for _, item := range w.scan(t, "") {
		if bytes.Contains(item.Value, []byte("secret")) || bytes.Contains(item.Value, []byte("sha256:")) {
			t.Errorf("%q is readable", item.Key)
		}
	}
	if err := w.journals.Erase(t.Context(), "t", "s"); err != nil {
		t.Fatal(err)
	}
	_, err := w.Newest(t.Context(), "t", "s", 1)
	if !errors.Is(err, snapshot.ErrDamaged) || !errors.Is(err, journal.ErrErased) {
		t.Errorf("after its key was destroyed: %v", err)
	}
}

// TestDamageIsFound damages each value of a snapshot in each way.
func TestDamageIsFound(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	i := image(nil)
	for n := range uint32(200) {
		i.Pages = append(i.Pages, host.ImagePage{Number: n, Data: noise(r)})
	}
	i.Vars["long"] = bytes.Join([][]byte{i.Pages[0].Data, noise(r)}, nil)
	for len(i.Vars["long"]) < 400<<10 {
		i.Vars["long"] = append(i.Vars["long"], noise(r)...)
	}
	w := newWorld(t)
	want := taken(4, i)
	w.put(t, want)
	all := w.scan(t, "")
	if len(all) != 4 { // two packs, the first part of the manifest and the rest
		t.Fatalf("the snapshot has %d parts", len(all))
	}
	for n, item := range all {
		other := all[(n+1)%len(all)]
		for name, value := range map[string][]byte{
			"missing":    nil,
			"empty":      {},
			"cut":        item.Value[:len(item.Value)-1],
			"flipped":    flip(item.Value, len(item.Value)/2),
			"misnamed":   flip(item.Value, 0),
			"exchanged":  other.Value,
			"only names": item.Value[:43],
		} {
			w.commit(t, []store.Op{{Key: item.Key, Value: value}})
			got, err := w.Newest(t.Context(), "t", "s", 4)
			gone := value == nil && bytes.Contains(item.Key, []byte("/s/m/")) // no manifest, no snapshot
			if got != nil || !gone && !errors.Is(err, snapshot.ErrDamaged) {
				t.Errorf("%q is %s: %v", item.Key, name, err)
			}
			w.commit(t, []store.Op{{Key: item.Key, Value: item.Value}})
			same(t, "repaired", &want, w.newest(t, 4))
		}
	}
}

func flip(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[at] ^= 1
	return b
}

// TestManifestOfAnotherTimeIsDamage puts an old manifest in the place of a new one.
func TestManifestOfAnotherTimeIsDamage(t *testing.T) {
	w := newWorld(t)
	w.put(t, taken(1, image(map[uint32]string{1: "old"})))
	w.put(t, taken(2, image(map[uint32]string{1: "new"})))
	m := w.scan(t, "m/")
	w.commit(t, []store.Op{{Key: m[1].Key, Value: m[0].Value}})
	if got, err := w.Newest(t.Context(), "t", "s", 2); !errors.Is(err, snapshot.ErrDamaged) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestPutDoesNotBuildOnDamage checks that the next snapshot is whole.
func TestPutDoesNotBuildOnDamage(t *testing.T) {
	i := image(map[uint32]string{1: "one", 2: "two"})
	for name, damage := range map[string]func(*testing.T, *world){
		"manifest": func(t *testing.T, w *world) {
			t.Helper()
			m := w.scan(t, "m/")[0]
			w.commit(t, []store.Op{{Key: m.Key, Value: flip(m.Value, 60)}})
		},
		"pack, dropped": func(t *testing.T, w *world) {
			t.Helper()
			p := w.scan(t, "p/")[0]
			w.commit(t, []store.Op{{Key: p.Key, Value: flip(p.Value, 60)}})
			w.drop(t, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.put(t, taken(1, i))
			damage(t, w)
			want := taken(2, i)
			if s := w.put(t, want); s.New != 2 {
				t.Errorf("%d pages are new", s.New)
			}
			same(t, "the next", &want, w.newest(t, 2))
		})
	}
}

// TestInterruptedAtEveryCommit kills the host at each commit of a Put, a Prune and a
// Drop: what is left is the old snapshot or the new one, and the next Prune tidies up.
func TestInterruptedAtEveryCommit(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	large := func() host.Image {
		i := host.Image{Base: "b"}
		for n := range uint32(1500) {
			i.Pages = append(i.Pages, host.ImagePage{Number: n, Data: noise(r)})
		}
		return i
	}
	w := newWorld(t)
	before, after := taken(1, large()), taken(2, large())
	w.put(t, before)
	w.prune(t, 1)
	packs := len(w.scan(t, "p/"))
	for n := 0; ; n++ {
		w.faulty.left = n
		s, err := w.Put(t.Context(), "t", "s", after)
		w.faulty.left = -1
		same(t, fmt.Sprintf("after %d commits", n), &before, w.newest(t, 9))
		w.prune(t, 2) // spares what may be about to be committed
		if err == nil {
			if n == 0 {
				t.Error("there was nothing to interrupt")
			}
			w.commit(t, s.Ops)
			break
		}
		if !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
	}
	same(t, "committed", &after, w.newest(t, 9))
	same(t, "the old one", &before, w.newest(t, 1))
	w.prune(t, 1)
	if n := len(w.scan(t, "p/")); n != packs {
		t.Errorf("%d packs are left of %d", n, packs)
	}
	w.faulty.left = 0
	if err := w.Drop(t.Context(), "t", "s", 1); !errors.Is(err, errKilled) {
		t.Errorf("drop: %v", err)
	}
	same(t, "after an interrupted drop", &after, w.newest(t, 9))
}

// TestLeftoversAreCollected abandons a Put before its commit.
func TestLeftoversAreCollected(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	w := newWorld(t)
	i := host.Image{Base: "b"}
	for n := range uint32(400) {
		i.Pages = append(i.Pages, host.ImagePage{Number: n, Data: noise(r)})
	}
	if _, err := w.Put(t.Context(), "t", "s", taken(1, i)); err != nil {
		t.Fatal(err)
	}
	if len(w.scan(t, "p/")) == 0 {
		t.Fatal("nothing was left behind")
	}
	want := taken(2, image(map[uint32]string{1: "x"}))
	w.put(t, want)
	w.prune(t, 1)
	if n := len(w.scan(t, "")); n != 2 {
		t.Errorf("%d keys are left", n)
	}
	same(t, "the next", &want, w.newest(t, 2))
	w.prune(t, 0)
	if left := w.scan(t, ""); len(left) != 0 {
		t.Errorf("%d keys are left of nothing", len(left))
	}
}

// TestLostHostDamagesNothing has a host that lost the session store another image under
// the same number, and prune, after the new host has committed its own.
func TestLostHostDamagesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	w := newWorld(t)
	w.put(t, taken(1, image(map[uint32]string{1: "x"})))
	want := taken(2, image(map[uint32]string{1: "x", 2: "mine"}))
	w.put(t, want)
	other := host.Image{Base: "b"}
	for n := range uint32(400) {
		other.Pages = append(other.Pages, host.ImagePage{Number: n, Data: noise(r)})
	}
	if _, err := w.Put(t.Context(), "t", "s", taken(2, other)); err != nil {
		t.Fatal(err)
	}
	w.prune(t, 1)
	same(t, "afterwards", &want, w.newest(t, 2))
}

func TestCancelledIsNotDamaged(t *testing.T) {
	w := newWorld(t)
	w.put(t, taken(1, image(nil)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, read := w.Newest(ctx, "t", "s", 1)
	_, put := w.Put(ctx, "t", "s", taken(2, image(nil)))
	for _, err := range []error{read, put, w.Prune(ctx, "t", "s", 1), w.Drop(ctx, "t", "s", 0)} {
		if !errors.Is(err, context.Canceled) || errors.Is(err, snapshot.ErrDamaged) {
			t.Errorf("%v", err)
		}
	}
}
