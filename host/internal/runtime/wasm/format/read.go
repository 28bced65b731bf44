package format

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
	maxTypes      = 100_000
	MaxImports    = 10_000
	maxFunctions  = 200_000
	MaxTables     = 16
	maxGlobals    = 100_000
	maxExports    = 100_000
	maxSegments   = 100_000
	maxElements   = 2_000_000 // in all element segments together
	maxParams     = 1_000     // parameters, and again results, of one function
	maxBody       = 7_654_321 // bytes of one function, as in the JavaScript embedding
	maxLocals     = 50_000    // of one function, as in the JavaScript embedding
	maxAllLocals  = 4_000_000 // of all functions together
	maxNesting    = 10_000    // blocks within blocks
	maxBranches   = 30_000    // blocks and branches of one function, to whose square the compiler's time grows
	maxTargets    = 65_520    // of one br_table
	maxAllTargets = 131_072   // targets of all br_tables of one function, of which each takes the compiler 2.4 kB

	maxLoopLocals  = 1_000_000  // loops of a function times its local variables, which take up to 1.2 kB
	maxBlockLocals = 16_000_000 // blocks times local variables, which take up to 170 bytes
)

// Read checks the structure of a module and takes it apart. Failures are of type
// *Error. Where it succeeds, every index names something that exists.
func Read(b []byte, limits Limits) (*Module, error) {
	l := limits.withDefaults()
	if int64(len(b)) > l.Size {
		return nil, &Error{0, fmt.Sprintf("the module has %d bytes and the limit is %d; strip debug information or raise the limit", len(b), l.Size)}
	}
	sections, err := Split(b)
	if err != nil {
		return nil, err
	}
	r := &reader{limits: l, m: &Module{Sections: sections}}
	for _, s := range sections {
		if err := r.section(s); err != nil {
			return nil, err
		}
	}
	if err := r.whole(); err != nil {
		return nil, &Error{len(b), err.Error()}
	}
	return r.m, nil
}

// reader collects the sizes of the index spaces that later sections refer to.
type reader struct {
	limits   Limits
	m        *Module
	types    []uint32    // of all functions
	tables   []ValueType // of all tables
	globals  int         // all of them
	imported int         // globals
	memories int
	elements int
	locals   int
	declared map[uint32]bool // functions that code may refer to; nil until code does
}

// whole checks what only the end of the module shows.
func (r *reader) whole() error {
	if len(r.m.Codes) != len(r.m.Funcs) {
		return fmt.Errorf("%d functions are declared and %d have code", len(r.m.Funcs), len(r.m.Codes))
	}
	if r.m.Counted != nil && int64(*r.m.Counted) != int64(len(r.m.Data)) {
		return fmt.Errorf("%d data segments are declared and there are %d", *r.m.Counted, len(r.m.Data))
	}
	return nil
}

// section reads one section. What belongs to a later one is checked when that
// comes, as the order of sections is fixed.
func (r *reader) section(s Section) error {
	if s.ID == SectionCustom {
		return nil
	}
	c := s.Cursor()
	switch s.ID {
	case SectionType:
		r.readTypes(c)
	case SectionImport:
		r.readImports(c)
	case SectionFunction:
		r.readFunctions(c)
	case SectionTable:
		r.readTables(c)
	case SectionMemory:
		r.readMemories(c)
	case sectionTag:
		c.Fail(unsupported, "exception handling")
	default:
		r.laterSection(s.ID, c)
	}
	return c.Finish()
}

func (r *reader) laterSection(id byte, c *Cursor) {
	switch id {
	case SectionGlobal:
		r.readGlobals(c)
	case SectionExport:
		r.readExports(c)
	case SectionStart:
		r.readStart(c)
	case SectionElement:
		r.readElements(c)
	case SectionDataCount:
		n := c.U32()
		if n > maxSegments {
			c.Fail("data segments exceed the limit of %d", maxSegments)
		}
		r.m.Counted = &n
	case SectionCode:
		r.readCode(c)
	case SectionData:
		r.readData(c)
	}
}

// unsupported is the message for a proposal that the host does not run.
const unsupported = "the module uses %s, which this host does not run; build it for plain wasm32-wasip1 without this feature"

func (r *reader) readTypes(c *Cursor) {
	n := c.Count("types", maxTypes, 3)
	r.m.Types = make([]FuncType, 0, n)
	for range n {
		if form := c.U8(); form != 0x60 && c.err == nil {
			c.Fail(unsupported, "types of the garbage collection proposal")
			return
		}
		r.m.Types = append(r.m.Types, FuncType{Params: c.valueTypes("parameters"), Results: c.valueTypes("results")})
	}
}

func (c *Cursor) valueTypes(what string) []ValueType {
	n := c.Count(what, maxParams, 1)
	if n == 0 {
		return nil
	}
	ts := make([]ValueType, n)
	for i := range ts {
		ts[i] = c.valueType()
	}
	return ts
}

func (c *Cursor) valueType() ValueType {
	t := ValueType(c.U8())
	if t.String() == "unknown" && c.err == nil {
		c.Fail(unsupported, fmt.Sprintf("value type %#x", byte(t)))
	}
	return t
}

// exists fails unless an index space of size n has the index i.
func (c *Cursor) exists(what string, i uint32, n int) {
	if int64(i) >= int64(n) {
		c.Fail("%s %d does not exist", what, i)
	}
}

func (r *reader) readImports(c *Cursor) {
	for range c.Count("imports", MaxImports, 4) {
		i := c.Import()
		switch i.Kind {
		case Func:
			c.exists("type", i.Type, len(r.m.Types))
			r.types = append(r.types, i.Type)
		case Table:
			r.table(c, TableType{Elem: i.Value, Size: i.Size})
		case Memory:
			r.memory(c, i.Size)
		case Global:
			r.globals++
			r.imported++
		}
		r.m.Imports = append(r.m.Imports, i)
	}
}

// Import reads an import.
func (c *Cursor) Import() Import {
	i := Import{Module: c.Name(), Name: c.Name(), Kind: Kind(c.U8())}
	switch i.Kind {
	case Func:
		i.Type = c.U32()
	case Table:
		t := c.TableType()
		i.Value, i.Size = t.Elem, t.Size
	case Memory:
		i.Size = c.size("memory")
	case Global:
		i.Value, i.Mutable = c.valueType(), c.flag()
	default:
		c.Fail("import %s.%s has the unknown kind %d", i.Module, i.Name, i.Kind)
	}
	return i
}

// flag reads whether a global is mutable.
func (c *Cursor) flag() bool {
	b := c.U8()
	if b > 1 {
		c.Fail("global has the unknown flags %#x", b)
	}
	return b == 1
}

// readFunctions reads the types of the functions that the module defines.
func (r *reader) readFunctions(c *Cursor) {
	n := c.Count("functions", maxFunctions, 1)
	r.m.Funcs = make([]uint32, n)
	for i := range n {
		r.m.Funcs[i] = c.U32()
		c.exists("type", r.m.Funcs[i], len(r.m.Types))
	}
	r.types = append(r.types, r.m.Funcs...)
}

func (r *reader) readTables(c *Cursor) {
	for range c.Count("tables", MaxTables, 3) {
		t := c.TableType()
		r.table(c, t)
		r.m.Tables = append(r.m.Tables, t)
	}
}

// TableType reads the type of a table.
func (c *Cursor) TableType() TableType {
	elem := ValueType(c.U8())
	if !elem.IsRef() && c.err == nil {
		c.Fail(unsupported, fmt.Sprintf("table type %#x", byte(elem)))
	}
	return TableType{Elem: elem, Size: c.size("table")}
}

// table checks a table, whose elements are made at once when the module is
// instantiated.
func (r *reader) table(c *Cursor, t TableType) {
	if t.Size.Min > r.limits.Table {
		c.Fail("the module demands a table of %d elements and the limit is %d; build it smaller or raise the limit", t.Size.Min, r.limits.Table)
	}
	r.tables = append(r.tables, t.Elem)
}

func (r *reader) readMemories(c *Cursor) {
	for range c.Count("memories", 1, 2) {
		size := c.size("memory")
		r.memory(c, size)
		r.m.Memories = append(r.m.Memories, size)
	}
}

// memory checks the only memory, imported or defined.
func (r *reader) memory(c *Cursor, size Range) {
	if r.memories++; r.memories > 1 {
		c.Fail(unsupported, "more than one memory")
	}
	if size.Min > r.limits.Pages {
		c.Fail("the module demands %d MiB of memory at once and the limit is %d MiB; build it smaller or raise the memory limit",
			size.Min/16, r.limits.Pages/16)
	}
}

// size reads the size of a memory or table. Its flags also carry the proposals
// for shared and 64-bit memories and for other page sizes.
func (c *Cursor) size(what string) Range {
	flags := c.U8()
	switch {
	case c.err != nil:
	case flags&2 != 0:
		c.Fail(unsupported, "shared "+what+" (threads)")
	case flags&4 != 0:
		c.Fail(unsupported, "a 64-bit "+what)
	case flags > 1:
		c.Fail(unsupported, fmt.Sprintf("%s flags %#x", what, flags))
	}
	r := Range{Min: c.U32(), Bounded: flags&1 != 0}
	if r.Bounded {
		if r.Max = c.U32(); r.Max < r.Min {
			c.Fail("%s has minimum %d above its maximum %d", what, r.Min, r.Max)
		}
	}
	return r
}

func (r *reader) readGlobals(c *Cursor) {
	for range c.Count("globals", maxGlobals, 4) {
		g := GlobalDef{Type: c.valueType(), Mutable: c.flag()}
		g.Init = r.constant(c)
		r.m.Globals = append(r.m.Globals, g)
	}
	r.globals += len(r.m.Globals)
}

// readExports reads names and indexes. Two exports of one name are refused here,
// because callers find an export by its name.
func (r *reader) readExports(c *Cursor) {
	n := c.Count("exports", maxExports, 3)
	seen := make(map[string]bool, n)
	for range n {
		e := Export{Name: c.Name(), Kind: Kind(c.U8()), Index: c.U32()}
		if e.Kind > Global {
			c.Fail("export %s has the unknown kind %d", e.Name, e.Kind)
			return
		}
		if seen[e.Name] && c.err == nil {
			c.Fail("export %s appears twice", e.Name)
		}
		seen[e.Name] = true
		if c.err != nil {
			return
		}
		size := [...]int{Func: len(r.types), Table: len(r.tables), Memory: r.memories, Global: r.globals}[e.Kind]
		if int64(e.Index) >= int64(size) {
			c.Fail("export %s names a %s that does not exist", e.Name, kindWords[e.Kind])
		}
		r.m.Exports = append(r.m.Exports, e)
	}
}

var kindWords = [...]string{"function", "table", "memory", "global"}

func (r *reader) readStart(c *Cursor) {
	f := c.U32()
	c.exists("function", f, len(r.types))
	if c.err != nil {
		return
	}
	if t := r.m.Types[r.types[f]]; len(t.Params)+len(t.Results) > 0 {
		c.Fail("the start function is %s and must be () -> ()", t)
	}
	r.m.Start = &f
}
