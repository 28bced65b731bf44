package audit

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/vespiary/vespiary/host/store"
)

func parseDigest(s string) (h [32]byte, err error) {
	text, ok := strings.CutPrefix(s, algorithm)
	if !ok || len(text) != 2*len(h) {
		return h, fmt.Errorf("audit: %q is no digest", s)
	}
	_, err = hex.Decode(h[:], []byte(text))
	return h, err
}

// TestTree holds what is stored to what tlog computes, over several blocks of hashes.
func TestTree(t *testing.T) {
	m := newMemory()
	l := newLog(t, m)
	rnd := rand.New(rand.NewPCG(1, 1))
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(ix []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(ix))
		for i, x := range ix {
			out[i] = stored[x]
		}
		return out, nil
	})
	for size := int64(0); size < 500; {
		n := 1 + rnd.IntN(40)
		write(t, l, "task", n)
		integrate(t, l)
		for _, r := range collect(t, l.Search(t.Context(), Query{Tenant: tenant}))[size:] {
			hash, err := parseDigest(r.Hash)
			if err != nil {
				t.Fatal(err)
			}
			hashes, err := tlog.StoredHashes(size, hash[:], reader)
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, hashes...)
			size++
		}
		root, err := tlog.TreeHash(size, reader)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := l.Checkpoint(t.Context(), tenant)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("vespiary.test/default\n%d\n%s\n\n— vespiary.test ", size, root)
		if !strings.HasPrefix(string(signed), want) {
			t.Fatalf("checkpoint\n%s\nwant\n%s", signed, want)
		}
	}
	verified(t, l)
}

// TestCheckpoint reads a checkpoint as others do that know its format.
func TestCheckpoint(t *testing.T) {
	l := newLog(t, newMemory())
	if _, err := l.Checkpoint(t.Context(), tenant); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("without records: %v", err)
	}
	write(t, l, "task", 3)
	integrate(t, l)
	signed, err := l.Checkpoint(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(l.opt.Signer.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil || !strings.HasPrefix(n.Text, "vespiary.test/default\n3\n") || len(n.Sigs) != 1 {
		t.Errorf("%v: %+v", err, n)
	}
	integrate(t, l)
	if again, _ := l.Checkpoint(t.Context(), tenant); !bytes.Equal(signed, again) {
		t.Error("a tree that did not grow was signed again")
	}
}

// TestTenants shows that each tenant has a tree of its own.
func TestTenants(t *testing.T) {
	l := newLog(t, newMemory())
	names := []string{"a", "a.b", "a-b", "ab", "z"}
	for i, name := range names {
		for range i + 1 {
			r := record("task")
			r.Tenant = name
			if err := l.Write(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
	}
	integrate(t, l)
	for i, name := range names {
		r, err := l.Verify(t.Context(), VerifyOptions{Tenant: name, PublicKey: l.opt.Signer.PublicKey()})
		if err != nil || !r.OK() || r.Size != int64(i+1) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

// TestCrash stops the host before each commit in turn, and after it, without its knowing.
// What was acknowledged is there and the log verifies.
func TestCrash(t *testing.T) {
	const steps = 12
	crash := errors.New("crash")
	for at := 1; ; at++ {
		m := newMemory()
		n := 0
		m.fault = func(store.Batch) error {
			if n++; n >= at {
				return crash
			}
			return nil
		}
		l := newLog(t, m)
		acknowledged := 0
		for step := range steps {
			if l.Write(t.Context(), record("task")) == nil {
				acknowledged++
			}
			if step%3 == 2 {
				_ = l.Integrate(t.Context())
			}
		}
		after := newLog(t, m.copyOf())
		verified(t, after)
		write(t, after, "task", 1)
		integrate(t, after)
		if r := verified(t, after); r.Size != int64(acknowledged)+1 {
			t.Errorf("crash at commit %d: the tree has %d records, want %d", at, r.Size, acknowledged+1)
		}
		if n < at {
			return // it never came to that
		}
	}
}

// TestTwoLogs has two processes sequence and write at once, each its own chain.
func TestTwoLogs(t *testing.T) {
	m := newMemory()
	var wg sync.WaitGroup
	logs := []*Log{newLog(t, m), newLog(t, m)}
	for i, l := range logs {
		wg.Go(func() {
			for range 50 {
				if err := l.Write(context.Background(), record(fmt.Sprint("chain", i))); err != nil {
					t.Error(err)
				}
				if err := l.Integrate(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if r := verified(t, logs[0]); r.Size != 100 {
		t.Errorf("the tree has %d leaves", r.Size)
	}
}

// TestManyLeaves has more records than one commit takes.
func TestManyLeaves(t *testing.T) {
	m := newMemory()
	var b store.Batch
	for n := range maxLeaves + 10 {
		b.Ops = append(b.Ops, store.Op{Key: place{1, "task", uint64(n)}.key(queue, tenant), Value: make([]byte, 32)})
	}
	if _, err := m.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	l := newLog(t, m)
	integrate(t, l)
	signed, err := l.Checkpoint(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := l.open(tenant, signed, l.opt.Signer.PublicKey()); err != nil || c.size != maxLeaves+10 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestWithoutSigner(t *testing.T) {
	m := newMemory()
	l, err := New(Options{Store: m, Now: newClock().now})
	if err != nil {
		t.Fatal(err)
	}
	write(t, l, "task", 2)
	integrate(t, l)
	signing := newLog(t, m)
	r, err := l.Verify(t.Context(), VerifyOptions{Tenant: tenant, PublicKey: signing.opt.Signer.PublicKey()})
	if err != nil || !r.OK() || r.Waiting != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	integrate(t, signing)
	r, err = l.Verify(t.Context(), VerifyOptions{Tenant: tenant, PublicKey: signing.opt.Signer.PublicKey()})
	if err != nil || !r.OK() || r.Size != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("a log without a store")
	}
}

func TestKeys(t *testing.T) {
	for _, name := range []string{"", "a b", "a+b"} {
		if _, err := GenerateKey(zeros{}, name); err == nil {
			t.Errorf("a key named %q", name)
		}
	}
	for _, bad := range []string{"", "x", "PRIVATE+KEY+a+00000000+AAAA", newSigner(t, "a").PublicKey()} {
		if _, err := NewSigner(bad); err == nil {
			t.Errorf("%q is a key", bad)
		}
	}
}

// TestProof proves every record of trees of many sizes, and nothing else.
func TestProof(t *testing.T) {
	l := newLog(t, newMemory())
	public := l.opt.Signer.PublicKey()
	for range 3 {
		write(t, l, "task", 13)
		integrate(t, l)
		for _, r := range collect(t, l.Search(t.Context(), Query{Tenant: tenant})) {
			p, err := l.Proof(t.Context(), tenant, r.ID)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Check(&r, public); err != nil {
				t.Errorf("%s: %v", r.ID, err)
			}
			changed := r
			changed.Action = "other"
			if p.Check(&changed, public) == nil {
				t.Errorf("%s: proves what it does not say", r.ID)
			}
			if p.Check(&r, otherSigner(t).PublicKey()) == nil {
				t.Errorf("%s: proves by a key that did not sign", r.ID)
			}
			for _, bad := range []Proof{
				{Leaf: p.Leaf + 1, Path: p.Path, Checkpoint: p.Checkpoint},
				{Leaf: -1, Path: p.Path, Checkpoint: p.Checkpoint},
				{Leaf: p.Leaf, Path: p.Path[1:], Checkpoint: p.Checkpoint},
				{Leaf: p.Leaf, Path: [][]byte{{1}}, Checkpoint: p.Checkpoint},
				{Leaf: p.Leaf, Path: p.Path},
				{},
			} {
				if bad.Check(&r, public) == nil {
					t.Errorf("%s: a proof of leaf %d with %d hashes holds", r.ID, bad.Leaf, len(bad.Path))
				}
			}
		}
	}
	write(t, l, "task", 1)
	if _, err := l.Proof(t.Context(), tenant, "task.40"); !errors.Is(err, ErrWaiting) {
		t.Errorf("a record that waits: %v", err)
	}
	if _, err := l.Proof(t.Context(), tenant, "task.41"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no record: %v", err)
	}
}

// FuzzProof has checkpoints and proofs come from others.
func FuzzProof(f *testing.F) {
	m := newMemory()
	l := newLog(f, m)
	write(f, l, "task", 5)
	integrate(f, l)
	p, err := l.Proof(f.Context(), tenant, "task.3")
	if err != nil {
		f.Fatal(err)
	}
	b, err := json.Marshal(p)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, p.Checkpoint, l.opt.Signer.PublicKey())
	r := record("task")
	f.Fuzz(func(t *testing.T, proof, signed []byte, public string) {
		var p Proof
		if json.Unmarshal(proof, &p) == nil && p.Check(r, public) == nil {
			t.Errorf("%s proves what is not there", proof)
		}
		_, _ = openCheckpoint(signed, public)
		_, _ = parseCheckpoint(string(signed))
	})
}

// held is a store whose first commit waits.
type held struct {
	*memory
	once           sync.Once
	began, release chan struct{}
}

func (h *held) Commit(ctx context.Context, b store.Batch) (store.Revision, error) {
	h.once.Do(func() {
		close(h.began)
		<-h.release
	})
	return h.memory.Commit(ctx, b)
}

// TestIntegrateWaits: what another Integrate is writing is durable, too, when it returns.
func TestIntegrateWaits(t *testing.T) {
	h := &held{memory: newMemory(), began: make(chan struct{}), release: make(chan struct{})}
	l := newLog(t, h)
	r := record("people")
	if err := l.Later(r); err != nil {
		t.Fatal(err)
	}
	go func() { _ = l.Integrate(context.Background()) }()
	<-h.began
	found := make(chan error, 1)
	go func() {
		err := l.Integrate(context.Background())
		if err == nil {
			_, err = l.Get(context.Background(), tenant, "people.1")
		}
		found <- err
	}()
	select {
	case err := <-found:
		t.Errorf("it returned before what was handed over is durable: %v", err)
		close(h.release)
		return
	case <-time.After(20 * time.Millisecond): // time enough for one that does not wait
	}
	close(h.release)
	if err := <-found; err != nil {
		t.Error(err)
	}
}
