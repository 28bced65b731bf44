package wasm

import "github.com/vespiary/vespiary/host/internal/runtime/wasm/format"

// PageSize is the unit in which linear memory grows, in bytes.
const PageSize = 64 << 10

// The words of the binary format.
type (
	// Error says where in a module the reader stopped and why.
	Error = format.Error
	// Limits bound what Read accepts. A zero field means its default.
	Limits = format.Limits
	// Kind is what an import or an export refers to.
	Kind = format.Kind
	// ValueType is the type of a parameter or result.
	ValueType = format.ValueType
	// FuncType is the signature of a function.
	FuncType = format.FuncType
	// Range is the size of a memory in pages, or of a table in elements.
	Range = format.Range
)

// The kinds of imports and exports.
const (
	Func   = format.Func
	Table  = format.Table
	Memory = format.Memory
	Global = format.Global
)

// The number types that host functions use.
const (
	I32 = format.I32
	I64 = format.I64
)

// Import is something a module asks its host for. Type is set for functions.
type Import struct {
	Module, Name string
	Kind         Kind
	Type         FuncType
}

// Export is something a module offers to its host. Type is set for functions.
type Export struct {
	Name string
	Kind Kind
	Type FuncType
}

// Module is what a module says about itself. It shares memory with the bytes
// that were read.
type Module struct {
	Imports   []Import
	Exports   []Export
	Memory    *Range // nil when the module defines none
	Tables    []Range
	Functions int // defined in the module, without imports
	HasStart  bool

	sections []format.Section
}

// Read checks the structure of a module and returns what it declares. Failures
// are of type *Error.
func Read(b []byte, limits Limits) (*Module, error) {
	f, err := format.Read(b, limits)
	if err != nil {
		return nil, err
	}
	m := &Module{Functions: len(f.Funcs), HasStart: f.Start != nil, sections: f.Sections}
	for _, i := range f.Imports {
		out := Import{Module: i.Module, Name: i.Name, Kind: i.Kind}
		if i.Kind == Func {
			out.Type = f.Types[i.Type]
		}
		m.Imports = append(m.Imports, out)
	}
	types := f.FuncTypes()
	for _, e := range f.Exports {
		out := Export{Name: e.Name, Kind: e.Kind}
		if e.Kind == Func {
			out.Type = f.Types[types[e.Index]]
		}
		m.Exports = append(m.Exports, out)
	}
	for _, t := range f.Tables {
		m.Tables = append(m.Tables, t.Size)
	}
	if len(f.Memories) > 0 {
		m.Memory = &f.Memories[0]
	}
	return m, nil
}

// Custom returns the payloads of the custom sections with this name.
func (m *Module) Custom(name string) [][]byte {
	var found [][]byte
	for _, s := range m.sections {
		if s.ID == format.SectionCustom && s.Name == name {
			found = append(found, s.Body)
		}
	}
	return found
}

// ExportedFunc returns the signature of an exported function.
func (m *Module) ExportedFunc(name string) (FuncType, bool) {
	for _, e := range m.Exports {
		if e.Name == name && e.Kind == Func {
			return e.Type, true
		}
	}
	return FuncType{}, false
}
