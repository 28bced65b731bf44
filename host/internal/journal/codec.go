package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/vespiary/vespiary/host"
)

// codecVersion is the first byte of an encoded entry.
const codecVersion = 1

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errCodec   = errors.New("journal: entry is damaged")
)

// encode writes an entry: version, then varints and length-prefixed fields, then
// the CRC32C of all before it.
func encode(e *host.Entry) []byte {
	b := make([]byte, 0, 96+len(e.Body)+len(e.Sealed))
	b = append(b, codecVersion)
	b = binary.AppendUvarint(b, e.Seq)
	b = binary.AppendUvarint(b, uint64(e.Epoch))
	b = binary.AppendUvarint(b, e.Fence)
	b = binary.AppendVarint(b, e.Time.UnixNano())
	b = binary.AppendUvarint(b, uint64(e.Turn)) //nolint:gosec // turns count from 1
	for _, f := range [][]byte{[]byte(e.Kind), []byte(e.Path), e.Body, []byte(e.Digest), e.Sealed} {
		b = append(binary.AppendUvarint(b, uint64(len(f))), f...)
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decode reads what encode wrote and refuses anything else.
func decode(b []byte) (host.Entry, error) {
	if len(b) < 5 || b[0] != codecVersion {
		return host.Entry{}, fmt.Errorf("%w: not an entry of version %d", errCodec, codecVersion)
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return host.Entry{}, fmt.Errorf("%w: its checksum is wrong", errCodec)
	}
	r := reader{b: body[1:]}
	e := host.Entry{Seq: r.uvarint(), Epoch: uint32(r.uvarint()), Fence: r.uvarint()} //nolint:gosec // written from a uint32
	e.Time = time.Unix(0, r.varint()).UTC()
	e.Turn = int(r.uvarint()) //nolint:gosec // written from an int
	e.Kind = host.EntryKind(r.bytes())
	e.Path = string(r.bytes())
	e.Body = r.bytes()
	e.Digest = string(r.bytes())
	e.Sealed = r.bytes()
	if r.bad || len(r.b) > 0 {
		return host.Entry{}, fmt.Errorf("%w: its fields do not fit its length", errCodec)
	}
	return e, nil
}

// reader takes fields off the front of b; once one does not fit, bad stays set.
type reader struct {
	b   []byte
	bad bool
}

// skip drops the n bytes that a varint took; n <= 0 tells that none was there.
func (r *reader) skip(n int) {
	if n <= 0 {
		r.bad, r.b = true, nil
		return
	}
	r.b = r.b[n:]
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.skip(n)
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	r.skip(n)
	return v
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if r.bad || n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	if n == 0 {
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}
