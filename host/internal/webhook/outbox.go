package webhook

import (
	"context"
	"slices"

	"github.com/vespiary/vespiary/host/store"
)

const pageSize = 1000 // keys read and deleted at once

// deleteKeys deletes the keys under a prefix that drop selects, in their order, and
// returns how many those were.
func deleteKeys(ctx context.Context, s store.Store, prefix []byte, drop func(key []byte) bool) (int, error) {
	removed := 0
	for from := []byte(nil); ; {
		page, err := keysFrom(ctx, s, prefix, from)
		if err != nil || len(page) == 0 {
			return removed, err
		}
		from = append(slices.Clone(page[len(page)-1]), 0)
		var ops []store.Op
		for _, key := range page {
			if drop(key) {
				ops = append(ops, store.Op{Key: key})
			}
		}
		if len(ops) == 0 {
			continue
		}
		if _, err := s.Commit(ctx, store.Batch{Ops: ops}); err != nil {
			return removed, err
		}
		removed += len(ops)
	}
}

func keysFrom(ctx context.Context, s store.Store, prefix, from []byte) ([][]byte, error) {
	var out [][]byte
	err := s.View(ctx, func(tx store.Tx) error {
		for item, err := range tx.Scan(store.Query{Prefix: prefix, From: from, KeysOnly: true, Limit: pageSize}) {
			if err != nil {
				return err
			}
			out = append(out, item.Key)
		}
		return nil
	})
	return out, err
}

// first returns the item with the first key under a prefix.
func first(ctx context.Context, s store.Store, prefix []byte) (item store.Item, found bool, err error) {
	err = s.View(ctx, func(tx store.Tx) error {
		for i, err := range tx.Scan(store.Query{Prefix: prefix, Limit: 1}) {
			if err != nil {
				return err
			}
			item, found = i, true
		}
		return nil
	})
	return item, found, err
}
