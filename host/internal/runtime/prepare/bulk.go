package prepare

import "github.com/vespiary/vespiary/host/internal/runtime/wasm/format"

const (
	kib      = 10      // log2 of the bytes that one unit of fuel moves
	elements = kib - 3 // the same of table elements, which have 8 bytes
	chunk    = 64 << 10
	pageBits = 16
)

// helper names a function that stands for an instruction, with the indexes that
// follow it.
type helper struct {
	op   format.Op
	x, y uint32
}

// addedFunc is a function that preparation adds.
type addedFunc struct {
	name string
	typ  uint32
	body []byte
}

// helperFor returns the index of the function to call in place of an instruction,
// and false where the instruction's range is short for certain. There are few
// helpers: those for segments belong to long ones, and a module has few tables.
func (p *plan) helperFor(op format.Op, x, y uint32) (uint32, bool) {
	switch {
	case op == format.OpMemoryFill, op == format.OpMemoryCopy:
		x, y = 0, 0
	case op == format.OpMemoryInit && len(p.m.Data[x].Init) < 1<<kib,
		op == format.OpTableInit && p.m.Elements[x].Count < 1<<elements:
		return 0, false
	}
	h := helper{op, x, y}
	i, ok := p.helpers[h]
	if !ok {
		i = count32(len(p.funcs) + 1 + len(p.added))
		p.helpers[h] = i
		p.added = append(p.added, p.makeHelper(h))
	}
	return i, true
}

func (p *plan) makeHelper(h helper) addedFunc {
	three := format.FuncType{Params: []format.ValueType{format.I32, format.I32, format.I32}}
	switch h.op {
	case format.OpMemoryFill:
		return addedFunc{"memory.fill", p.typeIndex(three), p.fillBody()}
	case format.OpMemoryCopy:
		return addedFunc{"memory.copy", p.typeIndex(three), p.copyBody()}
	case format.OpMemoryInit:
		return addedFunc{"memory.init", p.typeIndex(three), p.initBody(h.x)}
	case format.OpTableCopy:
		return addedFunc{"table.copy", p.typeIndex(three), p.tableBody(h.op, h.x, h.y)}
	case format.OpTableInit:
		return addedFunc{"table.init", p.typeIndex(three), p.tableBody(h.op, h.x, h.y)}
	case format.OpTableFill:
		three.Params[1] = p.tables[h.x]
		return addedFunc{"table.fill", p.typeIndex(three), p.tableBody(h.op, h.x)}
	}
	grow := format.FuncType{Params: []format.ValueType{p.tables[h.x], format.I32}, Results: []format.ValueType{format.I32}}
	return addedFunc{"table.grow", p.typeIndex(grow), p.growBody(h.x)}
}

// The parameters of the helpers: destination, source or value, length.
const (
	dst = iota
	src
	length
)

// ranged writes the body of a helper for memory. It does a short range at once, and
// one that is out of bounds too, which traps before anything is written. bounds
// leaves on the stack whether that is so, all performs the instruction on the whole
// range, and step on one chunk of it.
func (p *plan) ranged(bounds, all, step func(a *asm)) []byte {
	a := asm{0}
	a.get(length)
	a.i32(1 << kib)
	a.plain(opI32LtU)
	a.block(format.OpIf)
	all(&a)
	a.plain(format.OpReturn, format.OpEnd)
	bounds(&a)
	a.block(format.OpIf)
	all(&a)
	a.plain(format.OpEnd)
	a.block(format.OpLoop)
	a.get(length)
	a.i32(chunk)
	a.plain(opI32LeU)
	a.block(format.OpIf)
	p.charge(&a, kib, func() { a.get(length) })
	all(&a)
	a.plain(format.OpReturn, format.OpEnd)
	p.charge(&a, kib, func() { a.i32(chunk) })
	add(&a, length, opI32Sub)
	step(&a)
	a.op(format.OpBr, 0)
	a.plain(format.OpEnd, format.OpEnd)
	return a
}

// charge takes from the fuel the size that push leaves on the stack, shifted.
func (p *plan) charge(a *asm, shift uint32, push func()) {
	a.op(format.OpGlobalGet, p.fuel)
	push()
	a.i32(shift)
	a.plain(opI32ShrU, opI64ExtendI32, opI64Sub)
	a.op(format.OpGlobalSet, p.fuel)
	p.check(a)
}

// add moves a local variable by a chunk.
func add(a *asm, local uint32, op format.Op) {
	a.get(local)
	a.i32(chunk)
	a.plain(op)
	a.op(format.OpLocalSet, local)
}

// exceedsMemory leaves whether the range from the local variable exceeds the memory.
func exceedsMemory(a *asm, from uint32) {
	a.get(from)
	a.plain(opI64ExtendI32)
	a.get(length)
	a.plain(opI64ExtendI32, opI64Add)
	a.op(opMemorySize, 0)
	a.plain(opI64ExtendI32)
	a.i64(pageBits)
	a.plain(opI64Shl, opI64GtU)
}

func (p *plan) fillBody() []byte {
	return p.ranged(
		func(a *asm) { exceedsMemory(a, dst) },
		func(a *asm) {
			a.get(dst, src, length)
			a.op(format.OpMemoryFill, 0)
		},
		func(a *asm) {
			a.get(dst, src)
			a.i32(chunk)
			a.op(format.OpMemoryFill, 0)
			add(a, dst, opI32Add)
		})
}

// copyBody copies from the end where the destination lies behind the source, as the
// ranges may overlap.
func (p *plan) copyBody() []byte {
	return p.ranged(
		func(a *asm) {
			exceedsMemory(a, dst)
			exceedsMemory(a, src)
			a.plain(opI32Or)
		},
		func(a *asm) {
			a.get(dst, src, length)
			a.op(format.OpMemoryCopy, 0, 0)
		},
		func(a *asm) {
			a.get(dst, src)
			a.plain(opI32GtU)
			a.block(format.OpIf)
			a.get(dst, length)
			a.plain(opI32Add)
			a.get(src, length)
			a.plain(opI32Add)
			a.i32(chunk)
			a.op(format.OpMemoryCopy, 0, 0)
			a.plain(format.OpElse)
			a.get(dst, src)
			a.i32(chunk)
			a.op(format.OpMemoryCopy, 0, 0)
			add(a, dst, opI32Add)
			add(a, src, opI32Add)
			a.plain(format.OpEnd)
		})
}

// initBody copies from the data segment x. That it may have been dropped needs no
// care: then the first chunk traps.
func (p *plan) initBody(x uint32) []byte {
	size := len(p.m.Data[x].Init)
	return p.ranged(
		func(a *asm) {
			exceedsMemory(a, dst)
			a.get(src)
			a.plain(opI64ExtendI32)
			a.get(length)
			a.plain(opI64ExtendI32, opI64Add)
			a.i64(int64(size))
			a.plain(opI64GtU, opI32Or)
		},
		func(a *asm) {
			a.get(dst, src, length)
			a.op(format.OpMemoryInit, x, 0)
		},
		func(a *asm) {
			a.get(dst, src)
			a.i32(chunk)
			a.op(format.OpMemoryInit, x, 0)
			add(a, dst, opI32Add)
			add(a, src, opI32Add)
		})
}

// tableBody performs an instruction on a table, whose size is bounded, and charges
// for it once it is known to be within bounds.
func (p *plan) tableBody(op format.Op, indexes ...uint32) []byte {
	a := asm{0}
	a.get(dst, src, length)
	a.op(op, indexes...)
	p.charge(&a, elements, func() { a.get(length) })
	a.plain(format.OpEnd)
	return a
}

// growBody grows the table x and charges for the elements if it could.
func (p *plan) growBody(x uint32) []byte {
	const by, was = 1, 2
	a := asm{1, 1, byte(format.I32)}
	a.get(0, by)
	a.op(format.OpTableGrow, x)
	a.op(format.OpLocalTee, was)
	a.i32(^uint32(0))
	a.plain(opI32Ne)
	a.block(format.OpIf)
	p.charge(&a, elements, func() { a.get(by) })
	a.plain(format.OpEnd)
	a.get(was)
	a.plain(format.OpEnd)
	return a
}
