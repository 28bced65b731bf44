package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/journal"
	words "github.com/vespiary/vespiary/host/store"
)

// conversation is a request to a model with n messages.
func conversation(n int) string {
	var messages []string
	for i := range n {
		messages = append(messages, fmt.Sprintf(`{"role":"user","content":"%02d %s"}`, i, strings.Repeat("word ", 150)))
	}
	return `{"model":"m","messages":[` + strings.Join(messages, ",") + `],"tools":[]}`
}

// storied makes sessions s1 with a revert, its fork s2, and the fork's fork s3.
func storied(t *testing.T) *bench {
	t.Helper()
	b := open(t, t.TempDir())
	l := b.create(t)
	add(t, l, host.EntryResult, "two")
	add(t, l, host.EntryIntent, conversation(10))
	add(t, l, host.EntryResult, "four is hidden")
	add(t, l, host.EntryResult, strings.Repeat("five is hidden ", 1000))
	commit(t, l)
	if err := l.Revert(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	add(t, l, host.EntryIntent, conversation(12))
	commit(t, l)
	b.fork(t, "s2", "s1", 7)
	b.fork(t, "s3", "s2", 9)
	b.fork(t, "s4", "s2", 2)
	return b
}

func (b *bench) fork(t *testing.T, id, parent string, at uint64) {
	t.Helper()
	o := session(id)
	o.Parent, o.At = parent, at
	f, err := b.journals.Fork(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	add(t, f, host.EntryIntent, conversation(14))
	commit(t, f)
	if f, err = b.journals.Acquire(t.Context(), "t", id); err != nil { // the chain goes on
		t.Fatal(err)
	}
	add(t, f, host.EntryEnd, "end of "+id)
	commit(t, f)
}

func TestVerifyCountsEverything(t *testing.T) {
	b := storied(t)
	b = b.reopen(t)
	chains := map[string]bool{}
	for id, want := range map[string]host.Verified{
		"s1": {Entries: 7, Read: 5},
		"s2": {Entries: 10, Read: 7},
		"s3": {Entries: 12, Read: 8}, // up to 9, and its own three
		"s4": {Entries: 5, Read: 3},
	} {
		got, err := b.journals.Verify(t.Context(), "t", id)
		if err != nil || len(got.Chain) != len("sha256:")+64 || chains[got.Chain] {
			t.Errorf("%s: chain %q, %v", id, got.Chain, err)
		}
		chains[got.Chain] = true
		want.Session, want.Chain = id, got.Chain
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	if err := b.journals.Erase(t.Context(), "t", "s2"); err != nil {
		t.Fatal(err)
	}
	got, err := b.journals.Verify(t.Context(), "t", "s3")
	if err != nil || got.Erased != 1 || got.Read != 7 {
		t.Errorf("with the middle erased: %+v, %v", got, err)
	}
	if _, err := b.journals.Verify(t.Context(), "t", "none"); host.CodeOf(err) != host.ErrNotFound {
		t.Errorf("none: %v", err)
	}
}

// TestVerifyNamesTheFirstBadEntry changes the store in every way that leaves its own
// checksums right.
func TestVerifyNamesTheFirstBadEntry(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(b *bench, entries []words.Item) []words.Op
		want string
	}{
		"byte": {func(_ *bench, es []words.Item) []words.Op {
			es[4].Value[20] ^= 1
			return []words.Op{{Key: es[4].Key, Value: es[4].Value}}
		}, "entry 5: journal: entry is damaged: its checksum"},
		"removed": {func(_ *bench, es []words.Item) []words.Op {
			return []words.Op{{Key: es[1].Key}}
		}, "entry 3: journal: entry is damaged: entry 2 before it is missing"},
		"swapped": {func(_ *bench, es []words.Item) []words.Op {
			return []words.Op{{Key: es[1].Key, Value: es[2].Value}, {Key: es[2].Key, Value: es[1].Value}}
		}, "entry 2: journal: entry is damaged: it is entry 3"},
		"rewritten": {func(b *bench, es []words.Item) []words.Op {
			e := b.read(t, "s1")[1]
			e.Body = []byte(`{"k":"forged"}`)
			return []words.Op{{Key: es[1].Key, Value: journal.Encode(e)}}
		}, "entry 2: journal: entry is damaged: its link"},
		"unchained": {func(b *bench, es []words.Item) []words.Op {
			return []words.Op{{Key: es[1].Key, Value: journal.WithoutChain(b.read(t, "s1")[1])}}
		}, "entry 2: journal: entry is damaged: it has no link"},
		"last of what a fork shares": {func(_ *bench, es []words.Item) []words.Op {
			return []words.Op{{Key: es[6].Key}}
		}, "entry 7: journal: entry is damaged: it is missing"},
		"payload": {func(b *bench, _ []words.Item) (ops []words.Op) {
			for _, item := range b.scan(t, "b/t/s1/") {
				item.Value[0] ^= 1
				ops = append(ops, words.Op{Key: item.Key, Value: item.Value})
			}
			return ops
		}, "entry 3: journal: entry is damaged: payload"},
		"payload missing": {func(b *bench, _ []words.Item) (ops []words.Op) {
			for _, item := range b.scan(t, "b/t/s1/") {
				ops = append(ops, words.Op{Key: item.Key})
			}
			return ops
		}, "entry 3: journal: entry is damaged: payload"},
	} {
		t.Run(name, func(t *testing.T) {
			b := storied(t)
			ops := c.harm(b, b.scan(t, "j/t/s1/"))
			if _, err := b.store.Commit(t.Context(), words.Batch{Ops: ops}); err != nil {
				t.Fatal(err)
			}
			for _, id := range []string{"s2", "s3"} {
				got, err := b.journals.Verify(t.Context(), "t", id)
				if err == nil || !strings.Contains(err.Error(), "session s1, "+c.want) {
					t.Errorf("%s: %+v, %v; want %s", id, got, err, c.want)
				}
			}
		})
	}
}

// TestAChainBeginsAfterOldEntries goes on with a journal from before there was a chain.
func TestAChainBeginsAfterOldEntries(t *testing.T) {
	b := open(t, t.TempDir())
	l := b.create(t)
	add(t, l, host.EntryResult, "old")
	commit(t, l)
	for _, e := range b.read(t, "s1") {
		item := b.scan(t, "j/")[e.Seq-1]
		if _, err := b.store.Commit(t.Context(), words.Batch{Ops: []words.Op{{Key: item.Key, Value: journal.WithoutChain(e)}}}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := b.journals.Verify(t.Context(), "t", "s1"); err != nil || got.Chain != "" || got.Entries != 2 || got.Read != 1 {
		t.Errorf("before: %+v, %v", got, err)
	}
	l, err := b.journals.Acquire(t.Context(), "t", "s1")
	if err != nil {
		t.Fatal(err)
	}
	add(t, l, host.EntryResult, "new")
	commit(t, l)
	b.fork(t, "s2", "s1", 2)
	b.fork(t, "s3", "s1", 3)
	for id, n := range map[string]uint64{"s1": 3, "s2": 5, "s3": 6} {
		if got, err := b.journals.Verify(t.Context(), "t", id); err != nil || got.Chain == "" || got.Entries != n {
			t.Errorf("%s: %+v, %v", id, got, err)
		}
	}
}

// TestADroppedEntryLeavesNoTrace drops entries that brought new parts of a conversation.
func TestADroppedEntryLeavesNoTrace(t *testing.T) {
	b := open(t, t.TempDir())
	disk := &full{Local: b.store}
	l, err := journal.New(disk, b.keys, journal.Options{Now: time.Now}).Create(t.Context(), session("s1"))
	if err != nil {
		t.Fatal(err)
	}
	commit(t, l)
	now := func(n int) error {
		_, err := l.AppendNow(t.Context(), host.Entry{Kind: host.EntryAccepted}, nil, []byte(conversation(n)))
		return err
	}
	for n := 10; n < 14; n++ {
		disk.now = true
		if err := now(n); !errors.Is(err, words.ErrFull) {
			t.Fatalf("on a full disk: %v", err)
		}
		disk.now = false
		if err := now(n); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := b.journals.Verify(t.Context(), "t", "s1"); err != nil || got.Entries != 5 || got.Read != 4 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestForksSeeWhatTheirParentsSaw(t *testing.T) {
	b := storied(t)
	for id, want := range map[string]string{
		"s1": "1:open 2:call.result 3:call.intent 6:revert 7:call.intent",
		"s2": "1:open 2:call.result 3:call.intent 6:revert 7:call.intent 8:open 9:call.intent 10:turn.end",
		"s3": "1:open 2:call.result 3:call.intent 6:revert 7:call.intent 8:open 9:call.intent 10:open 11:call.intent 12:turn.end",
		"s4": "1:open 2:call.result 3:open 4:call.intent 5:turn.end",
	} {
		if got := kinds(b.read(t, id)); got != want {
			t.Errorf("%s: %s", id, got)
		}
		for _, e := range b.read(t, id) {
			if p, err := b.journals.Payload(t.Context(), "t", e); err != nil || e.Kind == host.EntryIntent && !strings.HasSuffix(conversation(14), string(p[len(p)-20:])) {
				t.Errorf("%s, entry %d: %v", id, e.Seq, err)
			}
		}
	}
	for _, at := range []uint64{4, 5, 11} { // hidden from s2, or not there
		o := session("s5")
		o.Parent, o.At = "s2", at
		if _, err := b.journals.Fork(t.Context(), o); host.CodeOf(err) != host.ErrInvalid {
			t.Errorf("fork at %d: %v", at, err)
		}
	}
	l, err := b.journals.Acquire(t.Context(), "t", "s2")
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []uint64{0, 3, 7, 10, 11} { // its own entries are 8 to 10
		if err := l.Revert(t.Context(), to); host.CodeOf(err) != host.ErrInvalid {
			t.Errorf("revert to %d: %v", to, err)
		}
	}
	if err := l.Revert(t.Context(), 8); err != nil {
		t.Fatal(err)
	}
	b.fork(t, "s6", "s2", 11)
	if got := kinds(b.read(t, "s6")); got != "1:open 2:call.result 3:call.intent 6:revert 7:call.intent 8:open 11:revert 12:open 13:call.intent 14:turn.end" {
		t.Errorf("s6: %s", got)
	}
	// What an ancestor hides later stays visible to those that shared it before.
	if l, err = b.journals.Acquire(t.Context(), "t", "s1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Revert(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	b.fork(t, "s7", "s2", 7)
	if got := kinds(b.read(t, "s7")); got != "1:open 2:call.result 3:call.intent 6:revert 7:call.intent 8:open 9:call.intent 10:turn.end" {
		t.Errorf("s7: %s", got)
	}
	for _, id := range []string{"s1", "s2", "s3", "s6", "s7"} {
		if _, err := b.journals.Verify(t.Context(), "t", id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestHashKeysGoWithTheSession(t *testing.T) {
	b := open(t, t.TempDir())
	hashes := func(id string) string {
		l, err := b.journals.Acquire(t.Context(), "t", id)
		if err != nil {
			t.Fatal(err)
		}
		return l.Hash([]byte("request"))
	}
	for _, id := range []string{"a", "b"} {
		l, err := b.journals.Create(t.Context(), session(id))
		if err != nil {
			t.Fatal(err)
		}
		commit(t, l)
	}
	b.fork(t, "a2", "a", 1)
	b.fork(t, "a3", "a2", 2)
	b = b.reopen(t)
	hash, err := b.journals.Hasher(t.Context(), "t", "a2")
	if err != nil || hash([]byte("request")) != hashes("a2") {
		t.Errorf("a reader hashes in another way: %v", err)
	}
	if hashes("a") == hashes("b") {
		t.Error("two sessions have one hash key")
	}
	if hashes("a") != hashes("a2") || hashes("a") != hashes("a3") {
		t.Error("a branch has another hash key than what it branches from")
	}
	if err := b.journals.Erase(t.Context(), "t", "a"); err != nil {
		t.Fatal(err)
	}
	o := session("a4")
	o.Parent, o.At = "a", 1
	if _, err := b.journals.Fork(t.Context(), o); err == nil || !strings.Contains(err.Error(), "erased") {
		t.Errorf("fork of an erased session: %v", err)
	}
}

// TestOldKeysHaveTheTenantsHashKey makes a session as it was before hash keys.
func TestOldKeysHaveTheTenantsHashKey(t *testing.T) {
	b := open(t, t.TempDir())
	hash := func(id string) string {
		l, err := b.journals.CreateOld(t.Context(), session(id))
		if err != nil {
			t.Fatal(err)
		}
		add(t, l, host.EntryResult, "x")
		commit(t, l)
		return l.Hash([]byte("request"))
	}
	want := hash("a")
	b.fork(t, "a2", "a", 1)
	b = b.reopen(t)
	l, err := b.journals.Acquire(t.Context(), "t", "a2")
	if err != nil {
		t.Fatal(err)
	}
	if want != hash("b") || want != l.Hash([]byte("request")) {
		t.Error("hashes differ")
	}
	if err := b.journals.Export(t.Context(), "t", "a", &bytes.Buffer{}); host.CodeOf(err) != host.ErrConflict {
		t.Errorf("export: %v", err)
	}
}

func TestARefusedCreateLeavesTheSessionReadable(t *testing.T) {
	b := open(t, t.TempDir())
	l := b.create(t)
	add(t, l, host.EntryResult, "kept")
	commit(t, l)
	if _, err := b.journals.Create(t.Context(), session("s1")); !errors.Is(err, journal.ErrFenced) {
		t.Fatalf("create again: %v", err)
	}
	if p, err := b.journals.Payload(t.Context(), "t", b.read(t, "s1")[1]); err != nil || string(p) != "kept" {
		t.Errorf("%q, %v", p, err)
	}
}
