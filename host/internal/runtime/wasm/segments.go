package wasm

// Element segments pack their variant into three flag bits (core specification,
// element section).
const (
	elemNotActive = 1 << iota // passive or declared
	elemExplicit              // active: names its table; otherwise: declared
	elemExprs                 // entries are expressions, not function indexes
)

func (r *reader) readElements(c *cursor) {
	for range c.count("element segments", maxSegments, 3) {
		flags := c.u32()
		if flags > 7 {
			c.fail("element segment has the unknown flags %#x", flags)
		}
		r.element(c, flags)
	}
}

// element reads one element segment. Its entries are not kept.
func (r *reader) element(c *cursor, flags uint32) {
	if flags&elemNotActive == 0 {
		if flags&elemExplicit != 0 {
			c.u32()
		}
		c.constant()
	}
	if flags&(elemNotActive|elemExplicit) != 0 {
		c.u8() // element kind or reference type
	}
	n := c.count("elements", maxElements, 1)
	if r.elements += n; r.elements > maxElements {
		c.fail("elements exceed the limit of %d", maxElements)
	}
	for range n {
		if flags&elemExprs != 0 {
			c.constant()
		} else {
			c.u32()
		}
		if c.err != nil {
			return
		}
	}
}

// readData reads the data segments. Their bytes are not kept, and whether they lie
// within the memory is found out when the module is instantiated.
func (r *reader) readData(c *cursor) {
	for range c.count("data segments", maxSegments, 2) {
		switch flags := c.u32(); flags {
		case 0:
			c.constant()
		case 1:
		case 2:
			c.u32()
			c.constant()
		default:
			c.fail("data segment has the unknown flags %#x", flags)
		}
		c.bytes(c.u32())
	}
}

// constant passes over a constant expression.
func (c *cursor) constant() {
	for c.err == nil {
		switch op := c.u8(); op {
		case opEnd:
			return
		case opGlobalGet, opRefFunc, opRefNull, opI32Const, opI64Const, opF32Const, opF64Const:
			c.immediate(immediates[op])
		case opSIMD:
			if c.u32() != simdConst {
				c.fail("constant expression with an instruction that is not constant")
			}
			c.bytes(16)
		case 0x6a, 0x6b, 0x6c, 0x7c, 0x7d, 0x7e: // add, sub, mul of integers
		default:
			c.fail("constant expression with an instruction that is not constant (%#x)", op)
		}
	}
}
