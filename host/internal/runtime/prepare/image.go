package prepare

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/vespiary/vespiary/host/internal/runtime/wasm/format"
)

// keepsState says for an instruction why an image cannot restore what it does.
// memory.init is not among them: the segments it reads stay in the module.
var keepsState = map[format.Op]string{
	format.OpTableSet:  "the module writes to a table (table.set), and tables are not part of an image",
	format.OpTableGrow: "the module grows a table (table.grow), and tables are not part of an image",
	format.OpTableFill: "the module writes to a table (table.fill), and tables are not part of an image",
	format.OpTableCopy: "the module writes to a table (table.copy), and tables are not part of an image",
	format.OpTableInit: "the module writes to a table (table.init), and tables are not part of an image",
	format.OpDataDrop:  "the module drops data segments (data.drop), and which are left is not part of an image",
	format.OpElemDrop:  "the module drops element segments (elem.drop), and which are left is not part of an image",
}

// blocked returns why memory and globals are not the whole state; computed is
// whether there is active data at an offset that only the engine can compute.
func (p *plan) blocked(computed bool) []string {
	reasons := map[string]bool{}
	if computed {
		reasons["the module has a data segment whose place is not a plain number"] = true
	}
	for op := range p.uses {
		if why, ok := keepsState[op]; ok {
			reasons[why] = true
		}
	}
	for _, i := range p.m.Imports {
		switch {
		case i.Kind == format.Memory, i.Kind == format.Table, i.Kind == format.Global && i.Mutable:
			reasons[fmt.Sprintf("the module imports the %s %s.%s, which others can change", i.Kind, i.Module, i.Name)] = true
		}
	}
	for _, g := range p.m.Globals {
		if g.Mutable && (g.Type == format.V128 || g.Type.IsRef()) {
			reasons[fmt.Sprintf("the module has a mutable global of the type %s, which the host cannot read and write", g.Type)] = true
		}
	}
	return slices.Sorted(maps.Keys(reasons))
}

// constantOffset returns the offset of an active data segment that is a plain
// i32.const.
func constantOffset(d format.Data) (uint32, bool) {
	s := format.ScanExpr(d.Offset)
	if !s.Next() || s.Op != format.OpI32Const {
		return 0, false
	}
	offset := s.X
	return offset, s.Next() && s.Op == format.OpEnd
}

// activeData returns the active data segments; false if an offset is not constant.
func activeData(m *format.Module) ([]Segment, bool) {
	var all []Segment
	for _, d := range m.Data {
		if d.Passive {
			continue
		}
		offset, ok := constantOffset(d)
		if !ok {
			return nil, false
		}
		all = append(all, Segment{Offset: offset, Data: d.Init})
	}
	return all, true
}

// mutableGlobals names the exports of the mutable globals, by their index.
func (p *plan) mutableGlobals() []string {
	first := p.m.ImportedGlobals()
	var names []string
	for i, g := range p.m.Globals {
		if g.Mutable {
			names = append(names, ExportGlobal+strconv.Itoa(first+i))
		}
	}
	return names
}

// data returns the data segments that the prepared module keeps. Code names
// segments by their number; so for an image each active one leaves an empty one
// behind, which is what is left of it after it was applied.
func (p *plan) data() []format.Data {
	if !p.image {
		return p.m.Data
	}
	if !p.uses[format.OpMemoryInit] {
		return nil // modules have tens of thousands, and an instance keeps each
	}
	kept := slices.Clone(p.m.Data)
	for i := range kept {
		if !kept[i].Passive {
			kept[i] = format.Data{Passive: true}
		}
	}
	return kept
}
