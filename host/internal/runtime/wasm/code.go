package wasm

import "fmt"

// Opcodes that the reader treats by name.
const (
	opElse      = 0x05
	opEnd       = 0x0b
	opBr        = 0x0c
	opBrIf      = 0x0d
	opGlobalGet = 0x23
	opI32Const  = 0x41
	opI64Const  = 0x42
	opF32Const  = 0x43
	opF64Const  = 0x44
	opRefNull   = 0xd0
	opRefFunc   = 0xd2
	opMisc      = 0xfc // prefix: saturating conversions, bulk memory, tables
	opSIMD      = 0xfd // prefix: vectors

	simdConst = 12
)

// imm is the shape of what follows an opcode.
type imm byte

const (
	immNone    imm = iota
	immUnknown     // not an instruction of the 2.0 specification
	immIndex
	immIndex2 // two indexes
	immBlock  // block type; opens a block
	immLabels // br_table
	immTypes  // select with types
	immMemory // alignment and offset
	immLane
	immMemoryLane
	immByte
	immI32
	immI64
	imm4  // 4 bytes
	imm8  // 8 bytes
	imm16 // 16 bytes
	immEnd
	immMisc
	immSIMD
)

// immediates maps each opcode to what follows it.
var immediates = opcodeTable()

func opcodeTable() (t [256]imm) {
	fill := func(from, to int, i imm) {
		for op := from; op <= to; op++ {
			t[op] = i
		}
	}
	fill(0x00, 0xff, immUnknown)
	fill(0x00, 0x01, immNone)     // unreachable, nop
	fill(0x02, 0x04, immBlock)    // block, loop, if
	fill(opElse, opElse, immNone) //
	fill(opEnd, opEnd, immEnd)
	fill(opBr, opBrIf, immIndex)
	fill(0x0e, 0x0e, immLabels) // br_table
	fill(0x0f, 0x0f, immNone)   // return
	fill(0x10, 0x10, immIndex)  // call
	fill(0x11, 0x11, immIndex2) // call_indirect
	fill(0x1a, 0x1b, immNone)   // drop, select
	fill(0x1c, 0x1c, immTypes)
	fill(0x20, 0x26, immIndex)  // variables, table.get, table.set
	fill(0x28, 0x3e, immMemory) // loads and stores
	fill(0x3f, 0x40, immByte)   // memory.size, memory.grow
	fill(opI32Const, opI32Const, immI32)
	fill(opI64Const, opI64Const, immI64)
	fill(opF32Const, opF32Const, imm4)
	fill(opF64Const, opF64Const, imm8)
	fill(0x45, 0xc4, immNone) // numeric
	fill(opRefNull, opRefNull, immByte)
	fill(0xd1, 0xd1, immNone) // ref.is_null
	fill(opRefFunc, opRefFunc, immIndex)
	fill(opMisc, opMisc, immMisc)
	fill(opSIMD, opSIMD, immSIMD)
	return t
}

// miscImmediates follow the 0xfc prefix.
var miscImmediates = [...]imm{
	immNone, immNone, immNone, immNone, immNone, immNone, immNone, immNone, // saturating truncations
	immIndex2, immIndex, immIndex2, immIndex, // memory.init, data.drop, memory.copy, memory.fill
	immIndex2, immIndex, immIndex2, immIndex, immIndex, immIndex, // table.init, elem.drop, table.copy, grow, size, fill
}

// proposal names what an opcode outside of the 2.0 specification belongs to.
func proposal(op byte) string {
	switch {
	case op >= 0x06 && op <= 0x0a, op == 0x18, op == 0x19, op == 0x1f:
		return "exception handling"
	case op == 0x12, op == 0x13:
		return "tail calls"
	case op == 0x14, op == 0x15, op >= 0xd3 && op <= 0xd6:
		return "typed function references"
	case op == 0xfb:
		return "garbage collection"
	case op == 0xfe:
		return "atomic instructions (threads)"
	}
	return fmt.Sprintf("the unknown instruction %#x", op)
}

// readCode walks every body, because a compiler allocates by counts that stand in
// the middle of code.
func (r *reader) readCode(c *cursor) {
	r.codes = c.count("function bodies", maxFunctions, 2)
	for range r.codes {
		body := c.bytes(c.u32())
		if len(body) > maxBody {
			c.fail("a function of %d bytes exceeds the limit of %d; split it", len(body), maxBody)
		}
		if c.err != nil {
			return
		}
		in := &cursor{b: body, base: c.base + c.at - len(body)}
		r.readLocals(in)
		in.instructions()
		if c.err = in.finish(); c.err != nil {
			return
		}
	}
}

// readLocals sums the declared locals: they are run-length encoded, so that six
// bytes can ask for four billion.
func (r *reader) readLocals(c *cursor) {
	sum := int64(0)
	for range c.count("groups of locals", maxLocals, 2) {
		sum += int64(c.u32())
		c.valueType()
	}
	if sum > maxLocals {
		c.fail("%d local variables exceed the limit of %d; split the function", sum, maxLocals)
		return
	}
	if r.locals += int(sum); r.locals > maxAllLocals {
		c.fail("local variables of all functions exceed the limit of %d", maxAllLocals)
	}
}

// instructions passes over an expression up to the end that closes it.
func (c *cursor) instructions() {
	for depth, branches := 1, 0; depth > 0 && c.err == nil; {
		op := c.u8()
		i := immediates[op]
		switch {
		case i == immUnknown:
			c.at--
			c.fail(unsupported, proposal(op))
		case i == immEnd:
			depth--
		case i == immBlock:
			depth++
			branches++
		case op == opBr || op == opBrIf:
			branches++
		}
		if depth > maxNesting || branches > maxBranches {
			c.fail("a function with %d branches, nested %d deep, exceeds the limits of %d and %d; split it", branches, depth, maxBranches, maxNesting)
		}
		c.immediate(i)
	}
}

// immediate passes over what follows an opcode.
func (c *cursor) immediate(i imm) {
	switch i {
	case immNone, immEnd, immUnknown:
	case immIndex:
		c.u32()
	case immIndex2:
		c.u32()
		c.u32()
	case immBlock, immI32:
		c.skipLEB(5)
	case immI64:
		c.skipLEB(10)
	case immByte, immLane:
		c.u8()
	case imm4:
		c.bytes(4)
	case imm8:
		c.bytes(8)
	case imm16:
		c.bytes(16)
	default:
		c.longImmediate(i)
	}
}

// longImmediate is immediate for the shapes that are not one or two numbers.
func (c *cursor) longImmediate(i imm) {
	switch i {
	case immLabels:
		for range c.count("branch targets", maxTargets, 1) {
			c.u32()
		}
		c.u32()
	case immTypes:
		c.valueTypes("types")
	case immMemory:
		c.memoryArgument()
	case immMemoryLane:
		c.memoryArgument()
		c.u8()
	case immMisc:
		if op := c.u32(); int64(op) < int64(len(miscImmediates)) {
			c.immediate(miscImmediates[op])
		} else {
			c.fail(unsupported, fmt.Sprintf("the unknown instruction 0xfc %d", op))
		}
	case immSIMD:
		c.immediate(c.simd(c.u32()))
	}
}

// memoryArgument is an alignment, in which bit 6 announces a memory index, and an offset.
func (c *cursor) memoryArgument() {
	if c.u32()&0x40 != 0 {
		c.fail(unsupported, "more than one memory")
	}
	c.u32()
}

// simd returns what follows the vector instruction op.
func (c *cursor) simd(op uint32) imm {
	switch {
	case op <= 11, op == 92, op == 93:
		return immMemory
	case op == simdConst, op == 13:
		return imm16
	case op >= 21 && op <= 34:
		return immLane
	case op >= 84 && op <= 91:
		return immMemoryLane
	case op > 0xff:
		c.fail(unsupported, "relaxed vector instructions")
	}
	return immNone
}
