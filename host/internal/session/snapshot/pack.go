package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

const (
	// packPages is how many pages a pack has at most: compressing them together takes
	// a third of what they take one by one, and reading them is several times as
	// fast. A pack fits store.MaxValue even if nothing of it can be compressed.
	packPages  = 128
	zstdWindow = packPages * host.ImagePageSize
)

// pack is a run of pages that were compressed together.
type pack struct {
	seq    uint64 // of the snapshot that it was written for
	digest string
	pages  int // that it holds, in use or not
}

// place is where a page is: which one of which of the manifest's packs.
type place struct{ pack, slot int }

// survey returns where the manifest has the pages that are named, and how many
// different ones it does not have.
func (m *manifest) survey(sums []sum) (known map[sum]place, fresh int) {
	all := make(map[sum]place, len(m.sums))
	for i, s := range m.sums {
		all[s] = m.places[i]
	}
	known = make(map[sum]place, len(sums))
	news := map[sum]bool{}
	for _, s := range sums {
		if p, ok := all[s]; ok {
			known[s] = p
		} else {
			news[s] = true
		}
	}
	return known, len(news)
}

// keep decides which packs a new snapshot goes on using. It writes again the pages of
// those that are mostly dead, and, beginning with the smallest, of small ones with no
// more pages than are written anyway: so each page is written again at most once each
// time the pack that it is in doubles.
func (m *manifest) keep(known map[sum]place, fresh int) []bool {
	live := make([]int, len(m.packs))
	for _, p := range known {
		live[p.pack]++
	}
	keep := make([]bool, len(m.packs))
	var small []int
	for i, p := range m.packs {
		switch {
		case live[i]*2 < p.pages || live[i] == 0:
			fresh += live[i]
		case p.pages < packPages/2:
			small = append(small, i)
		default:
			keep[i] = true
		}
	}
	slices.SortStableFunc(small, func(a, b int) int { return live[a] - live[b] })
	for _, i := range small {
		if keep[i] = live[i] > fresh; !keep[i] {
			fresh += live[i]
		}
	}
	return keep
}

func missing(digest string) error {
	return fmt.Errorf("%w: part %s is missing", ErrDamaged, digest)
}

// sealed reads packs, as they are in the store.
func (h *home) sealed(tx store.Tx, all []pack) ([][]byte, error) {
	out := make([][]byte, len(all))
	for i, p := range all {
		item, err := tx.Get(h.packKey(p.seq, p.digest))
		if errors.Is(err, store.ErrNotFound) {
			return nil, missing(p.digest)
		}
		if err != nil {
			return nil, err
		}
		out[i] = item.Value
	}
	return out, nil
}

// pages takes the manifest's pages out of its sealed packs.
func (h *home) pages(ctx context.Context, m *manifest, sealed [][]byte) ([]host.ImagePage, error) {
	open := make([][]byte, len(sealed))
	for i, s := range sealed {
		packed, err := h.unwrap(ctx, m.packs[i].digest, s)
		if err != nil {
			return nil, err
		}
		size := m.packs[i].pages * host.ImagePageSize
		open[i], err = h.dec.DecodeAll(packed, make([]byte, 0, size))
		if err != nil || len(open[i]) != size {
			return nil, fmt.Errorf("%w: pack %s does not decompress", ErrDamaged, m.packs[i].digest)
		}
	}
	pages := m.Image.Pages
	for i, p := range m.places {
		from, to := p.slot*host.ImagePageSize, (p.slot+1)*host.ImagePageSize
		pages[i].Data = open[p.pack][from:to:to]
	}
	return pages, nil
}
