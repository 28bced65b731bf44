package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/vespiary/vespiary/host/store"
)

// blockSize is how many hashes of a tree share a key. Hashes are only appended, so most
// commits write one block again and begin some others.
const blockSize = 64

// tree reads and extends the hashes of one tenant's tree, which are stored in the order of
// tlog.StoredHashIndex.
type tree struct {
	tx     store.Tx
	tenant string
	size   int64 // leaves
	next   int64 // index of the next hash
	blocks map[int64][]byte
	grown  map[int64]bool // blocks that differ from the stored ones
}

func openTree(tx store.Tx, tenant string, size int64) *tree {
	return &tree{tx, tenant, size, tlog.StoredHashCount(size), map[int64][]byte{}, map[int64]bool{}}
}

func (t *tree) block(n int64) ([]byte, error) {
	if b, ok := t.blocks[n]; ok {
		return b, nil
	}
	item, err := t.tx.Get(numberKey(treeHashes, t.tenant, n))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	t.blocks[n] = item.Value
	return item.Value, nil
}

// ReadHashes implements tlog.HashReader.
func (t *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		b, err := t.block(x / blockSize)
		if err != nil {
			return nil, err
		}
		at := int(x%blockSize) * tlog.HashSize
		if len(b) < at+tlog.HashSize {
			return nil, fmt.Errorf("%w: hash %d", errTreeHash, x)
		}
		copy(out[i][:], b[at:])
	}
	return out, nil
}

var errTreeHash = errors.New("a hash of the tree is missing")

// add appends a leaf.
func (t *tree) add(leaf tlog.Hash) error {
	hashes, err := tlog.StoredHashesForRecordHash(t.size, leaf, t)
	if err != nil {
		return err
	}
	for _, h := range hashes {
		n := t.next / blockSize
		b, err := t.block(n)
		if err != nil {
			return err
		}
		// What an earlier commit left beyond the tree's end is none of it.
		at := int(t.next%blockSize) * tlog.HashSize
		if len(b) < at {
			return fmt.Errorf("%w: those before %d", errTreeHash, t.next)
		}
		t.blocks[n] = append(b[:at:at], h[:]...)
		t.grown[n] = true
		t.next++
	}
	t.size++
	return nil
}

func (t *tree) root() (tlog.Hash, error) { return tlog.TreeHash(t.size, t) }

// ops write what was added.
func (t *tree) ops() []store.Op {
	var ops []store.Op
	for _, n := range slices.Sorted(maps.Keys(t.grown)) {
		ops = append(ops, store.Op{Key: numberKey(treeHashes, t.tenant, n), Value: t.blocks[n]})
	}
	return ops
}

// leaf is what the tree holds of a record.
type leaf struct {
	hash  [32]byte // of the record
	place place
}

func (f leaf) append(dst []byte) []byte { return f.place.append(append(dst, f.hash[:]...)) }

// treeHash is the hash that stands in the tree for a record: that of its digest, so that a
// proof need not show the record.
func (f leaf) treeHash() tlog.Hash { return tlog.RecordHash(f.hash[:]) }

func parseLeaf(b []byte) (f leaf, err error) {
	if len(b) < len(f.hash) {
		return leaf{}, errKey
	}
	f.place, err = parsePlace(b[copy(f.hash[:], b):])
	return f, err
}

// numberOf reads the number that a value or the end of a key is.
func numberOf(b []byte) (int64, bool) {
	if len(b) != number {
		return 0, false
	}
	n := int64(binary.BigEndian.Uint64(b)) //nolint:gosec // a negative one is refused
	return n, n >= 0
}

// frontier computes a tree from its leaves in memory that grows with the logarithm of their
// number: it holds the roots of the complete subtrees at the right edge.
type frontier struct {
	size  int64
	roots [64]tlog.Hash // by level; valid where size has that bit
}

// add appends a leaf and yields the hashes that are stored for it, in their order.
func (f *frontier) add(h tlog.Hash, stored func(tlog.Hash)) {
	stored(h)
	level := 0
	for ; f.size>>level&1 == 1; level++ {
		h = tlog.NodeHash(f.roots[level], h)
		stored(h)
	}
	f.roots[level] = h
	f.size++
}

func (f *frontier) root() tlog.Hash {
	if f.size == 0 {
		empty, _ := tlog.TreeHash(0, nil) // reads nothing
		return empty
	}
	var h tlog.Hash
	some := false
	for level := range f.roots {
		switch {
		case f.size>>level&1 == 0:
		case some:
			h = tlog.NodeHash(f.roots[level], h)
		default:
			h, some = f.roots[level], true
		}
	}
	return h
}
