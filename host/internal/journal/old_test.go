package journal_test

import (
	"context"
	"encoding/json"
	"iter"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/journal"
	words "github.com/vespiary/vespiary/host/store"
)

// TestJournalsOfTheFirstFormatGoOn reads a journal from before there were a chain, hash
// keys, compression and parts, and adds to it.
func TestJournalsOfTheFirstFormatGoOn(t *testing.T) {
	b := open(t, t.TempDir())
	var old struct {
		Hash  string
		Items []struct{ Key, Value []byte }
	}
	raw, err := os.ReadFile("testdata/unchained.json")
	if err == nil {
		err = json.Unmarshal(raw, &old)
	}
	if err != nil {
		t.Fatal(err)
	}
	var batch words.Batch
	for _, i := range old.Items {
		batch.Ops = append(batch.Ops, words.Op{Key: i.Key, Value: i.Value})
	}
	if _, err := b.store.Commit(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	l, err := b.journals.Acquire(t.Context(), "t", "s1")
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Hash([]byte("request")); got != old.Hash {
		t.Errorf("requests hash to %s, not %s", got, old.Hash)
	}
	add(t, l, host.EntryResult, strings.Repeat("new ", 2000))
	commit(t, l)
	want := []string{
		"", "short", strings.Repeat("long ", 2000),
		`{"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"<two>"}],"model":"m","tools":[]}`,
		`{"messages":[{"role":"user","content":"one"},{"role":"assistant","content":"<two>"},{"role":"user","content":"three"}],"model":"m","tools":[]}`,
		"", strings.Repeat("new ", 2000),
	}
	var got []string
	for _, s := range b.shown(t, "t", "s1") {
		got = append(got, s.Payload)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if v, err := b.journals.Verify(t.Context(), "t", "s1"); err != nil || v.Entries != 8 || v.Read != 6 || v.Chain == "" {
		t.Errorf("%+v, %v", v, err)
	}
}

// counting counts what is read of a store.
type counting struct {
	words.Store
	n int
}

func (c *counting) View(ctx context.Context, fn func(words.Tx) error) error {
	return c.Store.View(ctx, func(tx words.Tx) error { return fn(counted{tx, c}) })
}

type counted struct {
	words.Tx
	c *counting
}

func (c counted) Get(key []byte) (words.Item, error) {
	c.c.n++
	return c.Tx.Get(key)
}

func (c counted) Scan(q words.Query) iter.Seq2[words.Item, error] {
	return func(yield func(words.Item, error) bool) {
		for item, err := range c.Tx.Scan(q) {
			if c.c.n++; !yield(item, err) {
				return
			}
		}
	}
}

func TestAForkReadsNoMoreOfALongParent(t *testing.T) {
	b := open(t, t.TempDir())
	l := b.create(t)
	for range 3000 {
		add(t, l, host.EntryResult, "x")
	}
	commit(t, l)
	c := &counting{Store: b.store}
	j := journal.New(c, b.keys, journal.Options{Now: time.Now})
	for _, at := range []uint64{1, 1500, 3001} {
		c.n = 0
		o := session("s2")
		o.Session.ID += string(rune('a' + at%26))
		o.Parent, o.At = "s1", at
		if _, err := j.Fork(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if c.n > 8 {
			t.Errorf("a fork at %d reads %d keys", at, c.n)
		}
	}
}
