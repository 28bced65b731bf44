package format

import "bytes"

// Section numbers.
const (
	SectionCustom    = 0
	SectionType      = 1
	SectionImport    = 2
	SectionFunction  = 3
	SectionTable     = 4
	SectionMemory    = 5
	SectionGlobal    = 6
	SectionExport    = 7
	SectionStart     = 8
	SectionElement   = 9
	SectionCode      = 10
	SectionData      = 11
	SectionDataCount = 12
	sectionTag       = 13
)

// sectionOrder ranks the numbered sections in the order the format demands.
var sectionOrder = [...]int{
	SectionType: 1, SectionImport: 2, SectionFunction: 3, SectionTable: 4, SectionMemory: 5, sectionTag: 6, SectionGlobal: 7,
	SectionExport: 8, SectionStart: 9, SectionElement: 10, SectionDataCount: 11, SectionCode: 12, SectionData: 13,
}

// Section is one section: for a custom one, Body is what follows the name.
type Section struct {
	ID     byte
	Name   string
	Body   []byte
	offset int // of Body in the module
}

// Cursor reads the section's body.
func (s Section) Cursor() *Cursor { return &Cursor{b: s.Body, base: s.offset} }

var (
	coreHeader      = []byte("\x00asm\x01\x00\x00\x00")
	componentHeader = []byte("\x00asm\x0d\x00\x01\x00")
)

// Split cuts a module into its sections and checks the header and the order.
// Failures are of type *Error.
func Split(b []byte) ([]Section, error) {
	if err := checkHeader(b); err != nil {
		return nil, err
	}
	c := &Cursor{b: b, at: len(coreHeader)}
	var all []Section
	rank := 0
	for !c.Done() {
		s := c.section()
		if s.ID != SectionCustom && c.err == nil {
			if r := sectionOrder[s.ID]; r > rank {
				rank = r
			} else {
				c.Fail("section %d is repeated or out of order", s.ID)
			}
		}
		all = append(all, s)
	}
	return all, c.err
}

// section cuts the next section off, and the name of a custom one from its payload.
func (c *Cursor) section() Section {
	s := Section{ID: c.U8()}
	if int(s.ID) >= len(sectionOrder) {
		c.Fail("unknown section %d", s.ID)
		return s
	}
	s.Body = c.Bytes(c.U32())
	s.offset = c.at - len(s.Body)
	if s.ID == SectionCustom && c.err == nil {
		in := Cursor{b: s.Body, base: s.offset}
		s.Name = in.Name()
		s.Body, s.offset, c.err = s.Body[in.at:], s.offset+in.at, in.err
	}
	return s
}

// checkHeader tells a core module from a component, another version and anything
// else.
func checkHeader(b []byte) error {
	switch {
	case bytes.HasPrefix(b, coreHeader):
		return nil
	case bytes.HasPrefix(b, componentHeader):
		return &Error{4, "this is a WebAssembly component; build a core module instead (target wasm32-wasip1, not wasip2)"}
	case bytes.HasPrefix(b, coreHeader[:4]):
		return &Error{4, "unknown version of the binary format; build a core module, version 1"}
	}
	return &Error{0, "not a WebAssembly module; give the .wasm file that the build made"}
}

// Join is the inverse of Split. Lengths are encoded in their shortest form.
func Join(all []Section) []byte {
	size := len(coreHeader)
	for _, s := range all {
		size += len(s.Body) + len(s.Name) + 16
	}
	out := append(make([]byte, 0, size), coreHeader...)
	for _, s := range all {
		var name []byte
		if s.ID == SectionCustom {
			name = AppendName(nil, s.Name)
		}
		out = append(out, s.ID)
		out = AppendCount(out, len(name)+len(s.Body))
		out = append(append(out, name...), s.Body...)
	}
	return out
}
