package format

import "fmt"

// NoType is a Scanner's X at a block without a type index.
const NoType = ^uint32(0)

// Scanner decodes the instructions of a function body or of an expression, one at
// a time, up to the end that closes it.
type Scanner struct {
	Op      Op
	At      int      // where the instruction begins
	X, Y    uint32   // indexes that follow it, in their order; a block's type index; an i32 constant
	Targets []uint32 // labels of br_table, the default one last; valid until Next

	c     *Cursor
	depth int // blocks that are open
}

// ScanBody begins to decode a function body. It returns the number of local
// variables that the body declares.
func ScanBody(body []byte) (*Scanner, int) {
	s := &Scanner{c: &Cursor{b: body}, depth: 1}
	return s, s.c.locals()
}

// ScanExpr begins to decode an expression.
func ScanExpr(expr []byte) *Scanner {
	return &Scanner{c: &Cursor{b: expr}, depth: 1}
}

// Next decodes the next instruction. It returns false behind the closing end and
// on failure.
func (s *Scanner) Next() bool {
	if s.depth == 0 || s.c.err != nil {
		return false
	}
	s.At = s.c.at
	s.Op, s.X, s.Y = Op(s.c.U8()), 0, 0
	shape := immediates[s.Op]
	switch {
	case shape == immUnknown:
		s.c.at = s.At
		s.c.Fail(unsupported, proposal(byte(s.Op))) //nolint:gosec // one byte was read
	case shape == immBlock:
		s.depth++
	case s.Op == OpEnd:
		s.depth--
	}
	s.immediate(shape)
	return s.c.err == nil
}

// End is where the instruction ends.
func (s *Scanner) End() int { return s.c.at }

// Depth is the number of blocks around what follows the instruction; 0 behind the
// closing end.
func (s *Scanner) Depth() int { return s.depth }

// Err returns the failure that ended the decoding.
func (s *Scanner) Err() error { return s.c.err }

// immediate decodes what follows an opcode.
func (s *Scanner) immediate(i imm) {
	c := s.c
	switch i {
	case immNone, immUnknown:
	case immIndex:
		s.X = c.U32()
	case immIndex2:
		s.X = c.U32()
		s.Y = c.U32()
	case immIndexByte:
		s.X = c.U32()
		s.Y = uint32(c.U8())
	case immBlock:
		s.X = c.blockType()
	case immI32:
		s.X = c.s32()
	case immI64:
		c.skipLEB(10)
	case immByte, immLane:
		s.X = uint32(c.U8())
	case imm4:
		c.Bytes(4)
	case imm8:
		c.Bytes(8)
	case imm16:
		c.Bytes(16)
	default:
		s.longImmediate(i)
	}
}

// longImmediate is immediate for the shapes that are not one or two numbers.
func (s *Scanner) longImmediate(i imm) {
	c := s.c
	switch i {
	case immLabels:
		s.Targets = s.Targets[:0]
		for range c.Count("branch targets", maxTargets, 1) + 1 {
			s.Targets = append(s.Targets, c.U32())
		}
	case immTypes:
		c.valueTypes("types")
	case imm2:
		s.X, s.Y = uint32(c.U8()), uint32(c.U8())
	case immMemory:
		c.memoryArgument()
	case immMemoryLane:
		c.memoryArgument()
		c.U8()
	case immMisc, immSIMD:
		s.prefixed(i)
	}
}

// prefixed decodes an instruction behind a prefix.
func (s *Scanner) prefixed(i imm) {
	n := s.c.U32()
	shape := immUnknown
	switch {
	case i == immSIMD:
		shape = vectorImmediate(n)
	case int64(n) < int64(len(miscImmediates)):
		shape = miscImmediates[n]
	}
	switch {
	case shape != immUnknown:
		s.Op = s.Op<<16 | Op(n)
		s.immediate(shape)
	case i == immSIMD:
		s.c.Fail(unsupported, "relaxed vector instructions")
	default:
		s.c.Fail(unsupported, fmt.Sprintf("the unknown instruction 0xfc %d", n))
	}
}

// memoryArgument is an alignment, in which bit 6 announces a memory index, and an offset.
func (c *Cursor) memoryArgument() {
	if c.U32()&0x40 != 0 {
		c.Fail(unsupported, "more than one memory")
	}
	c.U32()
}

// blockType returns the type index, or NoType for a value type or none.
func (c *Cursor) blockType() uint32 {
	from := c.at
	b := c.U8()
	if b == 0x40 || c.err != nil {
		return NoType
	}
	if b&0xc0 == 0x40 { // a negative number of one byte
		c.at--
		c.valueType()
		return NoType
	}
	c.at = from
	i := c.U32()
	if c.err == nil && c.b[c.at-1]&0x40 != 0 && c.at-from < 5 {
		c.at = from
		c.Fail("block has an unknown type")
	}
	return i
}

// locals passes over the declarations of local variables, which are run-length
// encoded, so that six bytes can ask for four billion.
func (c *Cursor) locals() int {
	sum := int64(0)
	for range c.Count("groups of locals", maxLocals, 2) {
		sum += int64(c.U32())
		c.valueType()
	}
	if sum > maxLocals {
		c.Fail("%d local variables exceed the limit of %d; split the function", sum, maxLocals)
		return 0
	}
	return int(sum)
}
