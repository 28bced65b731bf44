package prepare

import "github.com/vespiary/vespiary/host/internal/runtime/wasm/format"

const (
	nameSection   = "name"
	functionNames = 1 // its subsection
)

// names returns the section with the names of functions, which stack traces show,
// renumbered; false if the module has none or it is damaged.
func (p *plan) names() ([]byte, bool) {
	for _, s := range p.m.Sections {
		if s.ID != format.SectionCustom || s.Name != nameSection {
			continue
		}
		for c := s.Cursor(); !c.Done(); {
			id, body := c.U8(), c.Bytes(c.U32())
			if id == functionNames {
				return p.functionNames(body)
			}
		}
	}
	return nil, false
}

// functionNames renumbers pairs of an index and a name, which are sorted by index.
func (p *plan) functionNames(body []byte) ([]byte, bool) {
	c := format.Section{Body: body}.Cursor()
	n := c.Count("names", len(p.funcs), 2)
	out := make([]byte, 0, len(body)+n)
	next := int64(0)
	for range n {
		i, name := c.U32(), c.Name()
		if int64(i) < next || int64(i) >= int64(len(p.funcs)) {
			return nil, false
		}
		next = int64(i) + 1
		out = format.AppendName(format.AppendU32(out, p.funcIndex(i)), name)
	}
	if c.Finish() != nil {
		return nil, false
	}
	first := count32(len(p.funcs) + 1)
	for i, f := range p.added {
		out = format.AppendName(format.AppendU32(out, first+count32(i)), f.name)
	}
	out = append(format.AppendCount(nil, n+len(p.added)), out...)
	return append(format.AppendCount([]byte{functionNames}, len(out)), out...), true
}
