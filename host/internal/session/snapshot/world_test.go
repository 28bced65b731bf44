package snapshot_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/journal"
	"github.com/vespiary/vespiary/host/internal/session/snapshot"
	"github.com/vespiary/vespiary/host/internal/store"
	words "github.com/vespiary/vespiary/host/store"
)

// world is a real store with journals, which hold the sessions' keys, and a keeper.
type world struct {
	dir      string
	store    *store.Local
	faulty   *faulty
	journals *journal.Journals
	*snapshot.Keeper
}

func open(tb testing.TB, dir string) *world {
	tb.Helper()
	s, err := store.Open(context.Background(), store.Options{Dir: dir, Edge: true, MinFree: 1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	keys, err := journal.NewKeys(s, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		tb.Fatal(err)
	}
	f := &faulty{Store: s, left: -1}
	j := journal.New(s, keys, journal.Options{Now: time.Now})
	return &world{dir, s, f, j, snapshot.New(f, j)}
}

func newWorld(tb testing.TB, sessions ...string) *world {
	tb.Helper()
	w := open(tb, tb.TempDir())
	for _, id := range append(sessions, "s") {
		l, err := w.journals.Create(tb.Context(), host.Open{Session: host.Session{ID: id, Tenant: "t", Owner: "o"}})
		if err == nil {
			err = l.Commit(tb.Context()) // the session's key with it
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	return w
}

func (w *world) reopen(tb testing.TB) *world {
	tb.Helper()
	if err := w.store.Close(); err != nil {
		tb.Fatal(err)
	}
	return open(tb, w.dir)
}

// faulty is a store that fails after some commits, as a host that is killed.
type faulty struct {
	words.Store
	left int // commits that still succeed; negative: all
}

var errKilled = errors.New("killed")

func (f *faulty) Commit(ctx context.Context, b words.Batch) (words.Revision, error) {
	if f.left == 0 {
		return 0, errKilled
	}
	f.left--
	return f.Store.Commit(ctx, b)
}

// put stores a snapshot and commits it.
func (w *world) put(tb testing.TB, t snapshot.Taken) snapshot.Stored {
	tb.Helper()
	s, err := w.Put(tb.Context(), "t", "s", t)
	if err != nil {
		tb.Fatal(err)
	}
	w.commit(tb, s.Ops)
	return s
}

func (w *world) commit(tb testing.TB, ops []words.Op) {
	tb.Helper()
	if _, err := w.store.Commit(tb.Context(), words.Batch{Ops: ops}); err != nil {
		tb.Fatal(err)
	}
}

func (w *world) newest(tb testing.TB, upTo uint64) *snapshot.Taken {
	tb.Helper()
	t, err := w.Newest(tb.Context(), "t", "s", upTo)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func (w *world) prune(tb testing.TB, keep int) {
	tb.Helper()
	if err := w.Prune(tb.Context(), "t", "s", keep); err != nil {
		tb.Fatal(err)
	}
}

func (w *world) drop(tb testing.TB, after uint64) {
	tb.Helper()
	if err := w.Drop(tb.Context(), "t", "s", after); err != nil {
		tb.Fatal(err)
	}
}

// scan returns what lies under the session's prefix followed by what is given: m/ for
// manifests, p/ for packs.
func (w *world) scan(tb testing.TB, kind string) (out []words.Item) {
	tb.Helper()
	prefix := append(snapshot.Prefixes("t", "s")[0], kind...)
	err := w.store.View(tb.Context(), func(tx words.Tx) error {
		for item, err := range tx.Scan(words.Query{Prefix: prefix}) {
			if err != nil {
				return err
			}
			out = append(out, item)
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// taken is a snapshot of an image at an entry.
func taken(seq uint64, i host.Image) snapshot.Taken {
	return snapshot.Taken{
		Turn: int(seq / 2), Seq: seq, Epoch: 3, Module: "sha256:module", Prepared: 2, Fuel: int64(seq) * 1000, Image: i,
	}
}

// image makes one whose pages hold what is given.
func image(pages map[uint32]string) host.Image {
	i := host.Image{
		Base: "sha256:base", Size: 3 << 20, Globals: []uint64{65536, 0, 1 << 63},
		Vars: map[string][]byte{"a": []byte("1"), "empty": {}},
	}
	for n := range uint32(1 << 10) {
		if text, ok := pages[n]; ok {
			i.Pages = append(i.Pages, host.ImagePage{Number: n, Data: page(text)})
		}
	}
	return i
}

func page(text string) []byte {
	data := make([]byte, host.ImagePageSize)
	for n := 0; n < len(data) && text != ""; n += 256 {
		copy(data[n:], text)
	}
	return data
}

// noise is a page that cannot be compressed.
func noise(r *rand.Rand) []byte {
	data := make([]byte, 0, host.ImagePageSize)
	for len(data) < host.ImagePageSize {
		data = binary.LittleEndian.AppendUint64(data, r.Uint64())
	}
	return data
}

// same compares a snapshot with what was stored. It compares bytes in bulk, since cmp
// looks at them one by one.
func same(tb testing.TB, what string, want, got *snapshot.Taken) {
	tb.Helper()
	if want != nil && got != nil {
		if !maps.EqualFunc(want.Image.Vars, got.Image.Vars, bytes.Equal) {
			tb.Fatalf("%s the variables are others", what)
		}
		a, b := *want, *got
		a.Image.Vars, b.Image.Vars, b.Digest = nil, nil, ""
		want, got = &a, &b
	}
	pages := cmp.Comparer(func(a, b host.ImagePage) bool { return a.Number == b.Number && bytes.Equal(a.Data, b.Data) })
	if diff := cmp.Diff(want, got, pages, cmpopts.EquateEmpty()); diff != "" {
		tb.Fatalf("%s (-want +got):\n%.2000s", what, diff)
	}
}
