package prepare

import (
	"slices"
	"strconv"

	"github.com/vespiary/vespiary/host/internal/runtime/wasm/format"
)

// encode writes the prepared module. The sections come in the order of the format.
func (p *plan) encode(codes []byte) []byte {
	m := p.m
	yield := p.typeIndex(format.FuncType{})
	imports := append(slices.Clip(m.Imports),
		format.Import{Module: MeterModule, Name: MeterYield, Kind: format.Func, Type: yield})
	var all []format.Section
	add := func(id byte, body []byte) {
		all = append(all, format.Section{ID: id, Body: body})
	}
	add(format.SectionType, vector(p.types, format.AppendFuncType))
	add(format.SectionImport, vector(imports, format.AppendImport))
	add(format.SectionFunction, p.functionSection())
	if len(m.Tables) > 0 {
		add(format.SectionTable, vector(m.Tables, p.appendTable))
	}
	if len(m.Memories) > 0 {
		add(format.SectionMemory, vector(m.Memories, format.AppendRange))
	}
	add(format.SectionGlobal, vector(p.globals(), p.appendGlobal))
	add(format.SectionExport, vector(p.exports(), format.AppendExport))
	if m.Start != nil && !p.image {
		add(format.SectionStart, format.AppendU32(nil, p.funcIndex(*m.Start)))
	}
	if len(m.Elements) > 0 {
		add(format.SectionElement, vector(m.Elements, p.appendElement))
	}
	data := p.data()
	if m.Counted != nil && (len(data) > 0 || !p.image) {
		add(format.SectionDataCount, format.AppendU32(nil, *m.Counted))
	}
	add(format.SectionCode, p.codeSection(codes))
	if len(data) > 0 {
		add(format.SectionData, vector(data, format.AppendData))
	}
	if names, ok := p.names(); ok {
		all = append(all, format.Section{ID: format.SectionCustom, Name: nameSection, Body: names})
	}
	return format.Join(all)
}

// vector encodes a count and the items.
func vector[T any](items []T, appendItem func([]byte, T) []byte) []byte {
	out := format.AppendCount(nil, len(items))
	for _, item := range items {
		out = appendItem(out, item)
	}
	return out
}

func (p *plan) functionSection() []byte {
	types := append(make([]uint32, 0, len(p.m.Funcs)+len(p.added)), p.m.Funcs...)
	for _, f := range p.added {
		types = append(types, f.typ)
	}
	return vector(types, format.AppendU32)
}

// codeSection puts the helpers behind the bodies of the module.
func (p *plan) codeSection(codes []byte) []byte {
	n := len(p.m.Codes) + len(p.added)
	out := append(format.AppendCount(make([]byte, 0, len(codes)+1024), n), codes...)
	for _, f := range p.added {
		out = append(format.AppendCount(out, len(f.body)), f.body...)
	}
	return out
}

// appendTable bounds the table, because table.grow is not subject to the limit on
// linear memory.
func (p *plan) appendTable(b []byte, t format.TableType) []byte {
	t.Size = t.Size.Clamp(p.o.Table)
	return format.AppendTableType(b, t)
}

// globals puts the fuel behind the module's own globals, empty, so that the first
// probe asks the host.
func (p *plan) globals() []format.GlobalDef {
	var zero asm
	zero.i64(0)
	zero.plain(format.OpEnd)
	return append(slices.Clip(p.m.Globals), format.GlobalDef{Type: format.I64, Mutable: true, Init: zero})
}

func (p *plan) appendGlobal(b []byte, g format.GlobalDef) []byte {
	g.Init = p.expr(nil, g.Init)
	return format.AppendGlobal(b, g)
}

func (p *plan) exports() []format.Export {
	all := make([]format.Export, 0, len(p.m.Exports)+2)
	for _, e := range p.m.Exports {
		if e.Kind == format.Func {
			e.Index = p.funcIndex(e.Index)
		}
		all = append(all, e)
	}
	all = append(all, format.Export{Name: ExportFuel, Kind: format.Global, Index: p.fuel})
	if !p.image {
		return all
	}
	first := p.m.ImportedGlobals()
	for i, g := range p.m.Globals {
		if g.Mutable {
			all = append(all, format.Export{Name: ExportGlobal + strconv.Itoa(first+i), Kind: format.Global, Index: count32(first + i)})
		}
	}
	if p.m.Start != nil {
		all = append(all, format.Export{Name: ExportStart, Kind: format.Func, Index: p.funcIndex(*p.m.Start)})
	}
	return all
}

// appendElement renumbers the functions that an element segment holds.
func (p *plan) appendElement(b []byte, e format.Element) []byte {
	if e.Flags&format.ElemPassive == 0 {
		e.Offset = p.expr(nil, e.Offset)
	}
	items := make([]byte, 0, len(e.Items)+e.Count)
	c := format.Section{Body: e.Items}.Cursor()
	if e.Flags&format.ElemExprs != 0 {
		e.Items = p.expr(items, e.Items)
	} else {
		for range e.Count {
			items = format.AppendU32(items, p.funcIndex(c.U32()))
		}
		e.Items = items
	}
	return format.AppendElement(b, e)
}

// expr appends constant expressions, with the functions they name renumbered.
func (p *plan) expr(out, exprs []byte) []byte {
	for len(exprs) > 0 {
		s := format.ScanExpr(exprs)
		for s.Next() {
			if s.Op == format.OpRefFunc {
				out = format.AppendU32(format.AppendOp(out, s.Op), p.funcIndex(s.X))
			} else {
				out = append(out, exprs[s.At:s.End()]...)
			}
		}
		exprs = exprs[s.End():]
	}
	return out
}
