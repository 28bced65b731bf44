package journal

import (
	"context"
	"encoding/binary"
	"hash/crc32"

	"github.com/vespiary/vespiary/host"
)

// sealOld ends an encoded entry with its checksum.
func sealOld(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(append([]byte(nil), body...), crc32.Checksum(body, castagnoli))
}

// WithoutChain encodes an entry as it was before there was a chain.
func WithoutChain(e host.Entry) []byte {
	b, _ := encode(&e, link{})
	b = b[:len(b)-4-len(link{})]
	b[0] = unchained
	return sealOld(b)
}

// Encode encodes an entry as if it were the first one.
func Encode(e host.Entry) []byte {
	b, _ := encode(&e, link{})
	return b
}

// CreateOld begins a session whose requests are named under the tenant's key.
func (j *Journals) CreateOld(ctx context.Context, o host.Open) (*Log, error) {
	return j.create(ctx, o, head{}, nil, record{}, nil)
}

// Uncompressed makes the ring compress nothing.
func (k *Keys) Uncompressed() { k.packer.min = 1 << 30 }
