package wasm

import "fmt"

// Limits bound what Read accepts. A zero field means its default.
type Limits struct {
	Size  int64  // bytes of the module; 64 MiB
	Pages uint32 // pages of linear memory that the module may demand at once; 65536 (4 GiB)
	Table uint32 // elements of a table; 1,000,000
}

func (l Limits) withDefaults() Limits {
	if l.Size == 0 {
		l.Size = 64 << 20
	}
	if l.Pages == 0 {
		l.Pages = 64 << 10
	}
	if l.Table == 0 {
		l.Table = 1_000_000
	}
	return l
}

// Counts a module may not exceed. They hold the memory of a compiler to a small
// multiple of the module's size, and lie well above what compilers emit.
const (
	maxTypes     = 100_000
	maxImports   = 10_000
	maxFunctions = 200_000
	maxTables    = 16
	maxGlobals   = 100_000
	maxExports   = 100_000
	maxSegments  = 100_000
	maxElements  = 2_000_000 // in all element segments together
	maxParams    = 1_000     // parameters, and again results, of one function
	maxBody      = 7_654_321 // bytes of one function, as in the JavaScript embedding
	maxLocals    = 50_000    // of one function, as in the JavaScript embedding
	maxAllLocals = 4_000_000 // of all functions together
	maxNesting   = 10_000    // blocks within blocks
	maxBranches  = 30_000    // blocks and branches of one function, to whose square the compiler's time grows
	maxTargets   = 65_520    // of one br_table
)

// Read checks the structure of a module and returns what it declares. Failures
// are of type *Error.
func Read(b []byte, limits Limits) (*Module, error) {
	l := limits.withDefaults()
	if int64(len(b)) > l.Size {
		return nil, &Error{0, fmt.Sprintf("the module has %d bytes and the limit is %d; strip debug information or raise the limit", len(b), l.Size)}
	}
	sections, err := split(b)
	if err != nil {
		return nil, err
	}
	r := &reader{limits: l, m: &Module{sections: sections}}
	for _, s := range sections {
		if err := r.section(s); err != nil {
			return nil, err
		}
	}
	if r.codes != len(r.funcs) {
		return nil, &Error{len(b), fmt.Sprintf("%d functions are declared and %d have code", len(r.funcs), r.codes)}
	}
	r.resolveExports()
	return r.m, nil
}

// reader collects the index spaces that later sections refer to.
type reader struct {
	limits   Limits
	m        *Module
	types    []FuncType
	imported []FuncType
	funcs    []uint32 // type indexes of defined functions
	exported []uint32 // by export
	memories int
	elements int
	locals   int
	codes    int
}

// section reads one section. What belongs to a later one is checked when that
// comes, as the order of sections is fixed.
func (r *reader) section(s section) error {
	if s.id == idCustom {
		return nil
	}
	c := &cursor{b: s.body, base: s.offset}
	switch s.id {
	case idType:
		r.readTypes(c)
	case idImport:
		r.readImports(c)
	case idFunction:
		r.readFunctions(c)
	case idTable:
		r.readTables(c)
	case idMemory:
		r.readMemories(c)
	case idTag:
		c.fail(unsupported, "exception handling")
	default:
		r.laterSection(s.id, c)
	}
	return c.finish()
}

func (r *reader) laterSection(id byte, c *cursor) {
	switch id {
	case idGlobal:
		r.readGlobals(c)
	case idExport:
		r.readExports(c)
	case idStart:
		c.u32()
		r.m.HasStart = true
	case idElement:
		r.readElements(c)
	case idDataCount:
		if c.u32() > maxSegments {
			c.fail("data segments exceed the limit of %d", maxSegments)
		}
	case idCode:
		r.readCode(c)
	case idData:
		r.readData(c)
	}
}

// unsupported is the message for a proposal that the host does not run.
const unsupported = "the module uses %s, which this host does not run; build it for plain wasm32-wasip1 without this feature"

func (r *reader) readTypes(c *cursor) {
	n := c.count("types", maxTypes, 3)
	r.types = make([]FuncType, 0, n)
	for range n {
		if form := c.u8(); form != 0x60 && c.err == nil {
			c.fail(unsupported, "types of the garbage collection proposal")
			return
		}
		r.types = append(r.types, FuncType{Params: c.valueTypes("parameters"), Results: c.valueTypes("results")})
	}
}

func (c *cursor) valueTypes(what string) []ValueType {
	n := c.count(what, maxParams, 1)
	if n == 0 {
		return nil
	}
	ts := make([]ValueType, n)
	for i := range ts {
		ts[i] = c.valueType()
	}
	return ts
}

func (c *cursor) valueType() ValueType {
	t := ValueType(c.u8())
	if _, ok := valueTypeNames[t]; !ok && c.err == nil {
		c.fail(unsupported, fmt.Sprintf("value type %#x", byte(t)))
	}
	return t
}

func (r *reader) readImports(c *cursor) {
	for range c.count("imports", maxImports, 4) {
		i := Import{Module: c.name(), Name: c.name(), Kind: Kind(c.u8())}
		switch i.Kind {
		case Func:
			i.Type = r.typeAt(c, c.u32())
			r.imported = append(r.imported, i.Type)
		case Table:
			r.table(c)
		case Memory:
			r.memory(c)
		case Global:
			c.valueType()
			c.u8()
		default:
			c.fail("import %s.%s has the unknown kind %d", i.Module, i.Name, i.Kind)
		}
		r.m.Imports = append(r.m.Imports, i)
	}
}

// typeAt returns a type by its index.
func (r *reader) typeAt(c *cursor, i uint32) FuncType {
	if int64(i) >= int64(len(r.types)) {
		c.fail("type %d does not exist", i)
		return FuncType{}
	}
	return r.types[i]
}

// readFunctions reads the types of the functions that the module defines.
func (r *reader) readFunctions(c *cursor) {
	n := c.count("functions", maxFunctions, 1)
	r.funcs = make([]uint32, 0, n)
	for range n {
		t := c.u32()
		r.typeAt(c, t)
		r.funcs = append(r.funcs, t)
	}
	r.m.Functions = n
}

func (r *reader) readTables(c *cursor) {
	for range c.count("tables", maxTables, 3) {
		r.m.Tables = append(r.m.Tables, r.table(c))
	}
}

// table reads the type of a table, whose elements are made at once when the module
// is instantiated.
func (r *reader) table(c *cursor) Range {
	if t := c.u8(); t != 0x70 && t != 0x6f && c.err == nil {
		c.fail(unsupported, fmt.Sprintf("table type %#x", t))
	}
	size := c.limits("table")
	if size.Min > r.limits.Table {
		c.fail("the module demands a table of %d elements and the limit is %d; build it smaller or raise the limit", size.Min, r.limits.Table)
	}
	return size
}

func (r *reader) readMemories(c *cursor) {
	for range c.count("memories", 1, 2) {
		size := r.memory(c)
		r.m.Memory = &size
	}
}

// memory reads the type of the only memory, imported or defined.
func (r *reader) memory(c *cursor) Range {
	if r.memories++; r.memories > 1 {
		c.fail(unsupported, "more than one memory")
	}
	size := c.limits("memory")
	if size.Min > r.limits.Pages {
		c.fail("the module demands %d MiB of memory at once and the limit is %d MiB; build it smaller or raise the memory limit",
			size.Min/16, r.limits.Pages/16)
	}
	return size
}

// limits reads a size range. Its flags also carry the proposals for shared and
// 64-bit memories and for other page sizes.
func (c *cursor) limits(what string) Range {
	flags := c.u8()
	switch {
	case c.err != nil:
	case flags&2 != 0:
		c.fail(unsupported, "shared "+what+" (threads)")
	case flags&4 != 0:
		c.fail(unsupported, "a 64-bit "+what)
	case flags > 1:
		c.fail(unsupported, fmt.Sprintf("%s flags %#x", what, flags))
	}
	r := Range{Min: c.u32(), Bounded: flags&1 != 0}
	if r.Bounded {
		if r.Max = c.u32(); r.Max < r.Min {
			c.fail("%s has minimum %d above its maximum %d", what, r.Min, r.Max)
		}
	}
	return r
}

func (r *reader) readGlobals(c *cursor) {
	for range c.count("globals", maxGlobals, 4) {
		c.valueType()
		c.u8()
		c.constant()
	}
}

// readExports reads names and indexes. Two exports of one name are refused here,
// because callers find an export by its name.
func (r *reader) readExports(c *cursor) {
	seen := map[string]bool{}
	for range c.count("exports", maxExports, 3) {
		e := Export{Name: c.name(), Kind: Kind(c.u8())}
		if e.Kind > Global {
			c.fail("export %s has the unknown kind %d", e.Name, e.Kind)
		}
		if seen[e.Name] && c.err == nil {
			c.fail("export %s appears twice", e.Name)
		}
		seen[e.Name] = true
		r.m.Exports = append(r.m.Exports, e)
		r.exported = append(r.exported, c.u32())
		if e.Kind == Func && int64(r.exported[len(r.exported)-1]) >= int64(len(r.imported)+len(r.funcs)) {
			c.fail("export %s names a function that does not exist", e.Name)
		}
	}
}

// resolveExports gives exported functions their signature. It waits for the end
// because it trusts the index spaces to be whole.
func (r *reader) resolveExports() {
	for i := range r.m.Exports {
		e, index := &r.m.Exports[i], int(r.exported[i])
		switch {
		case e.Kind != Func:
		case index < len(r.imported):
			e.Type = r.imported[index]
		default:
			e.Type = r.types[r.funcs[index-len(r.imported)]]
		}
	}
}
