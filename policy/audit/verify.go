package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/vespiary/vespiary/host/store"
)

// VerifyOptions say what to hold a log against.
type VerifyOptions struct {
	Tenant string
	// PublicKey is what checkpoints must be signed with: Signer.PublicKey, best from a place
	// that whoever can write the store cannot write.
	PublicKey string
	// Checkpoint is one that was kept elsewhere, or nil. The log must still begin with what it
	// was signed over: only this finds a store that was put back as a whole.
	Checkpoint []byte
}

// Report is what Verify found.
type Report struct {
	Records int64 // durable
	Chains  int64
	Size    int64 // leaves of the tree
	Waiting int64 // records that are to come into the tree
	// Root is the root of the tree as it was computed from the leaves; empty if some are
	// missing.
	Root []byte
	// Problems are sentences that name the records they are about: the first thousand. More
	// counts the others.
	Problems []string
	More     int64
}

// OK reports whether everything is as it was written.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// Verify reads all that the log keeps of a tenant, as it is at one moment, and holds every
// part of it against the others and the signed checkpoint. Its memory does not grow with the
// log. An error tells that it could not be read, or that what it should be held against is
// not valid; what was found is in the report.
func (l *Log) Verify(ctx context.Context, o VerifyOptions) (Report, error) {
	v := verification{tenant: o.Tenant, left: -1}
	if err := checkName("tenant", o.Tenant); err != nil {
		return v.Report, err
	}
	if _, err := newVerifier(o.PublicKey); err != nil {
		return v.Report, fmt.Errorf("audit: verify %s: %w", o.Tenant, err)
	}
	if o.Checkpoint != nil {
		c, err := l.open(o.Tenant, o.Checkpoint, o.PublicKey)
		if err != nil {
			return v.Report, fmt.Errorf("audit: verify against the given checkpoint: %w", err)
		}
		v.outside = &c
	}
	err := l.opt.Store.View(ctx, func(tx store.Tx) error {
		v.tx = tx
		if err := v.readCheckpoint(l, o.PublicKey); err != nil {
			return err
		}
		for _, pass := range []func() error{v.tree, v.records, v.queue, v.index} {
			if err := pass(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return v.Report, fmt.Errorf("audit: verify %s: %w", o.Tenant, err)
	}
	return v.Report, nil
}

// open checks a checkpoint and that it is of the tenant.
func (l *Log) open(tenant string, signed []byte, publicKey string) (checkpoint, error) {
	c, err := openCheckpoint(signed, publicKey)
	if err == nil && c.origin != l.origin(tenant) && (l.opt.Origin != "" || !strings.HasSuffix(c.origin, "/"+tenant)) {
		err = fmt.Errorf("it is the checkpoint of %s", c.origin)
	}
	return c, err
}

// verification is one run of Verify.
type verification struct {
	Report
	tx      store.Tx
	tenant  string
	signed  *checkpoint // the newest of the log, if it can be trusted
	outside *checkpoint // kept elsewhere
	edge    frontier
	broken  bool   // leaves are missing, so that roots cannot be computed
	next    int64  // of the stored hashes
	blockAt int64  // which block is block
	block   []byte // stored hashes
	left    int64  // the last block that a problem was found in
}

func (v *verification) problem(format string, args ...any) {
	const most = 1000
	if len(v.Problems) == most {
		v.More++
		return
	}
	v.Problems = append(v.Problems, fmt.Sprintf(format, args...))
}

func (v *verification) readCheckpoint(l *Log, publicKey string) error {
	item, err := v.tx.Get(checkpointKey(v.tenant))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := l.open(v.tenant, item.Value, publicKey)
	if err != nil {
		v.problem("The newest checkpoint was replaced: %v.", err)
		return nil
	}
	v.signed = &c
	return nil
}

// tree goes through the leaves: each must name a record that is as it was, and together they
// must have the root that was signed.
func (v *verification) tree() error {
	from := prefix(leaves, v.tenant)
	v.compareRoots()
	for item, err := range v.tx.Scan(store.Query{Prefix: from}) {
		if err != nil {
			return err
		}
		n, ok := numberOf(item.Key[len(from):])
		if !ok {
			v.problem("%q is no key of a leaf.", item.Key)
			continue
		}
		if n > v.Size {
			v.missing(v.Size, n-1)
		}
		v.Size = n + 1
		if err := v.leaf(n, item.Value); err != nil {
			return err
		}
	}
	v.compareSizes()
	return nil
}

func (v *verification) missing(from, to int64) {
	v.broken = true
	v.problem("The tree lacks its leaves %d to %d: they were removed.", from, to)
}

func (v *verification) leaf(n int64, value []byte) error {
	f, err := parseLeaf(value)
	if err != nil {
		v.broken = true
		v.problem("Leaf %d of the tree cannot be read: it was changed.", n)
		return nil
	}
	if !v.broken {
		v.edge.add(f.treeHash(), v.compareHash)
		v.compareRoots()
	}
	if err := v.leafRecord(n, f); err != nil {
		return err
	}
	item, err := v.tx.Get(f.place.key(index, v.tenant))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if at, ok := numberOf(item.Value); !ok {
		v.problem("Record %s is leaf %d of the tree, and has no such place in the index.", f.place.id(), n)
	} else if at != n {
		v.problem("Leaf %d of the tree names record %s, which is leaf %d.", n, f.place.id(), at)
	}
	return nil
}

func (v *verification) leafRecord(n int64, f leaf) error {
	item, err := v.tx.Get(recordKey(v.tenant, f.place.chain, f.place.n))
	switch {
	case errors.Is(err, store.ErrNotFound):
		v.problem("Record %s, leaf %d of the tree, was deleted.", f.place.id(), n)
	case err != nil:
		return err
	case digest(item.Value) != f.hash:
		v.problem("Record %s is not the one that came into the tree as leaf %d: it or the leaf was changed.", f.place.id(), n)
	}
	return nil
}

// compareRoots is called at every size that the tree had.
func (v *verification) compareRoots() {
	if c := v.signed; c != nil && c.size == v.edge.size && c.root != v.edge.root() {
		v.problem("The leaves of the tree are not those that its checkpoint of %d was signed over.", c.size)
	}
	if c := v.outside; c != nil && c.size == v.edge.size && c.root != v.edge.root() {
		v.problem("The first %d records are not those that the given checkpoint was signed over: the log was rewritten.", c.size)
	}
}

func (v *verification) compareSizes() {
	if !v.broken {
		root := v.edge.root()
		v.Root = root[:]
	}
	switch c := v.signed; {
	case c == nil && v.Size > 0:
		v.problem("The tree has %d leaves and no checkpoint that can be trusted.", v.Size)
	case c != nil && c.size > v.Size:
		v.problem("The checkpoint was signed over %d records, and the tree ends after %d: the others were cut off.", c.size, v.Size)
	case c != nil && c.size < v.Size:
		v.problem("The tree has %d leaves, and its checkpoint was signed over %d: it was put back, or leaves were added.", v.Size, c.size)
	}
	if c := v.outside; c != nil && c.size > v.Size {
		v.problem("The given checkpoint was signed over %d records, and the tree has %d: the log was put back to an earlier state.", c.size, v.Size)
	} else if c != nil && c.size > v.edge.size {
		v.problem("Whether the first %d records are those of the given checkpoint cannot be told, as leaves are missing.", c.size)
	}
}

// compareHash holds the next of the stored hashes against what the leaves give.
func (v *verification) compareHash(h tlog.Hash) {
	n := v.next / blockSize
	if v.block == nil || v.blockAt != n {
		item, _ := v.tx.Get(numberKey(treeHashes, v.tenant, n)) // without an item its hashes differ
		v.block, v.blockAt = append([]byte{}, item.Value...), n
	}
	at := int(v.next%blockSize) * tlog.HashSize
	if (len(v.block) < at+tlog.HashSize || tlog.Hash(v.block[at:at+tlog.HashSize]) != h) && v.left != n {
		v.left = n
		level, i := tlog.SplitStoredHashIndex(v.next)
		v.problem("The stored hash %d at level %d of the tree is not that of its leaves: proofs that use it fail.", i, level)
	}
	v.next++
}
