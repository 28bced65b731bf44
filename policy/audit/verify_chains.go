package audit

import (
	"bytes"
	"errors"

	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// link is the record before the one that is looked at.
type link struct {
	chain string
	n     uint64
	hash  string
	lost  bool // it is not there, so that nothing can be said of what follows it
}

// records goes through the chains: their numbers have no gaps, and each record names the
// hash of the one before.
func (v *verification) records() error {
	var before link
	from := prefix(records, v.tenant)
	for item, err := range v.tx.Scan(store.Query{Prefix: from}) {
		if err != nil {
			return err
		}
		chain, n, err := parseRecordKey(item.Key[len(from):])
		if err != nil {
			v.problem("%q is no key of a record.", item.Key)
			continue
		}
		if chain != before.chain {
			v.Chains++
			before = link{chain: chain}
		}
		v.Records++
		if n != before.n+1 {
			v.problem("Chain %s lacks its records %d to %d.", chain, before.n+1, n-1)
			before.lost = true
		}
		if before, err = v.record(before, recordID(chain, n), n, item.Value); err != nil {
			return err
		}
	}
	return nil
}

func (v *verification) record(before link, id string, n uint64, value []byte) (link, error) {
	after := link{chain: before.chain, n: n, hash: digestText(digest(value))}
	r, err := decode(value)
	if err != nil {
		v.problem("Record %s cannot be read: it was changed.", id)
		return after, nil
	}
	switch {
	case r.ID != id || r.Chain != before.chain || r.N != n || r.Tenant != v.tenant:
		v.problem("Record %s says that it is %s of tenant %s: it was moved here.", id, r.ID, r.Tenant)
	case !bytes.Equal(canonical(nil, &r), value):
		v.problem("Record %s is not in the form that the log writes: it was changed.", id)
	}
	if !before.lost && r.Prev != before.hash {
		v.problem("Record %s does not name the record before it as it is: one of the two was changed, exchanged or inserted.", id)
	}
	return after, v.hasPlace(&r, id)
}

// hasPlace looks for a record in the tree and in the queue. The tree's own pass has found
// what is wrong with a place in it.
func (v *verification) hasPlace(r *policy.Record, id string) error {
	p := placeOf(r)
	for _, kind := range []byte{index, queue} {
		_, err := v.tx.Get(p.key(kind, v.tenant))
		if err == nil {
			return nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	v.problem("Record %s is neither in the tree nor does it wait for that: it was inserted or changed, or its place was removed.", id)
	return nil
}

// queue goes through the records that wait: each must be as it was when it was written.
func (v *verification) queue() error {
	from := prefix(queue, v.tenant)
	for item, err := range v.tx.Scan(store.Query{Prefix: from}) {
		if err != nil {
			return err
		}
		p, err := parsePlace(item.Key[len(from):])
		if err != nil || len(item.Value) != len(leaf{}.hash) {
			v.problem("%q in the queue is no place of a record: it was changed.", item.Key)
			continue
		}
		v.Waiting++
		if err := v.waitingRecord(p, [32]byte(item.Value)); err != nil {
			return err
		}
	}
	return nil
}

func (v *verification) waitingRecord(p place, hash [32]byte) error {
	item, err := v.tx.Get(recordKey(v.tenant, p.chain, p.n))
	switch {
	case errors.Is(err, store.ErrNotFound):
		v.problem("Record %s, which waits for the tree, was deleted.", p.id())
	case err != nil:
		return err
	case digest(item.Value) != hash:
		v.problem("Record %s, which waits for the tree, or its place there was changed.", p.id())
	}
	if _, err := v.tx.Get(p.key(index, v.tenant)); err == nil {
		v.problem("Record %s waits for the tree, in which it is already.", p.id())
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

// index goes through the places in the tree: each must be that of its leaf.
func (v *verification) index() error {
	from := prefix(index, v.tenant)
	for item, err := range v.tx.Scan(store.Query{Prefix: from}) {
		if err != nil {
			return err
		}
		p, err := parsePlace(item.Key[len(from):])
		n, ok := numberOf(item.Value)
		if err != nil || !ok {
			v.problem("%q in the index is no place of a record: it was changed.", item.Key)
			continue
		}
		stored, err := v.tx.Get(numberKey(leaves, v.tenant, n))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if f, err := parseLeaf(stored.Value); err != nil || f.place != p {
			v.problem("Record %s was leaf %d of the tree, which is not there or is another's.", p.id(), n)
		}
	}
	return nil
}
