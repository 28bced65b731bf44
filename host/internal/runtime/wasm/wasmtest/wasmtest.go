// Package wasmtest assembles small WebAssembly modules for tests, well-formed or
// not: what is given is encoded as it is.
package wasmtest

import "encoding/binary"

// Header begins every core module.
const Header = "\x00asm\x01\x00\x00\x00"

// Value types and opcodes that tests write code with.
const (
	I32 = 0x7f
	I64 = 0x7e

	End       = 0x0b
	Drop      = 0x1a
	Loop      = 0x03
	Br        = 0x0c
	Call      = 0x10
	I32Const  = 0x41
	I64Const  = 0x42
	BlockVoid = 0x40
)

// Assemble joins sections behind the header.
func Assemble(sections ...[]byte) []byte {
	return append([]byte(Header), Join(sections...)...)
}

// Section encodes a numbered section.
func Section(id byte, parts ...[]byte) []byte {
	body := Join(parts...)
	return Join([]byte{id}, U32(uint32(len(body))), body)
}

// Custom encodes a custom section.
func Custom(name string, payload []byte) []byte {
	return Section(0, String(name), payload)
}

// Vec encodes a vector: a count and its items.
func Vec(items ...[]byte) []byte {
	return Join(U32(uint32(len(items))), Join(items...))
}

// U32 encodes an unsigned LEB128.
func U32(n uint32) []byte { return binary.AppendUvarint(nil, uint64(n)) }

// S64 encodes a signed LEB128, as constants are.
func S64(n int64) []byte {
	var out []byte
	for {
		b := byte(n & 0x7f)
		n >>= 7
		if n == 0 && b&0x40 == 0 || n == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

// String encodes a name.
func String(s string) []byte { return append(U32(uint32(len(s))), s...) }

// Join concatenates.
func Join(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// Type encodes a function type.
func Type(params, results []byte) []byte {
	return Join([]byte{0x60}, U32(uint32(len(params))), params, U32(uint32(len(results))), results)
}

// Body encodes a function body without locals; code lacks its final end.
func Body(code ...byte) []byte {
	return Join(U32(uint32(len(code)+2)), []byte{0}, code, []byte{End})
}

// Import is a function that a Guest imports.
type Import struct {
	Module, Name    string
	Params, Results []byte
}

// ImportFunc makes an Import.
func ImportFunc(module, name string, params, results []byte) Import {
	return Import{Module: module, Name: name, Params: params, Results: results}
}

// Guest is a module with one function, exported as run, of the type () -> ().
type Guest struct {
	Imports []Import
	Code    []byte   // of run; imports are functions 0, 1, …
	Memory  []byte   // limits of the memory, exported as memory; nil for none
	Table   []byte   // limits of a table of functions; nil for none
	Data    [][]byte // data segments
	Start   bool     // run is the start function too
}

// Bytes encodes the guest.
func (g Guest) Bytes() []byte {
	types, imports := [][]byte{Type(nil, nil)}, [][]byte{}
	for i, im := range g.Imports {
		types = append(types, Type(im.Params, im.Results))
		imports = append(imports, Join(String(im.Module), String(im.Name), []byte{0}, U32(uint32(i+1))))
	}
	run := U32(uint32(len(g.Imports)))
	exports := [][]byte{Join(String("run"), []byte{0}, run)}
	sections := [][]byte{Section(1, Vec(types...)), Section(2, Vec(imports...)), Section(3, Vec([]byte{0}))}
	if g.Table != nil {
		sections = append(sections, Section(4, Vec(Join([]byte{0x70}, g.Table))))
	}
	if g.Memory != nil {
		sections = append(sections, Section(5, Vec(g.Memory)))
		exports = append(exports, Join(String("memory"), []byte{2, 0}))
	}
	sections = append(sections, Section(7, Vec(exports...)))
	if g.Start {
		sections = append(sections, Section(8, run))
	}
	sections = append(sections, Section(10, Vec(Body(g.Code...))))
	if g.Data != nil {
		sections = append(sections, Section(11, Vec(g.Data...)))
	}
	return Assemble(sections...)
}

// Spin is code that loops for ever.
var Spin = []byte{Loop, BlockVoid, Br, 0, End}
