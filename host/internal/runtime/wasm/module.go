package wasm

import (
	"bytes"
	"strings"
)

// PageSize is the unit in which linear memory grows, in bytes.
const PageSize = 64 << 10

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

// ValueType is the type of a parameter or result, by its number in the binary
// format.
type ValueType byte

// The number types that host functions use.
const (
	I32 ValueType = 0x7f
	I64 ValueType = 0x7e
)

// String names the type as the text format does.
func (t ValueType) String() string {
	if s, ok := valueTypeNames[t]; ok {
		return s
	}
	return "unknown"
}

var valueTypeNames = map[ValueType]string{
	I32: "i32", I64: "i64", 0x7d: "f32", 0x7c: "f64", 0x7b: "v128", 0x70: "funcref", 0x6f: "externref",
}

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
	return t.String() == u.String()
}

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

// Range is the size of a memory in pages, or of a table in elements. Max counts
// only if Bounded.
type Range struct {
	Min, Max uint32
	Bounded  bool
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

	sections []section
}

// Custom returns the payloads of the custom sections with this name.
func (m *Module) Custom(name string) [][]byte {
	var found [][]byte
	for _, s := range m.sections {
		if s.id == idCustom && s.name == name {
			found = append(found, s.body)
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

// Section numbers.
const (
	idCustom    = 0
	idType      = 1
	idImport    = 2
	idFunction  = 3
	idTable     = 4
	idMemory    = 5
	idGlobal    = 6
	idExport    = 7
	idStart     = 8
	idElement   = 9
	idCode      = 10
	idData      = 11
	idDataCount = 12
	idTag       = 13
)

// sectionOrder ranks the numbered sections in the order the format demands.
var sectionOrder = [...]int{
	idType: 1, idImport: 2, idFunction: 3, idTable: 4, idMemory: 5, idTag: 6, idGlobal: 7,
	idExport: 8, idStart: 9, idElement: 10, idDataCount: 11, idCode: 12, idData: 13,
}

// section is one section: for a custom one, body is what follows the name.
type section struct {
	id     byte
	name   string
	body   []byte
	offset int // of body in the module
}

var (
	coreHeader      = []byte("\x00asm\x01\x00\x00\x00")
	componentHeader = []byte("\x00asm\x0d\x00\x01\x00")
)

// split cuts a module into its sections and checks the header and the order.
func split(b []byte) ([]section, error) {
	if err := checkHeader(b); err != nil {
		return nil, err
	}
	c := &cursor{b: b, at: len(coreHeader)}
	var all []section
	rank := 0
	for !c.done() {
		s := c.section()
		if s.id != idCustom && c.err == nil {
			if r := sectionOrder[s.id]; r > rank {
				rank = r
			} else {
				c.fail("section %d is repeated or out of order", s.id)
			}
		}
		all = append(all, s)
	}
	return all, c.err
}

// section cuts the next section off, and the name of a custom one from its payload.
func (c *cursor) section() section {
	s := section{id: c.u8()}
	if int(s.id) >= len(sectionOrder) {
		c.fail("unknown section %d", s.id)
		return s
	}
	s.body = c.bytes(c.u32())
	s.offset = c.at - len(s.body)
	if s.id == idCustom && c.err == nil {
		in := cursor{b: s.body, base: s.offset}
		s.name = in.name()
		s.body, s.offset, c.err = s.body[in.at:], s.offset+in.at, in.err
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
