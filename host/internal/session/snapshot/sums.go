package snapshot

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/vespiary/vespiary/host"
)

// sum names a page's content: the first bytes of its SHA-256. It lies in sealed
// manifests only, so it needs no key.
type sum [24]byte

// sumAll checks the pages and returns their sums.
func sumAll(pages []host.ImagePage) ([]sum, error) {
	sums := make([]sum, len(pages))
	for i, p := range pages {
		if len(p.Data) != host.ImagePageSize {
			return nil, fmt.Errorf("page %d of its image has %d bytes, not %d", p.Number, len(p.Data), host.ImagePageSize)
		}
		if i > 0 && pages[i-1].Number >= p.Number {
			return nil, fmt.Errorf("page %d of its image comes after page %d", p.Number, pages[i-1].Number)
		}
		full := sha256.Sum256(p.Data)
		sums[i] = sum(full[:len(sum{})])
	}
	return sums, nil
}

// digest returns the keyed digest of the image. It covers the state and not how it is
// stored, so that two guests that are alike have the same.
func (h *home) digest(ctx context.Context, t *Taken, sums []sum) (string, error) {
	b := appendState(nil, &t.Image)
	for i, p := range t.Image.Pages {
		b = append(binary.LittleEndian.AppendUint32(b, p.Number), sums[i][:]...)
	}
	whole := sha256.Sum256(b)
	wrapped, err := h.wrap(ctx, append([]byte("vespiary image v1 "), whole[:]...))
	if err != nil {
		return "", err
	}
	return string(wrapped[:digestLen]), nil
}

func (h *home) wrap(ctx context.Context, data []byte) ([]byte, error) {
	wrapped, err := h.sealer.Wrap(ctx, h.run, data)
	if err == nil && len(wrapped) < digestLen {
		err = fmt.Errorf("a sealed value of %d bytes has no digest", len(wrapped))
	}
	return wrapped, err
}

// unwrap opens the sealed value that digest names; an empty digest takes any.
func (h *home) unwrap(ctx context.Context, digest string, sealed []byte) ([]byte, error) {
	if len(sealed) < digestLen || digest != "" && string(sealed[:digestLen]) != digest {
		return nil, fmt.Errorf("%w: a part is not the one that its manifest names", ErrDamaged)
	}
	data, err := h.sealer.Unwrap(ctx, h.run, sealed)
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: a part does not decrypt: %w", ErrDamaged, err)
	}
	return data, err
}
