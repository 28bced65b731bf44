package redo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/vespiary/vespiary/host/store"
)

// A segment begins with
//
//	magic and version 8 | sequence 8 | base revision 8 | mark 4 | CRC32C 4
//
// and continues with records, little endian throughout:
//
//	mark 4 | CRC32C 4 | length of ops 4 | place in its group 4 | revision 8 | ops
//
// The checksum of a record covers what follows it and starts from the checksum of
// the segment's header. An op is a key and a value, each with its length as a
// uvarint before it; the value's is one more than its length, and 0 is a delete.
const (
	magic        = "VSPREDO\x01"
	headerSize   = 32
	recordHeader = 24
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header identifies a segment. Its mark, drawn at random, is what records of this
// use of the file begin with; nobody who chooses values can know it.
type header struct {
	seq  uint64
	base store.Revision
	mark [4]byte
	crc  uint32
}

func newHeader(seq uint64, base store.Revision, mark [4]byte) (header, []byte) {
	b := append(make([]byte, 0, headerSize), magic...)
	b = binary.LittleEndian.AppendUint64(b, seq)
	b = binary.LittleEndian.AppendUint64(b, uint64(base))
	b = append(b, mark[:]...)
	h := header{seq, base, mark, crc32.Checksum(b, castagnoli)}
	return h, binary.LittleEndian.AppendUint32(b, h.crc)
}

// parseHeader reads a segment's header. Its errors become a DamageError's reason.
func parseHeader(b []byte) (header, error) {
	if len(b) < headerSize {
		return header{}, errors.New("the file is shorter than its header")
	}
	if string(b[:7]) != magic[:7] {
		return header{}, errors.New("the file is not a segment of a redo log")
	}
	if b[7] != magic[7] {
		return header{}, fmt.Errorf("the segment has format %d and this program reads format %d", b[7], magic[7])
	}
	h := header{
		seq:  binary.LittleEndian.Uint64(b[8:]),
		base: store.Revision(binary.LittleEndian.Uint64(b[16:])),
		mark: [4]byte(b[24:28]),
		crc:  binary.LittleEndian.Uint32(b[28:]),
	}
	if crc32.Checksum(b[:28], castagnoli) != h.crc {
		return header{}, errors.New("the header's checksum is wrong")
	}
	return h, nil
}

// encodedSize is what appendGroup will append, needed before its segment is known.
func encodedSize(recs []Record) (n int64) {
	for _, r := range recs {
		n += recordHeader
		for _, op := range r.Ops {
			n += int64(uvarintLen(len(op.Key)) + len(op.Key))
			if op.Value == nil {
				n++
				continue
			}
			n += int64(uvarintLen(len(op.Value)+1) + len(op.Value))
		}
	}
	return n
}

func uvarintLen(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// appendGroup encodes records that are written together.
func (h header) appendGroup(b []byte, recs []Record) []byte {
	for place, r := range recs {
		start := len(b)
		b = append(b, h.mark[:]...)
		b = append(b, make([]byte, 8)...) // checksum and length, known below
		b = binary.LittleEndian.AppendUint32(b, uint32(place))
		b = binary.LittleEndian.AppendUint64(b, uint64(r.Revision))
		for _, op := range r.Ops {
			b = appendOp(b, op)
		}
		rec := b[start:]
		binary.LittleEndian.PutUint32(rec[8:], uint32(len(rec)-recordHeader)) //nolint:gosec // lengths are within a batch, checked before
		binary.LittleEndian.PutUint32(rec[4:], crc32.Update(h.crc, castagnoli, rec[8:]))
	}
	return b
}

func appendOp(b []byte, op store.Op) []byte {
	b = binary.AppendUvarint(b, uint64(len(op.Key)))
	b = append(b, op.Key...)
	if op.Value == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(op.Value))+1)
	return append(b, op.Value...)
}

// frame is a record as read, before its ops are taken apart.
type frame struct {
	revision, group store.Revision // group is the revision of the first record written with this one
	ops             []byte
	size            int
}

// frame reads the record that b begins with. It reports false for anything that
// is not a whole record of this segment.
func (h header) frame(b []byte) (frame, bool) {
	if len(b) < recordHeader || !bytes.Equal(b[:4], h.mark[:]) {
		return frame{}, false
	}
	length := uint64(binary.LittleEndian.Uint32(b[8:]))
	if length > uint64(len(b)-recordHeader) { //nolint:gosec // lengths are within a batch, checked before
		return frame{}, false
	}
	size := recordHeader + int(length) //nolint:gosec // lengths are within a batch, checked before
	if crc32.Update(h.crc, castagnoli, b[8:size]) != binary.LittleEndian.Uint32(b[4:]) {
		return frame{}, false
	}
	place := store.Revision(binary.LittleEndian.Uint32(b[12:]))
	revision := store.Revision(binary.LittleEndian.Uint64(b[16:]))
	return frame{revision, revision - place, b[recordHeader:size:size], size}, true
}

// decodeOps takes a record's ops apart without copying them.
func decodeOps(b []byte) (ops []store.Op, err error) {
	for len(b) > 0 {
		var op store.Op
		var has bool
		if op.Key, b, has = cutBytes(b, 0); !has {
			return nil, errors.New("an op has no whole key")
		}
		if len(b) > 0 && b[0] == 0 {
			b = b[1:]
		} else if op.Value, b, has = cutBytes(b, 1); !has {
			return nil, errors.New("an op has no whole value")
		}
		ops = append(ops, op)
	}
	return ops, nil
}

// cutBytes reads a length, less bias, and as many bytes.
func cutBytes(b []byte, bias uint64) (head, tail []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n < bias || n-bias > uint64(len(b)-w) { //nolint:gosec // lengths are within a batch, checked before
		return nil, nil, false
	}
	end := w + int(n-bias) //nolint:gosec // lengths are within a batch, checked before
	return b[w:end:end], b[end:], true
}

// walk calls apply with the records of a segment's content, header included, and
// returns the offset after the last one and that one's revision. torn says that
// remains of a group that was never whole follow.
func (h header) walk(b []byte, apply func(Record) error) (end int, last store.Revision, torn bool, err error) {
	end, last = headerSize, h.base
	for {
		f, ok := h.frame(b[end:])
		if !ok {
			break
		}
		if f.revision != last+1 {
			return end, last, false, fmt.Errorf("revision %d follows %d", f.revision, last)
		}
		ops, err := decodeOps(f.ops)
		if err != nil {
			return end, last, false, err
		}
		if err := apply(Record{f.revision, ops}); err != nil {
			return end, last, false, &applyError{f.revision, err}
		}
		end, last = end+f.size, f.revision
	}
	torn, err = h.remains(b[end:], last)
	return end, last, torn, err
}

// remains looks at what follows the last readable record. A record of a later
// group proves that the unreadable one was synced and acknowledged, since groups
// are written one after the other. One of the same group proves nothing: a
// crash may keep the later pages of a write and lose the earlier ones.
func (h header) remains(b []byte, last store.Revision) (torn bool, err error) {
	for {
		i := bytes.Index(b, h.mark[:])
		if i < 0 {
			return torn, nil
		}
		torn = true
		b = b[i:]
		if f, ok := h.frame(b); ok && f.group > last+1 {
			return true, fmt.Errorf("the record of revision %d is unreadable, and readable ones up to %d at least follow", last+1, f.revision)
		}
		b = b[1:]
	}
}

// applyError keeps the caller's failures apart from damage.
type applyError struct {
	revision store.Revision
	err      error
}

func (e *applyError) Error() string { return fmt.Sprintf("apply revision %d: %v", e.revision, e.err) }
func (e *applyError) Unwrap() error { return e.err }
