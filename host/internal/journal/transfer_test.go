package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/journal"
	words "github.com/vespiary/vespiary/host/store"
)

func (b *bench) export(tb testing.TB, id string) []byte {
	tb.Helper()
	var w bytes.Buffer
	if err := b.journals.Export(tb.Context(), "t", id, &w); err != nil {
		tb.Fatal(err)
	}
	return w.Bytes()
}

// shown is an entry as a reader sees it, without what belongs to one store.
type shown struct {
	Entry   host.Entry
	Payload string
	None    bool
}

func (b *bench) shown(tb testing.TB, tenant, id string) (out []shown) {
	tb.Helper()
	for e, err := range b.journals.Read(tb.Context(), tenant, id, 1) {
		if err != nil {
			tb.Fatal(err)
		}
		p, err := b.journals.Payload(tb.Context(), tenant, e)
		if err != nil {
			tb.Fatal(err)
		}
		e.Digest, e.Sealed, e.Domain = "", nil, ""
		out = append(out, shown{e, string(p), p == nil})
	}
	return out
}

func TestWhatIsExportedIsImported(t *testing.T) {
	b := storied(t)
	file := b.export(t, "s3")
	sum, err := journal.VerifyExport(bytes.NewReader(file))
	if err != nil || sum.Session != "s3" || sum.Entries != 10 || sum.Turns != 1 || sum.Epoch != 3 || sum.Open.Session.ID != "s3" {
		t.Fatalf("%+v, %v", sum, err)
	}
	elsewhere := open(t, t.TempDir())
	for id, r := range map[string]io.Reader{"n1": bytes.NewReader(file), "n2": iotest.OneByteReader(bytes.NewReader(file))} {
		var seen []uint64
		got, err := elsewhere.journals.Import(t.Context(), "u", r, journal.ImportOptions{
			Session: id, Owner: "new owner", Dir: t.TempDir(),
			Entry: func(e *host.Entry, _ []byte) error { seen = append(seen, e.Seq); return nil },
			Ops: func(s journal.Summary) ([]words.Op, error) {
				return []words.Op{{Key: []byte("own/" + id), Value: []byte(s.Open.Session.ID)}}, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		want := host.Session{ID: id, Tenant: "u", Owner: "new owner", Parent: sum.Root}
		if d := cmp.Diff(want, got.Open.Session); d != "" || got.Root != sum.Root || len(seen) != 10 {
			t.Errorf("%s: %v\n%s", id, seen, d)
		}
		if own := elsewhere.scan(t, "own/"+id); len(own) != 1 || string(own[0].Value) != id {
			t.Errorf("own record: %v", own)
		}
	}
	if left := elsewhere.scan(t, "i/"); len(left) > 0 {
		t.Errorf("marks are left: %v", left)
	}
	elsewhere = elsewhere.reopen(t)
	want := b.shown(t, "t", "s3")
	for _, id := range []string{"n1", "n2"} {
		got := elsewhere.shown(t, "u", id)
		for i := range got {
			if got[i].Entry.Kind == host.EntryOpen {
				want[i].Entry.Body = got[i].Entry.Body
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", id, d)
		}
		if v, err := elsewhere.journals.Verify(t.Context(), "u", id); err != nil || v.Entries != 10 {
			t.Errorf("%s: %+v, %v", id, v, err)
		}
	}
	l, err := elsewhere.journals.Acquire(t.Context(), "u", "n1")
	if err != nil {
		t.Fatal(err)
	}
	old, err := b.journals.Acquire(t.Context(), "t", "s1")
	if err != nil {
		t.Fatal(err)
	}
	if l.Hash([]byte("x")) != old.Hash([]byte("x")) {
		t.Error("requests cannot be compared any more")
	}
	if e := add(t, l, host.EntryResult, "goes on"); e.Seq != 13 || e.Epoch != 4 {
		t.Errorf("goes on as %d in epoch %d", e.Seq, e.Epoch)
	}
	commit(t, l)
	if err := l.Revert(t.Context(), 7); err != nil {
		t.Error(err)
	}
	if _, err := elsewhere.journals.Verify(t.Context(), "u", "n1"); err != nil {
		t.Error(err)
	}
}

// TestRandomJournalsComeBackEqual exports and imports journals of payloads of all sorts.
func TestRandomJournalsComeBackEqual(t *testing.T) {
	b := open(t, t.TempDir())
	r := rand.New(rand.NewPCG(3, 4))
	text := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "abcdefgh \"\\\n<>&{}[],\x01\xff"[r.IntN(22)]
		}
		return string(b)
	}
	for i := range 6 {
		from, to := fmt.Sprintf("from%d", i), fmt.Sprintf("to%d", i)
		l, err := b.journals.Create(t.Context(), session(from))
		if err != nil {
			t.Fatal(err)
		}
		for range 30 {
			add(t, l, host.EntryResult, text(r.IntN(5000)))
			if add(t, l, host.EntryIntent, conversation(r.IntN(30))); r.IntN(4) == 0 {
				commit(t, l)
				_ = l.Revert(t.Context(), 2+r.Uint64N(20)) // or it is refused
			}
		}
		add(t, l, host.EntrySnapshot, "not exported")
		add(t, l, host.EntryEnd, "")
		commit(t, l)
		if _, err := b.journals.Import(t.Context(), "t", bytes.NewReader(b.export(t, from)), journal.ImportOptions{Session: to}); err != nil {
			t.Fatal(err)
		}
		want, got := b.shown(t, "t", from), b.shown(t, "t", to)
		want = append(want[:len(want)-2], want[len(want)-1])
		want[0], got[0] = shown{}, shown{} // open
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	}
}

func TestAnyChangeOfAFileIsFound(t *testing.T) {
	b := open(t, t.TempDir())
	l := b.create(t)
	add(t, l, host.EntryIntent, conversation(3))
	add(t, l, host.EntryResult, "short")
	commit(t, l)
	file := b.export(t, "s1")
	if _, err := journal.VerifyExport(bytes.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	for i := range file {
		for _, flip := range []byte{0x01, 0x80, 0xff} {
			bad := bytes.Clone(file)
			bad[i] ^= flip
			if _, err := journal.VerifyExport(bytes.NewReader(bad)); err == nil {
				t.Errorf("byte %d of %d may change by %#x", i, len(file), flip)
			}
		}
		if _, err := journal.VerifyExport(bytes.NewReader(file[:i])); err == nil {
			t.Errorf("the file may end at byte %d", i)
		}
	}
	if _, err := journal.VerifyExport(bytes.NewReader(append(bytes.Clone(file), 0))); err == nil {
		t.Error("a byte may be added")
	}
	if _, err := journal.VerifyExport(bytes.NewReader(append(bytes.Clone(file), file...))); err == nil {
		t.Error("the file may be there twice")
	}
}

// TestAFailedImportLeavesNothing lets imports fail at every place.
func TestAFailedImportLeavesNothing(t *testing.T) {
	b := storied(t)
	file := b.export(t, "s2")
	bad := bytes.Clone(file)
	bad[len(bad)-1]++
	failure := errors.New("not this one")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	before := b.scan(t, "")
	for name, c := range map[string]struct {
		stop bool
		file []byte
		opt  journal.ImportOptions
		want string
	}{
		"altered":   {false, bad, journal.ImportOptions{Session: "n"}, "export it again"},
		"none":      {false, nil, journal.ImportOptions{Session: "n"}, "export it again"},
		"cancelled": {true, file, journal.ImportOptions{Session: "n"}, "canceled"},
		"exists":    {false, file, journal.ImportOptions{Session: "s1"}, "there is one"},
		"entry": {false, file, journal.ImportOptions{Session: "n", Entry: func(e *host.Entry, _ []byte) error {
			if e.Seq == 8 {
				return failure
			}
			return nil
		}}, "not this one"},
		"ops": {false, file, journal.ImportOptions{Session: "n", Ops: func(journal.Summary) ([]words.Op, error) { return nil, failure }}, "not this one"},
	} {
		ctx := t.Context()
		if c.stop {
			ctx = cancelled
		}
		_, err := b.journals.Import(ctx, "t", bytes.NewReader(c.file), c.opt)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(before, b.scan(t, "")); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if _, err := b.journals.Import(t.Context(), "t", bytes.NewReader(file), journal.ImportOptions{Session: "n"}); err != nil {
		t.Errorf("at last: %v", err)
	}
}

// crash is a store that fails once its countdown is over, as if the host ended there.
type crash struct {
	words.Store
	in int
}

func (c *crash) Commit(ctx context.Context, b words.Batch) (words.Revision, error) {
	if c.in--; c.in < 0 {
		return 0, words.ErrClosed
	}
	return c.Store.Commit(ctx, b)
}

func TestTidyRemovesWhatACrashLeft(t *testing.T) {
	b := storied(t)
	file := b.export(t, "s2")
	before := b.scan(t, "")
	for in := range 3 { // it claims the id, writes the entries, and ends
		c := &crash{b.store, in}
		j := journal.New(c, b.keys, journal.Options{})
		if _, err := j.Import(t.Context(), "t", bytes.NewReader(file), journal.ImportOptions{Session: "n"}); !errors.Is(err, words.ErrClosed) {
			t.Fatalf("after %d batches: %v", in, err)
		}
		for _, err := range b.journals.Read(t.Context(), "t", "n", 1) {
			if host.CodeOf(err) != host.ErrNotFound {
				t.Errorf("after %d batches the session is there: %v", in, err)
			}
		}
		if err := b.journals.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if after := b.scan(t, ""); len(after) != len(before) {
			t.Errorf("after %d batches: %d keys became %d", in, len(before), len(after))
		}
	}
	if _, err := b.journals.Import(t.Context(), "t", bytes.NewReader(file), journal.ImportOptions{Session: "n"}); err != nil {
		t.Fatal(err)
	}
	if err := b.journals.Tidy(t.Context()); err != nil || len(b.read(t, "n")) != 8 {
		t.Errorf("tidying took an import that had ended: %v", err)
	}
}

func TestErasedSessionsAreNotExported(t *testing.T) {
	b := storied(t)
	if err := b.journals.Erase(t.Context(), "t", "s1"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"s1", "s2"} { // s2 shares entries of s1
		if err := b.journals.Export(t.Context(), "t", id, io.Discard); host.CodeOf(err) != host.ErrConflict || !strings.Contains(err.Error(), "erased") {
			t.Errorf("%s: %v", id, err)
		}
	}
	if err := b.journals.Export(t.Context(), "t", "none", io.Discard); host.CodeOf(err) != host.ErrNotFound {
		t.Errorf("none: %v", err)
	}
}
