package prepare

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/host/internal/runtime/wasm/format"
)

// Version changes whenever the code that is made of a module changes; whoever
// keeps state of an instance pins it.
const Version = 1

// Names that the prepared module uses. A module that imports from MeterModule or
// exports a name with the common prefix of the others itself is refused.
const (
	MeterModule = "vespiary:meter"
	MeterYield  = "yield" // imported function () -> (), called when the fuel is below zero

	ExportFuel   = reserved + "fuel"  // mutable i64 global, 0 at first: fuel left
	ExportStart  = reserved + "start" // the start function, where preparation for images removed it
	ExportGlobal = reserved + "g"     // prefix of the exported mutable globals, before their index

	reserved = "__vespiary_"
)

// Options choose what is made of a module.
type Options struct {
	Image bool   // prepare for images: export mutable globals, take out active data and the start function
	Table uint32 // most elements of a table; 0: 1,000,000
}

const maxTable = 1_000_000

// Segment is bytes that belong into the instance's memory before it runs. Data
// aliases the module given to Prepare.
type Segment struct {
	Offset uint32
	Data   []byte
}

// Result is a prepared module.
type Result struct {
	Code    []byte    // what is to be compiled; metered always
	Globals []string  // exports of all mutable globals that the module defines, without the fuel; Image only
	Data    []Segment // to be written in this order before Start, each checked against the memory's size; Image only
	Start   bool      // ExportStart must be called after Data is written; Image only

	// Blocked says why memory and globals are not the whole state, in plain sentences
	// for an operator, sorted and distinct; Image only. If there is a reason, Code
	// keeps its data and its start section, and Globals, Data and Start are empty.
	Blocked []string
}

// Prepare makes a module ready to be compiled. Modules that are malformed or use
// what the host does not run are errors. It never panics, and its memory is bounded
// by a small multiple of the module's size. It may be called concurrently.
func Prepare(module []byte, o Options) (*Result, error) {
	if o.Table == 0 {
		o.Table = maxTable
	}
	m, err := format.Read(module, format.Limits{Table: o.Table})
	if err != nil {
		return nil, err
	}
	if err := checkNames(m); err != nil {
		return nil, err
	}
	p := newPlan(m, o)
	codes, err := p.meterAll()
	if err != nil {
		return nil, err
	}
	r := &Result{}
	if o.Image {
		data, ok := activeData(m)
		r.Blocked = p.blocked(!ok)
		if p.image = len(r.Blocked) == 0; p.image {
			r.Globals, r.Data, r.Start = p.mutableGlobals(), data, m.Start != nil
		}
	}
	r.Code = p.encode(codes)
	return r, nil
}

// checkNames refuses a module that already uses the names of a prepared one.
func checkNames(m *format.Module) error {
	for _, i := range m.Imports {
		if i.Module == MeterModule {
			return fmt.Errorf("prepare: the module imports %s from %s, which is kept for the host; remove the import", i.Name, i.Module)
		}
	}
	for _, e := range m.Exports {
		if strings.HasPrefix(e.Name, reserved) {
			return fmt.Errorf("prepare: the module exports %s, and names that begin with %s are kept for the host; rename the export", e.Name, reserved)
		}
	}
	return nil
}

// plan is what is known of a module while it is rewritten. The yield function
// stands behind the imported functions, so that the module's own move up by one;
// helpers stand behind those, and the fuel behind all globals.
type plan struct {
	m *format.Module
	o Options

	imported int                // functions
	funcs    []uint32           // types of all functions
	tables   []format.ValueType // types of all tables
	types    []format.FuncType  // the module's, and those added
	leaf     []uint8            // per function, the instructions of one that has no probe; 0 for others
	fuel     uint32             // index of the global
	probe    []byte             // code
	helpers  map[helper]uint32  // indexes of the functions that stand for instructions
	added    []addedFunc        // helpers in their order
	uses     map[format.Op]bool // instructions that decide about images
	image    bool
}

func newPlan(m *format.Module, o Options) *plan {
	p := &plan{
		m: m, o: o,
		imported: m.ImportedFuncs(), funcs: m.FuncTypes(), tables: m.TableTypes(),
		types:   slices.Clip(m.Types),
		helpers: map[helper]uint32{},
		uses:    map[format.Op]bool{},
	}
	p.fuel = count32(m.ImportedGlobals() + len(m.Globals))
	p.probe = p.makeProbe()
	p.leaf = p.leaves()
	return p
}

// funcIndex is the index in the prepared module of the function i.
func (p *plan) funcIndex(i uint32) uint32 {
	if int(i) < p.imported {
		return i
	}
	return i + 1
}

// yieldIndex is the index of the imported yield function.
func (p *plan) yieldIndex() uint32 { return count32(p.imported) }

// typeIndex returns the index of a function type, which is added if need be. Only
// what is added here is looked for: a module may have very many types.
func (p *plan) typeIndex(t format.FuncType) uint32 {
	first := len(p.m.Types)
	i := slices.IndexFunc(p.types[first:], t.Equal)
	if i < 0 {
		i = len(p.types) - first
		p.types = append(p.types, t)
	}
	return count32(first + i)
}

// count32 converts a count, which the reader bounded far below 32 bits.
func count32(n int) uint32 {
	return uint32(n) //nolint:gosec // bounded by the reader
}
