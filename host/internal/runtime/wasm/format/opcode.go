package format

import "fmt"

// Op is an instruction: its opcode, or prefix<<16 and the number behind the
// prefix.
type Op uint32

// The instructions that are treated by name.
const (
	OpUnreachable  Op = 0x00
	OpBlock        Op = 0x02
	OpLoop         Op = 0x03
	OpIf           Op = 0x04
	OpElse         Op = 0x05
	OpEnd          Op = 0x0b
	OpBr           Op = 0x0c
	OpBrIf         Op = 0x0d
	OpBrTable      Op = 0x0e
	OpReturn       Op = 0x0f
	OpCall         Op = 0x10
	OpCallIndirect Op = 0x11
	OpLocalGet     Op = 0x20
	OpLocalSet     Op = 0x21
	OpLocalTee     Op = 0x22
	OpGlobalGet    Op = 0x23
	OpGlobalSet    Op = 0x24
	OpTableGet     Op = 0x25
	OpTableSet     Op = 0x26
	OpMemoryGrow   Op = 0x40
	OpI32Const     Op = 0x41
	opI64Const     Op = 0x42
	opF32Const     Op = 0x43
	opF64Const     Op = 0x44
	opRefNull      Op = 0xd0
	OpRefFunc      Op = 0xd2

	OpMemoryInit = prefixMisc<<16 | 8
	OpDataDrop   = prefixMisc<<16 | 9
	OpMemoryCopy = prefixMisc<<16 | 10
	OpMemoryFill = prefixMisc<<16 | 11
	OpTableInit  = prefixMisc<<16 | 12
	OpElemDrop   = prefixMisc<<16 | 13
	OpTableCopy  = prefixMisc<<16 | 14
	OpTableGrow  = prefixMisc<<16 | 15
	OpTableSize  = prefixMisc<<16 | 16
	OpTableFill  = prefixMisc<<16 | 17

	opVectorConst = prefixSIMD<<16 | 12
)

const (
	prefixMisc Op = 0xfc // saturating conversions, bulk memory, tables
	prefixSIMD Op = 0xfd // vectors
)

// AppendOp appends the instruction without what follows it.
func AppendOp(b []byte, op Op) []byte {
	if op <= 0xff {
		return append(b, byte(op))
	}
	return AppendU32(append(b, byte(op>>16&0xff)), uint32(op&0xffff))
}

// imm is the shape of what follows an opcode.
type imm byte

const (
	immNone    imm = iota
	immUnknown     // not an instruction of the 2.0 specification
	immIndex
	immIndex2 // two indexes
	immIndexByte
	imm2      // 2 bytes
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
	immMisc
	immSIMD
)

// immediates maps each opcode to what follows it.
var immediates = opcodeTable()

func opcodeTable() (t [256]imm) {
	fill := func(from, to Op, i imm) {
		for op := from; op <= to; op++ {
			t[op] = i
		}
	}
	fill(0x00, 0xff, immUnknown)
	fill(0x00, 0x01, immNone) // unreachable, nop
	fill(OpBlock, OpIf, immBlock)
	fill(OpElse, OpElse, immNone)
	fill(OpEnd, OpEnd, immNone)
	fill(OpBr, OpBrIf, immIndex)
	fill(OpBrTable, OpBrTable, immLabels)
	fill(OpReturn, OpReturn, immNone)
	fill(OpCall, OpCall, immIndex)
	fill(OpCallIndirect, OpCallIndirect, immIndex2)
	fill(0x1a, 0x1b, immNone) // drop, select
	fill(0x1c, 0x1c, immTypes)
	fill(OpLocalGet, OpTableSet, immIndex)
	fill(0x28, 0x3e, immMemory) // loads and stores
	fill(0x3f, 0x40, immByte)   // memory.size, memory.grow
	fill(OpI32Const, OpI32Const, immI32)
	fill(opI64Const, opI64Const, immI64)
	fill(opF32Const, opF32Const, imm4)
	fill(opF64Const, opF64Const, imm8)
	fill(0x45, 0xc4, immNone) // numeric
	fill(opRefNull, opRefNull, immByte)
	fill(0xd1, 0xd1, immNone) // ref.is_null
	fill(OpRefFunc, OpRefFunc, immIndex)
	fill(prefixMisc, prefixMisc, immMisc)
	fill(prefixSIMD, prefixSIMD, immSIMD)
	return t
}

// miscImmediates follow the 0xfc prefix.
var miscImmediates = [...]imm{
	immNone, immNone, immNone, immNone, immNone, immNone, immNone, immNone, // saturating truncations
	immIndexByte, immIndex, imm2, immByte, // memory.init, data.drop, memory.copy, memory.fill
	immIndex2, immIndex, immIndex2, immIndex, immIndex, immIndex, // table.init, elem.drop, table.copy, grow, size, fill
}

// vectorImmediate returns what follows the vector instruction n.
func vectorImmediate(n uint32) imm {
	switch {
	case n <= 11, n == 92, n == 93:
		return immMemory
	case n == 12, n == 13:
		return imm16
	case n >= 21 && n <= 34:
		return immLane
	case n >= 84 && n <= 91:
		return immMemoryLane
	case n > 0xff:
		return immUnknown
	}
	return immNone
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
