package snapshot

import (
	"context"
	"fmt"
	"slices"

	"github.com/vespiary/vespiary/host/store"
)

// Prune deletes all snapshots but the newest keep ones, and the packs that none of
// these names. It spares packs that were written for a snapshot after the newest, since
// their manifest may be about to be committed. A kept manifest that cannot be read is an
// error, and nothing is deleted: what it names is not known.
func (k *Keeper) Prune(ctx context.Context, tenant, session string, keep int) error {
	h := k.home(tenant, session)
	var dead [][]byte
	err := h.store.View(ctx, func(tx store.Tx) (err error) {
		dead, err = h.dead(ctx, tx, max(keep, 0))
		return err
	})
	if err == nil {
		err = h.remove(ctx, dead)
	}
	if err != nil {
		return fmt.Errorf("prune the snapshots of session %s: %w", session, err)
	}
	return nil
}

// dead returns the keys that Prune deletes, manifests first: if it is interrupted, no
// manifest is left whose packs are gone.
func (h *home) dead(ctx context.Context, tx store.Tx, keep int) ([][]byte, error) {
	all, err := h.keys(tx, manifests)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	cut := max(len(all)-keep, 0)
	named, err := h.named(ctx, tx, all[cut:])
	if err != nil {
		return nil, err
	}
	written, err := h.keys(tx, packs)
	if err != nil {
		return nil, err
	}
	newest, dead := h.seqOf(all[len(all)-1]), all[:cut:cut]
	for _, key := range written {
		if !named[string(key)] && h.seqOf(key) <= newest {
			dead = append(dead, key)
		}
	}
	return dead, nil
}

// named returns the keys of what the manifests consist of.
func (h *home) named(ctx context.Context, tx store.Tx, manifests [][]byte) (map[string]bool, error) {
	named := map[string]bool{}
	for _, key := range manifests {
		item, err := tx.Get(key)
		if err != nil {
			return nil, err
		}
		m, err := h.open(ctx, tx, item)
		if err != nil {
			return nil, err
		}
		for _, p := range slices.Concat(m.parts, m.packs) {
			named[string(h.packKey(p.seq, p.digest))] = true
		}
	}
	return named, nil
}

// Drop deletes the snapshots that were taken after the entry. What a revert hides is
// dropped before it is hidden: a host that stops in between then replays, and finds no
// snapshot of what is no longer so.
func (k *Keeper) Drop(ctx context.Context, tenant, session string, after uint64) error {
	h := k.home(tenant, session)
	var dead [][]byte
	err := h.store.View(ctx, func(tx store.Tx) error {
		for _, kind := range []string{manifests, packs} {
			keys, err := h.keys(tx, kind)
			if err != nil {
				return err
			}
			for _, key := range keys {
				if h.seqOf(key) > after {
					dead = append(dead, key)
				}
			}
		}
		return nil
	})
	if err == nil {
		err = h.remove(ctx, dead)
	}
	if err != nil {
		return fmt.Errorf("drop the snapshots of session %s after entry %d: %w", session, after, err)
	}
	return nil
}

// removeBatch is how many keys are deleted at once.
const removeBatch = 1024

// remove deletes keys in order.
func (h *home) remove(ctx context.Context, keys [][]byte) error {
	for len(keys) > 0 {
		n := min(len(keys), removeBatch)
		ops := make([]store.Op, n)
		for i, key := range keys[:n] {
			ops[i].Key = key
		}
		if _, err := h.store.Commit(ctx, store.Batch{Ops: ops}); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}
