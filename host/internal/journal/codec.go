package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/vespiary/vespiary/host"
)

// The first byte of an encoded entry. Entries of the unchained version are read and no
// longer written.
const (
	unchained = 1
	chained   = 2
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errCodec   = errors.New("journal: entry is damaged")
)

// link is a value of the chain over a journal's entries: SHA-256 over the link before
// and the encoded entry. Zero stands before the first entry.
type link [sha256.Size]byte

// record is an entry with its place in the chain. body is what the link covers.
type record struct {
	host.Entry
	chained bool
	link    link
	body    []byte
}

// follows tells whether the record's link is the one after before.
func (r *record) follows(before link) bool { return r.link == next(before, r.body) }

// next is the link of an entry that is encoded as body.
func next(before link, body []byte) (l link) {
	h := sha256.New()
	h.Write(before[:])
	h.Write(body)
	h.Sum(l[:0])
	return l
}

// encode writes an entry: version, then varints and length-prefixed fields, the link
// over all of these and the link before, and the CRC32C of everything.
func encode(e *host.Entry, before link) ([]byte, link) {
	b := make([]byte, 0, 96+len(link{})+len(e.Body)+len(e.Sealed))
	b = append(b, chained)
	b = binary.AppendUvarint(b, e.Seq)
	b = binary.AppendUvarint(b, uint64(e.Epoch))
	b = binary.AppendUvarint(b, e.Fence)
	b = binary.AppendVarint(b, e.Time.UnixNano())
	b = binary.AppendUvarint(b, uint64(e.Turn)) //nolint:gosec // turns count from 1
	b = appendField(b, e.Kind)
	b = appendField(b, e.Path)
	b = appendField(b, e.Body)
	b = appendField(b, e.Digest)
	b = appendField(b, e.Sealed)
	l := next(before, b)
	b = append(b, l[:]...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), l
}

func appendField[T ~string | ~[]byte](b []byte, f T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(f))), f...)
}

// decode reads what encode wrote, now or before there was a chain, and refuses anything
// else.
func decode(b []byte) (record, error) {
	if len(b) < 5 || b[0] != unchained && b[0] != chained {
		return record{}, fmt.Errorf("%w: not an entry of version %d or %d", errCodec, unchained, chained)
	}
	body, sum := b[:len(b)-4], binary.LittleEndian.Uint32(b[len(b)-4:])
	if crc32.Checksum(body, castagnoli) != sum {
		return record{}, fmt.Errorf("%w: its checksum is wrong", errCodec)
	}
	rec := record{chained: b[0] == chained}
	if rec.chained {
		n := len(body) - len(rec.link)
		if n < 1 {
			return record{}, fmt.Errorf("%w: it has no link", errCodec)
		}
		body, rec.link = body[:n], link(body[n:])
	}
	rec.body = body
	return rec, rec.fields()
}

func (r *record) fields() error {
	in := reader{b: r.body[1:]}
	e := host.Entry{Seq: in.uvarint(), Epoch: uint32(in.uvarint()), Fence: in.uvarint()} //nolint:gosec // written from a uint32
	e.Time = time.Unix(0, in.varint()).UTC()
	e.Turn = int(in.uvarint()) //nolint:gosec // written from an int
	e.Kind = host.EntryKind(in.bytes())
	e.Path = string(in.bytes())
	e.Body = in.bytes()
	e.Digest = string(in.bytes())
	e.Sealed = in.bytes()
	if in.bad || len(in.b) > 0 {
		return fmt.Errorf("%w: its fields do not fit its length", errCodec)
	}
	r.Entry = e
	return nil
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

func (r *reader) bytes() []byte { return r.take(r.uvarint()) }

// take returns the next n bytes, nil for none.
func (r *reader) take(n uint64) []byte {
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
