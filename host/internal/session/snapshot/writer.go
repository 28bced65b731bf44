package snapshot

import (
	"context"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

const (
	// inline is how many bytes go into the caller's commit, which spares one of our own.
	inline = 512 << 10
	// commitSize is the size at which what was written is committed.
	commitSize = 4 << 20
)

// writer writes one snapshot.
type writer struct {
	*home
	m      *manifest
	packed map[sum]place // where the pages are or will be
	open   []byte        // of the pack that is being filled
	ops    []store.Op    // not committed
	size   int           // of ops
	bytes  int64         // of all ops, those that were committed included
}

// carry takes over the packs of the manifest before that are to be kept.
func (w *writer) carry(before *manifest, known map[sum]place, keep []bool) {
	at := make([]int, len(keep))
	for i, k := range keep {
		if k {
			at[i] = len(w.m.packs)
			w.m.packs = append(w.m.packs, before.packs[i])
		}
	}
	for s, p := range known {
		if keep[p.pack] {
			w.packed[s] = place{at[p.pack], p.slot}
		}
	}
}

// pages finds a place for every page. What has none yet goes into new packs.
func (w *writer) pages(ctx context.Context, pages []host.ImagePage) error {
	w.m.places = make([]place, len(pages))
	for i, s := range w.m.sums {
		if _, ok := w.packed[s]; !ok {
			if w.open == nil {
				w.open = make([]byte, 0, min(packPages, len(pages)-i)*host.ImagePageSize)
			}
			w.packed[s] = place{len(w.m.packs), len(w.open) / host.ImagePageSize}
			w.open = append(w.open, pages[i].Data...)
		}
		w.m.places[i] = w.packed[s]
		if len(w.open) < packPages*host.ImagePageSize && i < len(pages)-1 {
			continue
		}
		if err := w.close(ctx); err != nil {
			return err
		}
	}
	return nil
}

// close writes the pack that is open, if there is one, and adds it to the manifest.
func (w *writer) close(ctx context.Context) error {
	if len(w.open) == 0 {
		return nil
	}
	digest, err := w.add(ctx, w.enc.EncodeAll(w.open, nil))
	w.m.packs = append(w.m.packs, pack{w.m.Seq, digest, len(w.open) / host.ImagePageSize})
	w.open = w.open[:0]
	return err
}

// manifest adds the op that stores the manifest. What it has before its last part is
// stored as packs are.
func (w *writer) manifest(ctx context.Context) error {
	body := w.enc.EncodeAll(w.m.encode(), nil)
	r := root{seq: w.m.Seq}
	for len(body) > maxTail {
		n := min(len(body), partSize)
		digest, err := w.add(ctx, body[:n])
		if err != nil {
			return err
		}
		r.parts, body = append(r.parts, digest), body[n:]
	}
	if w.size > inline {
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	r.tail = body
	sealed, err := w.wrap(ctx, r.encode())
	if err != nil {
		return err
	}
	w.op(store.Op{Key: w.manifestKey(w.m.Seq), Value: sealed})
	return nil
}

// add seals a part of the snapshot and returns its digest.
func (w *writer) add(ctx context.Context, part []byte) (string, error) {
	sealed, err := w.wrap(ctx, part)
	if err != nil {
		return "", err
	}
	digest := string(sealed[:digestLen])
	w.op(store.Op{Key: w.packKey(w.m.Seq, digest), Value: sealed})
	if w.size > commitSize {
		err = w.flush(ctx)
	}
	return digest, err
}

func (w *writer) op(op store.Op) {
	n := len(op.Key) + len(op.Value)
	w.ops, w.size, w.bytes = append(w.ops, op), w.size+n, w.bytes+int64(n)
}

// flush commits what there is so far. Nothing names it yet.
func (w *writer) flush(ctx context.Context) error {
	_, err := w.store.Commit(ctx, store.Batch{Ops: w.ops})
	w.ops, w.size = nil, 0
	return err
}
