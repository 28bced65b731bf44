package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// The log that is tampered with: 40 records of two chains in the tree, and 4 that wait.
const (
	inTree  = 40
	waiting = 4
)

func tamperable(t *testing.T) (*memory, *Log) {
	t.Helper()
	m := newMemory()
	l := newLog(t, m)
	for range inTree / 2 {
		write(t, l, "a", 1)
		write(t, l, "b", 1)
		integrate(t, l)
	}
	for range waiting / 2 {
		write(t, l, "a", 1)
		write(t, l, "b", 1)
	}
	return m, l
}

// vandal changes a store behind the log's back.
type vandal struct {
	t *testing.T
	*memory
}

func (v vandal) get(key []byte) []byte {
	v.t.Helper()
	var item store.Item
	err := v.View(context.Background(), func(tx store.Tx) (err error) {
		item, err = tx.Get(key)
		return err
	})
	if err != nil {
		v.t.Fatalf("%q: %v", key, err)
	}
	return item.Value
}

func (v vandal) set(key, value []byte) {
	v.t.Helper()
	if err := commitTo(v)(store.Op{Key: key, Value: value}); err != nil {
		v.t.Fatal(err)
	}
}

func (v vandal) remove(keys ...[]byte) {
	v.t.Helper()
	for _, k := range keys {
		v.get(k)
		v.set(k, nil)
	}
}

// flip changes one bit of a value.
func (v vandal) flip(key []byte, at int) {
	b := v.get(key)
	b[(at+len(b))%len(b)] ^= 1
	v.set(key, b)
}

// edit changes what a record says, and keeps it in the form of the log.
func (v vandal) edit(chain string, n uint64, change func(*policy.Record)) {
	key := recordKey(tenant, chain, n)
	r, err := decode(v.get(key))
	if err != nil {
		v.t.Fatal(err)
	}
	change(&r)
	v.set(key, canonical(nil, &r))
}

// record returns a record with its place.
func (v vandal) record(chain string, n uint64) (key []byte, p place) {
	key = recordKey(tenant, chain, n)
	r, err := decode(v.get(key))
	if err != nil {
		v.t.Fatal(err)
	}
	return key, placeOf(&r)
}

func (v vandal) swap(a, b []byte) {
	x, y := v.get(a), v.get(b)
	v.set(a, y)
	v.set(b, x)
}

// truncate takes away everything that came into the tree from a number on, consistently,
// with checkpoint as the newest one.
func (v vandal) truncate(size int64, checkpoint []byte) {
	for n := size; n < inTree; n++ {
		key := numberKey(leaves, tenant, n)
		f, err := parseLeaf(v.get(key))
		if err != nil {
			v.t.Fatal(err)
		}
		v.remove(key, f.place.key(index, tenant), recordKey(tenant, f.place.chain, f.place.n))
	}
	v.dropQueue(true)
	v.set(checkpointKey(tenant), checkpoint)
}

// dropQueue removes the places of what waits, and the records too if so told.
func (v vandal) dropQueue(records bool) {
	for _, chain := range []string{"a", "b"} {
		for n := uint64(inTree/2 + 1); n <= (inTree+waiting)/2; n++ {
			key, p := v.record(chain, n)
			v.remove(p.key(queue, tenant))
			if records {
				v.remove(key)
			}
		}
	}
}

// rehash makes the stored hashes those of the leaves as they are now.
func (v vandal) rehash() {
	var all []byte
	var f frontier
	for n := range int64(inTree) {
		l, err := parseLeaf(v.get(numberKey(leaves, tenant, n)))
		if err != nil {
			v.t.Fatal(err)
		}
		f.add(l.treeHash(), func(h tlog.Hash) { all = append(all, h[:]...) })
	}
	for n, b := range slices.Collect(slices.Chunk(all, blockSize*tlog.HashSize)) {
		v.set(numberKey(treeHashes, tenant, int64(n)), b)
	}
}

// rewrite changes a record and everything of the log that tells of it, but the signature.
func (v vandal) rewrite(chain string, n uint64) {
	key, p := v.record(chain, n)
	v.edit(chain, n, func(r *policy.Record) { r.Action = "nothing" })
	at, _ := numberOf(v.get(p.key(index, tenant)))
	v.set(numberKey(leaves, tenant, at), leaf{digest(v.get(key)), p}.append(nil))
	for next := n + 1; next <= inTree/2; next++ { // and what follows it in its chain
		before := v.get(recordKey(tenant, chain, next-1))
		v.edit(chain, next, func(r *policy.Record) { r.Prev = digestText(digest(before)) })
		key, p := v.record(chain, next)
		at, _ := numberOf(v.get(p.key(index, tenant)))
		v.set(numberKey(leaves, tenant, at), leaf{digest(v.get(key)), p}.append(nil))
	}
	v.rehash()
}

func TestTampering(t *testing.T) {
	original, l := tamperable(t)
	leafKey := func(n int64) []byte { return numberKey(leaves, tenant, n) }
	for _, tc := range []struct {
		name string
		do   func(v vandal)
		want []string // each a part of a problem
	}{
		{"a byte of a record", func(v vandal) { v.edit("a", 3, func(r *policy.Record) { r.Action = "gileWrite" }) }, []string{"a.3 is not the one", "a.4 does not name"}},
		{"a bit of a record", func(v vandal) { v.flip(recordKey(tenant, "a", 3), 1) }, []string{"a.3"}},
		{"a record's JSON", func(v vandal) { v.flip(recordKey(tenant, "a", 3), 0) }, []string{"a.3 cannot be read"}},
		{"a space in a record", func(v vandal) {
			k := recordKey(tenant, "a", 3)
			v.set(k, append(v.get(k), ' '))
		}, []string{"a.3 is not in the form", "a.3 is not the one"}},
		{"the time of a record", func(v vandal) { v.edit("a", 3, func(r *policy.Record) { r.Time = r.Time.Add(1) }) }, []string{"a.3 is neither"}},
		{"a record that waits", func(v vandal) { v.edit("a", 21, func(r *policy.Record) { r.Action = "x" }) }, []string{"a.21, which waits for the tree, or", "a.22 does not name"}},
		{"the last record that waits", func(v vandal) { v.edit("a", 22, func(r *policy.Record) { r.Action = "x" }) }, []string{"a.22, which waits"}},
		{"the hash of a leaf", func(v vandal) { v.flip(leafKey(5), 0) }, []string{"b.3 is not the one", "checkpoint of 40", "stored hash 5 at level 0"}},
		{"the place of a leaf", func(v vandal) { v.flip(leafKey(5), -1) }, []string{"b.2 is not the one", "b.2 is leaf 5 of the tree, and has no such place"}},
		{"the chain of a leaf", func(v vandal) { v.flip(leafKey(5), -10) }, []string{"leaf 5 of the tree, was deleted"}},
		{"a short leaf", func(v vandal) { v.set(leafKey(5), []byte("x")) }, []string{"Leaf 5 of the tree cannot be read"}},
		{"a stored hash", func(v vandal) { v.flip(numberKey(treeHashes, tenant, 0), 100) }, []string{"stored hash 2 at level 0"}},
		{"a block of hashes", func(v vandal) { v.remove(numberKey(treeHashes, tenant, 1)) }, []string{"stored hash"}},
		{"the root in the checkpoint", func(v vandal) { v.flip(checkpointKey(tenant), len("vespiary.test/default\n40\n")) }, []string{"checkpoint was replaced", "no checkpoint that can be trusted"}},
		{"the signature", func(v vandal) { v.flip(checkpointKey(tenant), -10) }, []string{"checkpoint was replaced"}},
		{"another's signature", func(v vandal) {
			var root tlog.Hash
			b, err := checkpoint{l.origin(tenant), inTree, root}.sign(otherSigner(t))
			if err != nil {
				t.Fatal(err)
			}
			v.set(checkpointKey(tenant), b)
		}, []string{"checkpoint was replaced"}},
		{"the checkpoint of another tenant", func(v vandal) {
			b, err := checkpoint{l.origin("other"), inTree, tlog.Hash{}}.sign(l.opt.Signer)
			if err != nil {
				t.Fatal(err)
			}
			v.set(checkpointKey(tenant), b)
		}, []string{"it is the checkpoint of vespiary.test/other"}},
		{"the checkpoint removed", func(v vandal) { v.remove(checkpointKey(tenant)) }, []string{"no checkpoint"}},
		{"the queue's hash", func(v vandal) {
			_, p := v.record("a", 22)
			v.flip(p.key(queue, tenant), 0)
		}, []string{"a.22, which waits"}},
		{"a place in the index", func(v vandal) {
			_, p := v.record("a", 3)
			v.flip(p.key(index, tenant), -1)
		}, []string{"names record a.3, which is leaf 5", "a.3 was leaf 5"}},
		{"a place removed", func(v vandal) {
			_, p := v.record("a", 3)
			v.remove(p.key(index, tenant))
		}, []string{"a.3 is leaf 4 of the tree, and has no such place", "a.3 is neither"}},

		{"a record deleted", func(v vandal) { v.remove(recordKey(tenant, "a", 3)) }, []string{"a.3, leaf 4 of the tree, was deleted", "Chain a lacks its records 3 to 3"}},
		{"a record that waits deleted", func(v vandal) { v.remove(recordKey(tenant, "a", 22)) }, []string{"a.22, which waits for the tree, was deleted"}},
		{"a chain deleted", func(v vandal) {
			for n := range uint64(22) {
				v.remove(recordKey(tenant, "b", n+1))
			}
		}, []string{"b.1, leaf 1 of the tree, was deleted", "b.22, which waits"}},
		{"a record and its leaf deleted", func(v vandal) {
			key, p := v.record("a", 3)
			v.remove(key, leafKey(4), p.key(index, tenant))
		}, []string{"lacks its leaves 4 to 4", "Chain a lacks"}},
		{"a leaf deleted", func(v vandal) { v.remove(leafKey(4)) }, []string{"lacks its leaves 4 to 4", "a.3 was leaf 4"}},
		{"the last leaf deleted", func(v vandal) { v.remove(leafKey(39)) }, []string{"signed over 40 records, and the tree ends after 39"}},
		{"a record inserted", func(v vandal) { v.set(recordKey(tenant, "c", 1), v.get(recordKey(tenant, "a", 1))) }, []string{"c.1 says that it is a.1", "c.1"}},
		{"a record added to a chain", func(v vandal) {
			last := v.get(recordKey(tenant, "a", 22))
			r, _ := decode(last)
			r.N, r.ID, r.Prev = 23, "a.23", digestText(digest(last))
			r.Time = r.Time.Add(1)
			v.set(recordKey(tenant, "a", 23), canonical(nil, &r))
		}, []string{"a.23 is neither"}},
		{"a record of another tenant", func(v vandal) { v.edit("a", 3, func(r *policy.Record) { r.Tenant = "x" }) }, []string{"a.3 says that it is a.3 of tenant x"}},
		{"two records exchanged", func(v vandal) { v.swap(recordKey(tenant, "a", 3), recordKey(tenant, "a", 4)) }, []string{"a.3 says that it is a.4", "a.4 says that it is a.3"}},
		{"two records exchanged and renumbered", func(v vandal) {
			v.swap(recordKey(tenant, "a", 3), recordKey(tenant, "a", 4))
			v.edit("a", 3, func(r *policy.Record) { r.N, r.ID = 3, "a.3" })
			v.edit("a", 4, func(r *policy.Record) { r.N, r.ID = 4, "a.4" })
		}, []string{"a.3 does not name", "a.3 is not the one", "a.4 is not the one"}},
		{"two leaves exchanged", func(v vandal) { v.swap(leafKey(4), leafKey(5)) }, []string{"names record b.3, which is leaf 5", "checkpoint of 40"}},
		{"a leaf twice", func(v vandal) { v.set(leafKey(5), v.get(leafKey(4))) }, []string{"Leaf 5 of the tree names record a.3, which is leaf 4", "b.3 was leaf 5"}},
		{"a leaf added", func(v vandal) { v.set(leafKey(40), v.get(leafKey(39))) }, []string{"The tree has 41 leaves, and its checkpoint was signed over 40"}},
		{"a fork", func(v vandal) {
			v.edit("a", 3, func(r *policy.Record) { r.Prev = "sha256:" + strings.Repeat("00", 32) })
		}, []string{"a.3 does not name the record before it"}},

		{"the tail cut off", func(v vandal) {
			for _, chain := range []string{"a", "b"} {
				v.remove(recordKey(tenant, chain, 21), recordKey(tenant, chain, 22))
			}
		}, []string{"a.21, which waits", "b.22, which waits"}},
		{"the queue dropped", func(v vandal) { v.dropQueue(false) }, []string{"a.21 is neither", "b.22 is neither"}},
		{"everything cut off but the checkpoint", func(v vandal) { v.truncate(20, v.get(checkpointKey(tenant))) }, []string{"signed over 40 records, and the tree ends after 20"}},
		{"a record rewritten with all that tells of it", func(v vandal) { v.rewrite("a", 3) }, []string{"leaves of the tree are not those that its checkpoint of 40"}},
		{"a key that is none", func(v vandal) { v.set(append(prefix(records, tenant), "x"...), []byte("{}")) }, []string{"is no key of a record"}},
		{"a leaf's key that is none", func(v vandal) { v.set(append(prefix(leaves, tenant), "x"...), []byte("{}")) }, []string{"is no key of a leaf"}},
		{"a place that is none", func(v vandal) { v.set(append(prefix(queue, tenant), "x"...), []byte("{}")) }, []string{"is no place of a record"}},
		{"an index that is none", func(v vandal) { v.set(append(prefix(index, tenant), "x"...), []byte("{}")) }, []string{"is no place of a record"}},
		{"a place in both", func(v vandal) {
			key, p := v.record("a", 3)
			hash := digest(v.get(key))
			v.set(p.key(queue, tenant), hash[:])
		}, []string{"a.3 waits for the tree, in which it is already"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := original.copyOf()
			tc.do(vandal{t, m})
			r, err := newLog(t, m).Verify(t.Context(), VerifyOptions{Tenant: tenant, PublicKey: l.opt.Signer.PublicKey()})
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.want {
				if !slices.ContainsFunc(r.Problems, func(p string) bool { return strings.Contains(p, want) }) {
					t.Errorf("nothing says %q:\n%s", want, strings.Join(r.Problems, "\n"))
				}
			}
		})
	}
	if r := verified(t, l); r.Records != inTree+waiting || r.Size != inTree || r.Waiting != waiting || r.Chains != 2 {
		t.Errorf("the log as it was: %+v", r)
	}
}

func otherSigner(t *testing.T) *Signer {
	t.Helper()
	key, err := GenerateKey(bytes.NewReader(bytes.Repeat([]byte{7}, ed25519.SeedSize)), "vespiary.test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestEveryBit flips bits all over the store. Whatever is flipped is found.
func TestEveryBit(t *testing.T) {
	m := newMemory()
	l := newLog(t, m)
	write(t, l, "a", 3)
	integrate(t, l)
	write(t, l, "a", 1)
	opt := VerifyOptions{Tenant: tenant, PublicKey: l.opt.Signer.PublicKey()}
	flips := 0
	for _, key := range slices.Clone(m.keys) {
		item, ok := m.at(key, m.revision)
		if !ok {
			continue
		}
		for at := range item.Value {
			bit := byte(1) << (at % 8)
			item.Value[at] ^= bit
			vandal{t, m}.set([]byte(key), item.Value)
			if r, err := l.Verify(t.Context(), opt); err != nil || r.OK() {
				t.Errorf("byte %d of %q: nothing found (%v)", at, key, err)
			}
			item.Value[at] ^= bit
			flips++
		}
		vandal{t, m}.set([]byte(key), item.Value)
	}
	if flips < 3000 {
		t.Errorf("only %d bits flipped", flips)
	}
	verified(t, l)
}

// TestRollback puts the whole store back to a state that was once signed. Only a checkpoint
// from elsewhere tells.
func TestRollback(t *testing.T) {
	m := newMemory()
	l := newLog(t, m)
	write(t, l, "a", 10)
	integrate(t, l)
	early := m.copyOf()
	first, err := l.Checkpoint(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	write(t, l, "a", 10)
	integrate(t, l)
	late, err := l.Checkpoint(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	opt := VerifyOptions{Tenant: tenant, PublicKey: l.opt.Signer.PublicKey()}
	verify := func(m *memory, checkpoint []byte, want string) {
		t.Helper()
		opt.Checkpoint = checkpoint
		r, err := newLog(t, m).Verify(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		if want == "" && !r.OK() || want != "" && !strings.Contains(strings.Join(r.Problems, "\n"), want) {
			t.Errorf("want %q, got %q", want, r.Problems)
		}
	}
	verify(m, first, "")
	verify(m, late, "")
	verify(early, nil, "")
	verify(early, first, "")
	verify(early, late, "signed over 20 records, and the tree has 10: the log was put back")

	// Records that took the place of the lost ones are another history.
	l2 := newLog(t, early)
	write(t, l2, "b", 15)
	integrate(t, l2)
	verify(early, nil, "")
	verify(early, first, "")
	verify(early, late, "first 20 records are not those")
	vandal{t, m}.remove(numberKey(leaves, tenant, 3))
	verify(m, first, "cannot be told, as leaves are missing")

	for name, bad := range map[string][]byte{"text": []byte("x"), "cut": late[:len(late)-4], "another's": resign(t, late)} {
		opt.Checkpoint = bad
		if _, err := l.Verify(t.Context(), opt); err == nil {
			t.Errorf("a checkpoint that is %s was taken", name)
		}
	}
	opt.Checkpoint, opt.PublicKey = nil, "x"
	if _, err := l.Verify(t.Context(), opt); err == nil {
		t.Error("a log was verified with a key that is none")
	}
}

func resign(t *testing.T, signed []byte) []byte {
	t.Helper()
	c, err := parseCheckpoint(string(signed))
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.sign(otherSigner(t))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestNothingIsSigned shows that the log does not sign what somebody else made of it.
func TestNothingIsSigned(t *testing.T) {
	original, l := tamperable(t)
	old, err := l.Checkpoint(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func(vandal){
		"rewritten":            func(v vandal) { v.rewrite("a", 3) },
		"without a checkpoint": func(v vandal) { v.remove(checkpointKey(tenant)) },
		"signed by another":    func(v vandal) { v.set(checkpointKey(tenant), resign(t, old)) },
		"without hashes": func(v vandal) {
			v.remove(numberKey(treeHashes, tenant, 0))
			v.remove(numberKey(treeHashes, tenant, 1))
		},
		"with junk in the queue": func(v vandal) { v.set(append(prefix(queue, tenant), 0), []byte("x")) },
	} {
		m := original.copyOf()
		do(vandal{t, m})
		if err := newLog(t, m).Integrate(t.Context()); err == nil || !strings.Contains(err.Error(), ErrTampered.Error()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	early := original.copyOf()
	write(t, l, "a", 5)
	integrate(t, l)
	l.opt.Store = early
	if err := l.Integrate(t.Context()); err == nil || !strings.Contains(err.Error(), "had 49 leaves and now has 40") {
		t.Errorf("put back while it runs: %v", err)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	m := newMemory()
	l := newLog(t, m)
	for n := range 1200 {
		v := vandal{t, m}
		v.set(recordKey(tenant, fmt.Sprintf("c%d", n), 1), []byte("{}"))
	}
	r, err := l.Verify(t.Context(), VerifyOptions{Tenant: tenant, PublicKey: l.opt.Signer.PublicKey()})
	if err != nil || len(r.Problems) != 1000 || r.More == 0 {
		t.Errorf("%d problems and %d more: %v", len(r.Problems), r.More, err)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}
