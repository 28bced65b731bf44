package format

import (
	"slices"
	"strings"
)

// Kind is what an import or an export refers to.
type Kind byte

// The kinds, by their number in the binary format.
const (
	Func   Kind = 0
	Table  Kind = 1
	Memory Kind = 2
	Global Kind = 3
)

// String names the kind as the text format does.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

var kindNames = [...]string{"func", "table", "memory", "global"}

// ValueType is the type of a value, by its number in the binary format.
type ValueType byte

// The value types.
const (
	I32       ValueType = 0x7f
	I64       ValueType = 0x7e
	F32       ValueType = 0x7d
	F64       ValueType = 0x7c
	V128      ValueType = 0x7b
	FuncRef   ValueType = 0x70
	ExternRef ValueType = 0x6f
)

// String names the type as the text format does.
func (t ValueType) String() string {
	if s, ok := valueTypeNames[t]; ok {
		return s
	}
	return "unknown"
}

var valueTypeNames = map[ValueType]string{
	I32: "i32", I64: "i64", F32: "f32", F64: "f64", V128: "v128", FuncRef: "funcref", ExternRef: "externref",
}

// IsRef reports whether values of the type refer to functions or host objects.
func (t ValueType) IsRef() bool { return t == FuncRef || t == ExternRef }

// FuncType is the signature of a function.
type FuncType struct {
	Params, Results []ValueType
}

// String is "(i64, i32) -> i64".
func (t FuncType) String() string {
	return "(" + joinTypes(t.Params) + ") -> " + resultString(t.Results)
}

func resultString(ts []ValueType) string {
	if len(ts) == 1 {
		return ts[0].String()
	}
	return "(" + joinTypes(ts) + ")"
}

func joinTypes(ts []ValueType) string {
	names := make([]string, len(ts))
	for i, t := range ts {
		names[i] = t.String()
	}
	return strings.Join(names, ", ")
}

// Equal reports whether t and u are the same signature.
func (t FuncType) Equal(u FuncType) bool {
	return slices.Equal(t.Params, u.Params) && slices.Equal(t.Results, u.Results)
}

// Range is the size of a memory in pages, or of a table in elements. Max counts
// only if Bounded.
type Range struct {
	Min, Max uint32
	Bounded  bool
}

// Clamp lowers the maximum to limit, or to the minimum if that is higher.
func (r Range) Clamp(limit uint32) Range {
	high := max(limit, r.Min)
	if r.Bounded {
		high = min(r.Max, high)
	}
	return Range{Min: r.Min, Max: high, Bounded: true}
}

// Module is a module whose structure was read. It shares memory with the bytes
// it was read from. Expressions include their final end.
type Module struct {
	Types    []FuncType
	Imports  []Import
	Funcs    []uint32 // types of the functions that the module defines
	Tables   []TableType
	Memories []Range // at most one, imported ones not counted
	Globals  []GlobalDef
	Exports  []Export
	Start    *uint32 // function
	Elements []Element
	Counted  *uint32  // data segments, where a section declares their number
	Codes    [][]byte // bodies of the functions that the module defines
	Data     []Data
	Sections []Section
}

// Import is something a module asks its host for.
type Import struct {
	Module, Name string
	Kind         Kind
	Type         uint32    // of a function
	Value        ValueType // of a global, or of the elements of a table
	Mutable      bool      // of a global
	Size         Range     // of a table or memory
}

// Export is something a module offers to its host.
type Export struct {
	Name  string
	Kind  Kind
	Index uint32
}

// TableType is the type of a table.
type TableType struct {
	Elem ValueType
	Size Range
}

// GlobalDef is a global that the module defines.
type GlobalDef struct {
	Type    ValueType
	Mutable bool
	Init    []byte
}

// Element is an element segment. Flags are three bits of the binary format:
// ElemPassive, ElemExplicit and ElemExprs.
type Element struct {
	Flags  uint32
	Table  uint32
	Offset []byte // expression; of an active segment
	Kind   byte   // where the flags announce one
	Count  int
	Items  []byte // indexes of functions, or expressions
}

// Data is a data segment.
type Data struct {
	Passive bool
	Offset  []byte // expression; of an active segment
	Init    []byte
}

// imported counts the imports of a kind.
func (m *Module) imported(k Kind) int {
	n := 0
	for i := range m.Imports {
		if m.Imports[i].Kind == k {
			n++
		}
	}
	return n
}

// ImportedFuncs is the number of functions that the module imports, which stand
// before its own in the index space.
func (m *Module) ImportedFuncs() int { return m.imported(Func) }

// ImportedGlobals is the number of globals that the module imports.
func (m *Module) ImportedGlobals() int { return m.imported(Global) }

// FuncTypes returns the type index of every function, imported ones first.
func (m *Module) FuncTypes() []uint32 {
	all := make([]uint32, 0, len(m.Imports)+len(m.Funcs))
	for i := range m.Imports {
		if m.Imports[i].Kind == Func {
			all = append(all, m.Imports[i].Type)
		}
	}
	return append(all, m.Funcs...)
}

// TableTypes returns the element type of every table, imported ones first.
func (m *Module) TableTypes() []ValueType {
	var all []ValueType
	for i := range m.Imports {
		if m.Imports[i].Kind == Table {
			all = append(all, m.Imports[i].Value)
		}
	}
	for _, t := range m.Tables {
		all = append(all, t.Elem)
	}
	return all
}
