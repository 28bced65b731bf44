package prepare

import "github.com/vespiary/vespiary/host/internal/runtime/wasm/format"

// Instructions that only added code uses.
const (
	opMemorySize   format.Op = 0x3f
	opI64Const     format.Op = 0x42
	opI32LtU       format.Op = 0x49
	opI32GtU       format.Op = 0x4b
	opI32LeU       format.Op = 0x4d
	opI32Ne        format.Op = 0x47
	opI64LtS       format.Op = 0x53
	opI64GtU       format.Op = 0x56
	opI32Add       format.Op = 0x6a
	opI32Sub       format.Op = 0x6b
	opI32Or        format.Op = 0x72
	opI32ShrU      format.Op = 0x76
	opI64Add       format.Op = 0x7c
	opI64Sub       format.Op = 0x7d
	opI64Shl       format.Op = 0x86
	opI64ExtendI32 format.Op = 0xad // unsigned
)

const blockVoid = 0x40

// asm is code that is being written.
type asm []byte

// plain appends instructions that nothing follows.
func (a *asm) plain(ops ...format.Op) {
	for _, op := range ops {
		*a = format.AppendOp(*a, op)
	}
}

// op appends an instruction and the indexes that follow it.
func (a *asm) op(op format.Op, indexes ...uint32) {
	*a = format.AppendOp(*a, op)
	for _, i := range indexes {
		*a = format.AppendU32(*a, i)
	}
}

// block opens a block without parameters and results.
func (a *asm) block(op format.Op) { *a = append(format.AppendOp(*a, op), blockVoid) }

// blockOf opens a block of a type, whose index is a signed number.
func (a *asm) blockOf(op format.Op, typ uint32) {
	*a = appendS64(format.AppendOp(*a, op), int64(typ))
}

// get pushes local variables.
func (a *asm) get(locals ...uint32) {
	for _, l := range locals {
		a.op(format.OpLocalGet, l)
	}
}

// i32 pushes a number.
func (a *asm) i32(n uint32) {
	*a = appendS64(format.AppendOp(*a, format.OpI32Const), int64(int32(n))) //nolint:gosec // the same bits
}

// i64 pushes a number.
func (a *asm) i64(n int64) {
	*a = appendS64(format.AppendOp(*a, opI64Const), n)
}

// appendS64 appends a signed LEB128.
func appendS64(b []byte, n int64) []byte {
	for n < -1<<6 || n >= 1<<6 {
		b = append(b, byte(n&0x7f)|0x80)
		n >>= 7
	}
	return append(b, byte(n&0x7f))
}
