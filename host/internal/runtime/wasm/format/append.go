package format

import "encoding/binary"

// AppendName appends a string with its length before it.
func AppendName(b []byte, s string) []byte {
	return append(AppendCount(b, len(s)), s...)
}

// AppendCount appends an unsigned LEB128 of a number that is not negative.
func AppendCount(b []byte, n int) []byte {
	return binary.AppendUvarint(b, uint64(n)) //nolint:gosec // counts are not negative
}

// AppendU32 appends an unsigned LEB128.
func AppendU32(b []byte, n uint32) []byte {
	return binary.AppendUvarint(b, uint64(n))
}

// AppendRange appends the size of a memory or table.
func AppendRange(b []byte, r Range) []byte {
	if !r.Bounded {
		return AppendU32(append(b, 0), r.Min)
	}
	return AppendU32(AppendU32(append(b, 1), r.Min), r.Max)
}

// AppendFuncType appends a signature.
func AppendFuncType(b []byte, t FuncType) []byte {
	b = append(b, 0x60)
	for _, ts := range [...][]ValueType{t.Params, t.Results} {
		b = AppendCount(b, len(ts))
		for _, v := range ts {
			b = append(b, byte(v))
		}
	}
	return b
}

// AppendImport appends an import.
func AppendImport(b []byte, i Import) []byte {
	b = append(AppendName(AppendName(b, i.Module), i.Name), byte(i.Kind))
	switch i.Kind {
	case Func:
		return AppendU32(b, i.Type)
	case Table:
		return AppendTableType(b, TableType{Elem: i.Value, Size: i.Size})
	case Memory:
		return AppendRange(b, i.Size)
	case Global:
		return appendGlobalType(b, i.Value, i.Mutable)
	}
	return b
}

// AppendTableType appends the type of a table.
func AppendTableType(b []byte, t TableType) []byte {
	return AppendRange(append(b, byte(t.Elem)), t.Size)
}

// AppendGlobal appends a global.
func AppendGlobal(b []byte, g GlobalDef) []byte {
	return append(appendGlobalType(b, g.Type, g.Mutable), g.Init...)
}

func appendGlobalType(b []byte, t ValueType, mutable bool) []byte {
	if mutable {
		return append(b, byte(t), 1)
	}
	return append(b, byte(t), 0)
}

// AppendExport appends an export.
func AppendExport(b []byte, e Export) []byte {
	return AppendU32(append(AppendName(b, e.Name), byte(e.Kind)), e.Index)
}

// AppendElement appends an element segment.
func AppendElement(b []byte, e Element) []byte {
	b = AppendU32(b, e.Flags)
	if e.Flags&ElemPassive == 0 {
		if e.Flags&ElemExplicit != 0 {
			b = AppendU32(b, e.Table)
		}
		b = append(b, e.Offset...)
	}
	if e.HasKind() {
		b = append(b, e.Kind)
	}
	return append(AppendCount(b, e.Count), e.Items...)
}

// AppendData appends a data segment.
func AppendData(b []byte, d Data) []byte {
	if d.Passive {
		b = append(b, 1)
	} else {
		b = append(append(b, 0), d.Offset...)
	}
	return append(AppendCount(b, len(d.Init)), d.Init...)
}
