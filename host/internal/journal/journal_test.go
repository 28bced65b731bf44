package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/journal"
	"github.com/vespiary/vespiary/host/internal/store"
	words "github.com/vespiary/vespiary/host/store"
)

// bench is a real store with the journals in it.
type bench struct {
	dir      string
	store    *store.Local
	keys     *journal.Keys
	journals *journal.Journals
	told     []host.Entry
}

var master = bytes.Repeat([]byte{7}, 32)

func open(tb testing.TB, dir string) *bench {
	tb.Helper()
	s, err := store.Open(context.Background(), store.Options{Dir: dir, Edge: true, MinFree: 1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	k, err := journal.NewKeys(s, master)
	if err != nil {
		tb.Fatal(err)
	}
	b := &bench{dir: dir, store: s, keys: k}
	b.journals = journal.New(s, k, journal.Options{
		Now:       time.Now,
		Committed: func(_, _ string, es []host.Entry) { b.told = append(b.told, es...) },
	})
	return b
}

func (b *bench) reopen(tb testing.TB) *bench {
	tb.Helper()
	if err := b.store.Close(); err != nil {
		tb.Fatal(err)
	}
	return open(tb, b.dir)
}

// scan returns what the store holds under a prefix.
func (b *bench) scan(t *testing.T, prefix string) (out []words.Item) {
	t.Helper()
	err := b.store.View(t.Context(), func(tx words.Tx) error {
		for item, err := range tx.Scan(words.Query{Prefix: []byte(prefix)}) {
			if err != nil {
				return err
			}
			out = append(out, item)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func session(id string) host.Open {
	return host.Open{Session: host.Session{ID: id, Tenant: "t", Owner: "owner"}, Seed: bytes.Repeat([]byte{9}, 32)}
}

func (b *bench) create(tb testing.TB) *journal.Log {
	tb.Helper()
	l, err := b.journals.Create(tb.Context(), session("s1"))
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func (b *bench) read(tb testing.TB, id string) (out []host.Entry) {
	tb.Helper()
	for e, err := range b.journals.Read(tb.Context(), "t", id, 1) {
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func add(tb testing.TB, l *journal.Log, kind host.EntryKind, payload string) host.Entry {
	tb.Helper()
	e, err := l.Append(tb.Context(), host.Entry{Kind: kind, Turn: 1, Path: "1/1"}, map[string]string{"k": "v"}, []byte(payload))
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

func commit(tb testing.TB, l *journal.Log) {
	tb.Helper()
	if err := l.Commit(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

func kinds(es []host.Entry) string {
	var out []string
	for _, e := range es {
		out = append(out, fmt.Sprintf("%d:%s", e.Seq, e.Kind))
	}
	return strings.Join(out, " ")
}

func TestEntriesComeBackInOrder(t *testing.T) {
	b := open(t, t.TempDir())
	l := b.create(t)
	sizes := []int{0, 1, 100, 4 << 10, 4<<10 + 1, 512 << 10, 512<<10 + 1, 3 << 20}
	for _, n := range sizes {
		add(t, l, host.EntryResult, strings.Repeat("x", n))
	}
	for _, err := range b.journals.Read(t.Context(), "t", "s1", 1) {
		if host.CodeOf(err) != host.ErrNotFound {
			t.Fatalf("before its first commit the session is there: %v", err)
		}
	}
	commit(t, l)
	if len(b.told) != len(sizes)+1 {
		t.Errorf("told of %d entries, want %d", len(b.told), len(sizes)+1)
	}
	b = b.reopen(t)
	got := b.read(t, "s1")
	if len(got) != len(sizes)+1 {
		t.Fatalf("read %d entries, want %d", len(got), len(sizes)+1)
	}
	for i, e := range got[1:] {
		if e.Seq != uint64(i+2) || !e.Time.After(got[i].Time) {
			t.Errorf("entry %d has number %d and time %v after %v", i, e.Seq, e.Time, got[i].Time)
		}
		p, err := b.journals.Payload(t.Context(), "t", e)
		if err != nil || len(p) != sizes[i] {
			t.Errorf("payload of entry %d: %d bytes, %v; want %d", e.Seq, len(p), err, sizes[i])
		}
	}
}

func TestPayloadOverTheLimitIsRefused(t *testing.T) {
	b := open(t, t.TempDir())
	l := b.create(t)
	_, err := l.Append(t.Context(), host.Entry{Kind: host.EntryResult}, nil, make([]byte, host.MaxPayload+1))
	if !errors.Is(err, journal.ErrTooLarge) {
		t.Fatalf("got %v", err)
	}
	add(t, l, host.EntryResult, "still works")
	commit(t, l)
}

func TestNothingReadableLiesInTheStore(t *testing.T) {
	b := open(t, t.TempDir())
	l := b.create(t)
	secret := "the-code-word-is-hornet"
	add(t, l, host.EntryResult, secret)
	add(t, l, host.EntryAccepted, strings.Repeat(secret, 1000))
	add(t, l, host.EntryIntent, `{"messages":[{"role":"user","content":"`+secret+`"}]}`)
	commit(t, l)
	for _, item := range b.scan(t, "") {
		if bytes.Contains(item.Value, []byte("hornet")) {
			t.Errorf("key %q holds the payload in clear", item.Key)
		}
	}
}

func TestErasedPayloadsAreGoneAndEntriesStay(t *testing.T) {
	b := open(t, t.TempDir())
	l := b.create(t)
	add(t, l, host.EntryResult, "gone soon")
	commit(t, l)
	if err := b.journals.Erase(t.Context(), "t", "s1"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		es := b.read(t, "s1")
		if kinds(es) != "1:open 2:call.result" {
			t.Fatalf("entries: %s", kinds(es))
		}
		if _, err := b.journals.Payload(t.Context(), "t", es[1]); !errors.Is(err, journal.ErrErased) {
			t.Errorf("payload: %v, want ErrErased", err)
		}
		b = b.reopen(t)
	}
}

func TestAnotherMasterKeyIsNamed(t *testing.T) {
	b := open(t, t.TempDir())
	l := b.create(t)
	add(t, l, host.EntryResult, "x")
	commit(t, l)
	keys, err := journal.NewKeys(b.store, bytes.Repeat([]byte{8}, 32))
	if err != nil {
		t.Fatal(err)
	}
	_, err = journal.New(b.store, keys, journal.Options{Now: time.Now}).Acquire(t.Context(), "t", "s1")
	if err == nil || !strings.Contains(err.Error(), "master key file") {
		t.Errorf("got %v", err)
	}
	if _, err := journal.NewKeys(b.store, []byte("short")); err == nil {
		t.Error("a short master key is taken")
	}
}

func TestConversationsCostWhatIsNew(t *testing.T) {
	b := open(t, t.TempDir())
	l := b.create(t)
	var messages []string
	var last host.Entry
	say := noise(1)
	var grown []int
	for i := range 20 {
		messages = append(messages, fmt.Sprintf(`{"role":"user","content":"message %02d %s"}`, i, say(1000)))
		if i == 10 { // a new writer knows no parts and must not write them again
			commit(t, l)
			var err error
			if l, err = b.journals.Acquire(t.Context(), "t", "s1"); err != nil {
				t.Fatal(err)
			}
		}
		before := b.stored(t)
		last = add(t, l, host.EntryIntent, `{"model":"m","messages":[`+strings.Join(messages, ",")+`],"tools":[]}`)
		commit(t, l)
		grown = append(grown, b.stored(t)-before)
	}
	for i, n := range grown {
		if n > 2*grown[0] {
			t.Errorf("request %d added %d bytes, the first one %d", i, n, grown[0])
		}
	}
	p, err := b.journals.Payload(t.Context(), "t", last)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(`{"model":"m","messages":[`+strings.Join(messages, ",")+`],"tools":[]}`, string(p)); d != "" {
		t.Error(d)
	}
}

func TestOnlyTheNewestWriterWrites(t *testing.T) {
	b := open(t, t.TempDir())
	old := b.create(t)
	commit(t, old)
	next, err := b.journals.Acquire(t.Context(), "t", "s1")
	if err != nil {
		t.Fatal(err)
	}
	add(t, old, host.EntryResult, "from the old writer")
	if err := old.Commit(t.Context()); !errors.Is(err, journal.ErrFenced) {
		t.Errorf("old writer: %v, want ErrFenced", err)
	}
	if _, err := old.Append(t.Context(), host.Entry{Kind: host.EntryResult}, nil, nil); !errors.Is(err, journal.ErrFenced) {
		t.Errorf("old writer again: %v", err)
	}
	add(t, next, host.EntryEnd, "from the new one")
	commit(t, next)
	if got := kinds(b.read(t, "s1")); got != "1:open 2:turn.end" {
		t.Error(got)
	}
	if _, err := b.journals.Create(t.Context(), session("s1")); !errors.Is(err, journal.ErrFenced) {
		t.Errorf("create again: %v", err)
	}
	if _, err := b.journals.Acquire(t.Context(), "t", "none"); host.CodeOf(err) != host.ErrNotFound {
		t.Errorf("acquire of none: %v", err)
	}
}

func TestForkSharesAndRevertHides(t *testing.T) {
	b := open(t, t.TempDir())
	l := b.create(t)
	for _, p := range []string{"two", "three", "four"} {
		add(t, l, host.EntryResult, p)
	}
	commit(t, l)
	o := session("s2")
	o.Parent, o.At = "s1", 3
	f, err := b.journals.Fork(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	add(t, f, host.EntryEnd, "own")
	commit(t, f)
	add(t, l, host.EntryEnd, "parent goes on")
	commit(t, l)
	if err := l.Revert(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	add(t, l, host.EntryResult, "after the revert")
	commit(t, l)
	if l.Epoch() != 1 || f.Epoch() != 1 {
		t.Errorf("epochs: %d, %d", l.Epoch(), f.Epoch())
	}
	b = b.reopen(t)
	// The fork keeps what it shares although its parent has hidden it.
	for id, want := range map[string]string{
		"s1": "1:open 2:call.result 6:revert 7:call.result",
		"s2": "1:open 2:call.result 3:call.result 4:open 5:turn.end",
	} {
		if got := kinds(b.read(t, id)); got != want {
			t.Errorf("%s: %s", id, got)
		}
	}
	for _, e := range b.read(t, "s2") {
		if _, err := b.journals.Payload(t.Context(), "t", e); err != nil {
			t.Errorf("payload of shared entry %d: %v", e.Seq, err)
		}
	}
	l, err = b.journals.Acquire(t.Context(), "t", "s1")
	if err != nil {
		t.Fatal(err)
	}
	if e := add(t, l, host.EntryResult, "x"); e.Seq != 8 || e.Epoch != 1 {
		t.Errorf("goes on as %d in epoch %d", e.Seq, e.Epoch)
	}
	for _, at := range []uint64{0, 4, 99} {
		o := session("s3")
		o.Parent, o.At = "s1", at
		if _, err := b.journals.Fork(t.Context(), o); host.CodeOf(err) != host.ErrInvalid {
			t.Errorf("fork at %d: %v", at, err)
		}
	}
}

func TestParallelAppendsKeepTheirOrder(t *testing.T) {
	b := open(t, t.TempDir())
	l := b.create(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if _, err := l.Append(t.Context(), host.Entry{Kind: host.EntryResult}, nil, []byte("x")); err != nil {
					t.Error(err)
				}
				if err := l.Commit(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i, e := range b.read(t, "s1") {
		if e.Seq != uint64(i+1) {
			t.Fatalf("entry %d has number %d", i+1, e.Seq)
		}
	}
	for i, e := range b.told {
		if e.Seq != uint64(i+1) {
			t.Fatalf("told of %d in place %d", e.Seq, i+1)
		}
	}
}

// full is a store whose disk can be said to be full.
type full struct {
	*store.Local
	now bool
}

func (f *full) Commit(ctx context.Context, b words.Batch) (words.Revision, error) {
	if f.now {
		return 0, words.ErrFull
	}
	return f.Local.Commit(ctx, b)
}

func TestAppendNowAddsAllOrNothing(t *testing.T) {
	b := open(t, t.TempDir())
	disk := &full{Local: b.store}
	journals := journal.New(disk, b.keys, journal.Options{Now: time.Now})
	l, err := journals.Create(t.Context(), session("s1"))
	if err != nil {
		t.Fatal(err)
	}
	commit(t, l)
	now := func(payload string) error {
		_, err := l.AppendNow(t.Context(), host.Entry{Kind: host.EntryAccepted}, nil, []byte(payload))
		return err
	}
	if err := now("a"); err != nil {
		t.Fatal(err)
	}
	disk.now = true
	if err := now("b"); !errors.Is(err, words.ErrFull) {
		t.Errorf("on a full disk: %v", err)
	}
	add(t, l, host.EntryResult, "waits")
	if err := now("c"); !errors.Is(err, words.ErrFull) {
		t.Errorf("behind what waits: %v", err)
	}
	disk.now = false
	if err := now("d"); err != nil {
		t.Fatal(err)
	}
	if got := kinds(b.read(t, "s1")); got != "1:open 2:event.accepted 3:call.result 4:event.accepted" {
		t.Error(got)
	}
}

func TestLargeRequestsFullOfMarkupAreKept(t *testing.T) {
	b := open(t, t.TempDir())
	l := b.create(t)
	request := `{"messages":[{"role":"user","content":"` + strings.Repeat("<", 7<<20) + `"}]}`
	e := add(t, l, host.EntryIntent, request)
	commit(t, l)
	p, err := b.journals.Payload(t.Context(), "t", e)
	if err != nil || string(p) != request {
		t.Errorf("%d bytes came back, %v", len(p), err)
	}
}

func TestDamagedEntryIsNamed(t *testing.T) {
	b := open(t, t.TempDir())
	l := b.create(t)
	add(t, l, host.EntryResult, "x")
	commit(t, l)
	entries := b.scan(t, "j/")
	key := entries[len(entries)-1].Key
	if _, err := b.store.Commit(t.Context(), words.Batch{Ops: []words.Op{{Key: key, Value: []byte("\x01damage")}}}); err != nil {
		t.Fatal(err)
	}
	for _, err := range b.journals.Read(t.Context(), "t", "s1", 1) {
		if err != nil {
			if !strings.Contains(err.Error(), "s1") {
				t.Errorf("the error does not name the session: %v", err)
			}
			return
		}
	}
	t.Error("a damaged entry was read")
}
