package format

// The flags of an element segment (core specification, element section).
const (
	ElemPassive  = 1 << iota // passive or declared
	ElemExplicit             // active: names its table; otherwise: declared
	ElemExprs                // items are expressions, not function indexes
)

func (r *reader) readElements(c *Cursor) {
	for range c.Count("element segments", maxSegments, 3) {
		e := Element{Flags: c.U32()}
		if e.Flags > 7 {
			c.Fail("element segment has the unknown flags %#x", e.Flags)
		}
		r.element(c, &e)
		r.m.Elements = append(r.m.Elements, e)
	}
}

func (r *reader) element(c *Cursor, e *Element) {
	if e.Flags&ElemPassive == 0 {
		if e.Flags&ElemExplicit != 0 {
			e.Table = c.U32()
		}
		c.exists("table", e.Table, len(r.tables))
		e.Offset = r.constant(c)
	}
	if e.HasKind() {
		e.Kind = c.U8()
	}
	e.Count = c.Count("elements", maxElements, 1)
	if r.elements += e.Count; r.elements > maxElements {
		c.Fail("elements exceed the limit of %d", maxElements)
	}
	from := c.at
	for range e.Count {
		if e.Flags&ElemExprs != 0 {
			r.constant(c)
		} else {
			c.exists("function", c.U32(), len(r.types))
		}
		if c.err != nil {
			return
		}
	}
	e.Items = c.b[from:c.at:c.at]
}

// HasKind reports whether the segment says what its items are.
func (e *Element) HasKind() bool { return e.Flags&(ElemPassive|ElemExplicit) != 0 }

// Type is the type of the segment's items.
func (e *Element) Type() ValueType {
	if e.Flags&ElemExprs != 0 && e.HasKind() {
		return ValueType(e.Kind)
	}
	return FuncRef
}

// readData reads the data segments. Whether they lie within the memory is found
// out when the module is instantiated.
func (r *reader) readData(c *Cursor) {
	n := c.Count("data segments", maxSegments, 2)
	r.m.Data = make([]Data, 0, n)
	for range n {
		var d Data
		switch flags := c.U32(); flags {
		case 0:
			d.Offset = r.constant(c)
		case 1:
			d.Passive = true
		case 2:
			c.exists("memory", c.U32(), r.memories)
			d.Offset = r.constant(c)
		default:
			c.Fail("data segment has the unknown flags %#x", flags)
		}
		if !d.Passive {
			c.exists("memory", 0, r.memories)
		}
		d.Init = c.Bytes(c.U32())
		r.m.Data = append(r.m.Data, d)
		if c.err != nil {
			return
		}
	}
}

// constant passes over a constant expression and returns it.
func (r *reader) constant(c *Cursor) []byte {
	from := c.at
	s := Scanner{c: c, depth: 1}
	for s.Next() {
		switch s.Op {
		case OpEnd, opRefNull, OpI32Const, opI64Const, opF32Const, opF64Const, opVectorConst:
		case 0x6a, 0x6b, 0x6c, 0x7c, 0x7d, 0x7e: // add, sub, mul of integers
		case OpGlobalGet:
			c.exists("global", s.X, r.imported+len(r.m.Globals))
		case OpRefFunc:
			c.exists("function", s.X, len(r.types))
		default:
			c.Fail("constant expression with an instruction that is not constant (%#x)", uint32(s.Op))
		}
	}
	return c.b[from:c.at:c.at]
}
