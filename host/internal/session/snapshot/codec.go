package snapshot

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/vespiary/vespiary/host"
)

// The first bytes of what is sealed.
const (
	rootVersion     = 1
	manifestVersion = 1
)

var errManifest = fmt.Errorf("%w: its manifest makes no sense", ErrDamaged)

// root is what lies under a manifest's key: the end of the manifest, and where the
// rest is.
type root struct {
	seq   uint64
	parts []string // digests
	tail  []byte
}

func (r *root) encode() []byte {
	b := binary.AppendUvarint([]byte{rootVersion}, r.seq)
	b = binary.AppendUvarint(b, uint64(len(r.parts)))
	for _, digest := range r.parts {
		b = append(b, digest...)
	}
	return append(b, r.tail...)
}

func decodeRoot(b []byte) (root, error) {
	r := reader{b: b}
	if r.version() != rootVersion {
		return root{}, errManifest
	}
	out := root{seq: r.uvarint()}
	for range r.count(digestLen) {
		out.parts = append(out.parts, string(r.take(digestLen)))
	}
	out.tail = r.b
	if r.bad {
		return root{}, errManifest
	}
	return out, nil
}

// encode writes the fields one after the other, numbers as varints, and of the pages
// first all numbers, then all places and then all sums, which do not compress.
func (m *manifest) encode() []byte {
	b := make([]byte, 0, 256+len(m.sums)*(len(sum{})+4))
	b = binary.AppendUvarint(append(b, manifestVersion), m.Seq)
	b = binary.AppendVarint(b, int64(m.Turn))
	b = binary.AppendUvarint(b, uint64(m.Epoch))
	b = binary.AppendVarint(b, int64(m.Prepared))
	b = binary.AppendVarint(b, m.Fuel)
	b = appendBytes(appendBytes(b, m.Module), m.Digest)
	b = appendState(b, &m.Image)
	b = appendPacks(b, m.packs)
	b = binary.AppendUvarint(b, uint64(len(m.sums)))
	last := uint32(0)
	for _, p := range m.Image.Pages {
		b = binary.AppendUvarint(b, uint64(p.Number-last))
		last = p.Number
	}
	for _, p := range m.places {
		b = binary.AppendUvarint(b, uint64(p.pack)) //nolint:gosec // an index
		b = append(b, byte(p.slot))                 //nolint:gosec // less than packPages
	}
	for _, s := range m.sums {
		b = append(b, s[:]...)
	}
	return b
}

// appendState writes an image without its pages, equal ones alike.
func appendState(b []byte, i *host.Image) []byte {
	b = appendBytes(b, i.Base)
	b = binary.AppendUvarint(b, i.Size)
	b = binary.AppendUvarint(b, uint64(len(i.Globals)))
	for _, g := range i.Globals {
		b = binary.AppendUvarint(b, g)
	}
	b = binary.AppendUvarint(b, uint64(len(i.Vars)))
	for _, name := range slices.Sorted(maps.Keys(i.Vars)) {
		b = appendBytes(appendBytes(b, name), i.Vars[name])
	}
	return b
}

func appendPacks(b []byte, all []pack) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, p := range all {
		b = binary.AppendUvarint(b, p.seq)
		b = append(b, byte(p.pages)) //nolint:gosec // at most packPages
		b = append(b, p.digest...)
	}
	return b
}

func appendBytes[T string | []byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// decodeManifest reads what encode wrote. It refuses everything that would make a
// reader of the pages reach beyond their packs.
func decodeManifest(b []byte) (*manifest, error) {
	r := reader{b: b}
	if r.version() != manifestVersion {
		return nil, errManifest
	}
	m := &manifest{}
	m.Seq = r.uvarint()
	m.Turn = int(r.varint())
	m.Epoch = uint32(r.uvarint()) //nolint:gosec // written from a uint32
	m.Prepared = int(r.varint())
	m.Fuel = r.varint()
	m.Module, m.Digest = string(r.bytes()), string(r.bytes())
	r.state(&m.Image)
	m.packs = r.packs(m.Seq)
	r.pages(m)
	if r.bad || len(r.b) > 0 {
		return nil, errManifest
	}
	return m, nil
}

// reader takes fields off the front of b; once one does not fit, bad stays set and all
// that follow are zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fail() { r.bad, r.b = true, nil }

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail()
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) version() byte { return r.byte() }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads how many things follow that have at least the size, in bytes.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) { //nolint:gosec // neither is negative
		r.fail()
		return 0
	}
	return int(n) //nolint:gosec // see above
}

func (r *reader) bytes() []byte { return r.take(r.count(1)) }

func (r *reader) state(i *host.Image) {
	i.Base = string(r.bytes())
	i.Size = r.uvarint()
	for range r.count(1) {
		i.Globals = append(i.Globals, r.uvarint())
	}
	n := r.count(2)
	if n > 0 {
		i.Vars = make(map[string][]byte, n)
	}
	for range n {
		name := string(r.bytes())
		i.Vars[name] = append([]byte{}, r.bytes()...)
	}
}

// packs reads the packs of the snapshot with the number. They cannot be younger.
func (r *reader) packs(seq uint64) []pack {
	n := r.count(digestLen + 2)
	out := make([]pack, 0, n)
	for range n {
		p := pack{r.uvarint(), "", int(r.byte())}
		p.digest = string(r.take(digestLen))
		if p.seq > seq || p.pages == 0 || p.pages > packPages {
			r.fail()
		}
		out = append(out, p)
	}
	return out
}

func (r *reader) pages(m *manifest) {
	n := r.count(len(sum{}) + 3)
	m.Image.Pages = make([]host.ImagePage, n)
	m.places, m.sums = make([]place, n), make([]sum, n)
	last := uint64(0)
	for i := range n {
		step := r.uvarint()
		last += step
		if step > maxPage || last > maxPage || i > 0 && step == 0 {
			r.fail()
		}
		m.Image.Pages[i].Number = uint32(last) //nolint:gosec // at most maxPage
	}
	for i := range n {
		p := place{r.index(len(m.packs)), int(r.byte())}
		if r.bad || p.slot >= m.packs[p.pack].pages {
			r.fail()
			return
		}
		m.places[i] = p
	}
	for i := range n {
		copy(m.sums[i][:], r.take(len(sum{})))
	}
}

// maxPage is the last page number that there can be.
const maxPage = 1<<32 - 1

// index reads an index into something of the length.
func (r *reader) index(length int) int {
	n := r.uvarint()
	if n >= uint64(length) { //nolint:gosec // not negative
		r.fail()
		return 0
	}
	return int(n) //nolint:gosec // see above
}
