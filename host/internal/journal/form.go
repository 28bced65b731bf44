package journal

import (
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/vespiary/vespiary/host"
)

// The first byte of a stored payload or part tells its form. JSON begins with none of
// them, so that most small payloads are stored as they are.
const (
	formVerbatim     byte = iota // the payload follows; it begins with one of these bytes itself
	formConversation             // a request as a chain of messages, no longer written
	formPacked                   // zstd
	formRecipe                   // a recipe
	formPackedRecipe             // zstd of a recipe
	forms                        // how many there are
)

// packMin is the size from which compressing is tried, in bytes.
const packMin = 256

// packer compresses. It is safe for concurrent use.
type packer struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
	min int // bytes from which it is tried
}

// newPacker chooses the fastest level, because each entry waits for it, but with the coding
// of literals, which makes base64 a quarter smaller; no checksum, because what is packed is
// authenticated; and a decoder that yields little more than a payload may have.
func newPacker() (packer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true), zstd.WithAllLitEntropyCompression(true))
	if err != nil {
		return packer{}, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(2*host.MaxPayload), zstd.WithDecoderLowmem(true))
	return packer{enc, dec, packMin}, err
}

// pack returns data in the form packed, or, where that is not smaller, after the byte
// plain.
func (p packer) pack(data []byte, packed, plain byte) []byte {
	if len(data) >= p.min {
		out := p.enc.EncodeAll(data, append(make([]byte, 0, len(data)+16), packed))
		if len(out) <= len(data) {
			return out
		}
	}
	return append(append(make([]byte, 0, len(data)+1), plain), data...)
}

// whole returns the form of a payload that is stored in one piece: packed, if that is
// smaller, or as it is, after a byte that says so where its own first byte could be taken
// for a form.
func (p packer) whole(data []byte) []byte {
	if len(data) < p.min {
		if len(data) > 0 && data[0] < forms {
			return append([]byte{formVerbatim}, data...)
		}
		return data
	}
	out := p.pack(data, formPacked, formVerbatim)
	if out[0] == formVerbatim && data[0] >= forms {
		return data
	}
	return out
}

// unpack returns what the form stored holds, and whether that is a recipe.
func (p packer) unpack(stored []byte) (data []byte, recipe bool, err error) {
	if len(stored) == 0 || stored[0] >= forms {
		return stored, false, nil
	}
	form, data := stored[0], stored[1:]
	if form == formPacked || form == formPackedRecipe {
		if data, err = p.dec.DecodeAll(data, nil); err != nil {
			return nil, false, fmt.Errorf("%w: a payload does not unpack: %w", errCodec, err)
		}
	}
	return data, form == formRecipe || form == formPackedRecipe, nil
}
