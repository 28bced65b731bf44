package snapshot

import (
	"context"
	"fmt"

	"github.com/vespiary/vespiary/host/store"
)

// manifest is a snapshot without the content of its pages.
type manifest struct {
	Taken // of the pages only the numbers

	packs  []pack
	parts  []pack  // of the manifest itself, where it is too long for one value
	sums   []sum   // of each page
	places []place // of each page
}

const (
	// maxBody bounds what a manifest takes in memory: 4 GiB of different pages and
	// all variables need half of it.
	maxBody = 64 << 20
	// A manifest longer than maxTail is cut into parts of partSize, which lie with
	// the packs, and the rest.
	maxTail  = 256 << 10
	partSize = 512 << 10
)

// manifest reads the newest manifest up to the number, nil for none.
func (h *home) manifest(ctx context.Context, tx store.Tx, upTo uint64) (*manifest, error) {
	q := store.Query{Prefix: h.under(manifests), From: h.manifestKey(upTo), Reverse: true, Limit: 1}
	for item, err := range tx.Scan(q) {
		if err != nil {
			return nil, err
		}
		return h.open(ctx, tx, item)
	}
	return nil, nil
}

func (h *home) open(ctx context.Context, tx store.Tx, item store.Item) (*manifest, error) {
	plain, err := h.unwrap(ctx, "", item.Value)
	if err != nil {
		return nil, err
	}
	r, err := decodeRoot(plain)
	if err == nil && r.seq != h.seqOf(item.Key) {
		err = fmt.Errorf("%w: its manifest is that of entry %d", ErrDamaged, r.seq)
	}
	if err != nil {
		return nil, err
	}
	parts := make([]pack, len(r.parts))
	for i, digest := range r.parts {
		parts[i] = pack{seq: r.seq, digest: digest}
	}
	body, err := h.body(ctx, tx, parts)
	if err != nil {
		return nil, err
	}
	m, err := h.decode(append(body, r.tail...), r.seq)
	if err != nil {
		return nil, err
	}
	m.parts = parts
	return m, nil
}

// body reads all of a manifest but its tail.
func (h *home) body(ctx context.Context, tx store.Tx, parts []pack) (body []byte, err error) {
	sealed, err := h.sealed(tx, parts)
	if err != nil {
		return nil, err
	}
	for i, s := range sealed {
		part, err := h.unwrap(ctx, parts[i].digest, s)
		if err != nil {
			return nil, err
		}
		body = append(body, part...)
	}
	return body, nil
}

func (h *home) decode(body []byte, seq uint64) (*manifest, error) {
	plain, err := h.dec.DecodeAll(body, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: its manifest does not decompress: %w", ErrDamaged, err)
	}
	m, err := decodeManifest(plain)
	if err == nil && m.Seq != seq {
		err = errManifest
	}
	return m, err
}
