package audit

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// Proof shows to anyone with the public key that a record is in the log that a checkpoint was
// signed over, without the other records.
type Proof struct {
	ID         string   `json:"id"`
	Leaf       int64    `json:"leaf"` // number of the record in the tree, from 0
	Path       [][]byte `json:"path"` // audit path of RFC 6962, section 2.1.1
	Checkpoint []byte   `json:"checkpoint"`
}

// ErrWaiting tells that a record is not in the tree yet, which takes a second or so.
var ErrWaiting = errors.New("the record is not in the signed tree yet; try again in a second")

// Proof returns the proof of a record for the newest checkpoint.
func (l *Log) Proof(ctx context.Context, tenant, id string) (p Proof, err error) {
	r, err := l.Get(ctx, tenant, id)
	if err != nil {
		return p, err
	}
	err = l.opt.Store.View(ctx, func(tx store.Tx) error {
		item, err := tx.Get(placeOf(&r).key(index, tenant))
		if errors.Is(err, store.ErrNotFound) {
			return ErrWaiting
		}
		if err != nil {
			return err
		}
		n, ok := numberOf(item.Value)
		if !ok {
			return fmt.Errorf("%w: the place of %s in it is no number", ErrTampered, id)
		}
		p, err = prove(tx, tenant, n)
		return err
	})
	if err != nil {
		return Proof{}, fmt.Errorf("audit: prove record %s: %w", id, err)
	}
	p.ID = id
	return p, nil
}

// prove reads the size from the newest checkpoint, whose signature is for others to check.
func prove(tx store.Tx, tenant string, n int64) (Proof, error) {
	item, err := tx.Get(checkpointKey(tenant))
	if err != nil {
		return Proof{}, err
	}
	c, err := parseCheckpoint(string(item.Value))
	if err != nil {
		return Proof{}, fmt.Errorf("%w: its checkpoint cannot be read: %w", ErrTampered, err)
	}
	if n >= c.size {
		return Proof{}, fmt.Errorf("%w: its checkpoint has %d leaves and this is number %d", ErrTampered, c.size, n)
	}
	hashes, err := tlog.ProveRecord(c.size, n, openTree(tx, tenant, c.size))
	if err != nil {
		return Proof{}, err
	}
	p := Proof{Leaf: n, Checkpoint: item.Value, Path: [][]byte{}}
	for _, h := range hashes {
		p.Path = append(p.Path, h[:])
	}
	return p, nil
}

// Check reports whether the proof holds for a record, by the log's public key. It needs no
// log.
func (p Proof) Check(r *policy.Record, publicKey string) error {
	c, err := openCheckpoint(p.Checkpoint, publicKey)
	if err != nil {
		return fmt.Errorf("audit: check the proof of %s: the checkpoint is not to be trusted: %w", r.ID, err)
	}
	path := make(tlog.RecordProof, len(p.Path))
	for i, b := range p.Path {
		if len(b) != tlog.HashSize {
			return fmt.Errorf("audit: check the proof of %s: a hash has %d bytes", r.ID, len(b))
		}
		path[i] = tlog.Hash(b)
	}
	if p.Leaf < 0 || p.Leaf >= c.size {
		return fmt.Errorf("audit: check the proof of %s: leaf %d is not in a tree of %d", r.ID, p.Leaf, c.size)
	}
	f := leaf{hash: digest(canonical(nil, r))}
	if err := tlog.CheckRecord(path, c.size, c.root, p.Leaf, f.treeHash()); err != nil {
		return fmt.Errorf("audit: the record %s is not what was signed: %w", r.ID, err)
	}
	return nil
}
