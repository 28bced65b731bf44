package prepare

import (
	"bytes"

	"github.com/vespiary/vespiary/host/internal/runtime/wasm/format"
)

const (
	// window is the most instructions on any path between two probes of one function.
	window = 1024
	// maxLeaf is the most instructions of a function that needs no probe.
	maxLeaf = 32
	// bulkWeight is what an instruction on a short range counts as.
	bulkWeight = 64
	// hostWeight is what an instruction counts as that leaves the compiled code.
	hostWeight = 64
)

// makeProbe returns the code that takes one from the fuel.
func (p *plan) makeProbe() []byte {
	var a asm
	a.op(format.OpGlobalGet, p.fuel)
	a.i64(1)
	a.plain(opI64Sub)
	a.op(format.OpGlobalSet, p.fuel)
	p.check(&a)
	return a
}

// check appends the code that calls the host when the fuel is below zero.
func (p *plan) check(a *asm) {
	a.op(format.OpGlobalGet, p.fuel)
	a.i64(0)
	a.plain(opI64LtS)
	a.block(format.OpIf)
	a.op(format.OpCall, p.yieldIndex())
	a.plain(format.OpEnd)
}

// leaves finds the functions that need no probe of their own: those without loops,
// calls and long ranges, and with few instructions.
func (p *plan) leaves() []uint8 {
	all := make([]uint8, len(p.funcs))
	for i, body := range p.m.Codes {
		if len(body) <= maxLeaf*4 {
			all[p.imported+i] = p.leafSize(body)
		}
	}
	return all
}

// leafSize counts the instructions of a leaf; 0 for a function that is none.
func (p *plan) leafSize(body []byte) uint8 {
	s, locals := format.ScanBody(body)
	n := locals
	for s.Next() {
		switch s.Op {
		case format.OpLoop, format.OpCall, format.OpCallIndirect:
			return 0
		}
		if n += p.weight(s); n > maxLeaf {
			return 0
		}
	}
	return uint8(n) //nolint:gosec // at most maxLeaf
}

// weight is how many instructions s counts as; at most window.
func (p *plan) weight(s *format.Scanner) int {
	switch s.Op {
	case format.OpCall:
		if int(s.X) < p.imported {
			return hostWeight
		}
		return 1 + int(p.leaf[s.X])
	case format.OpRefFunc:
		return hostWeight
	case format.OpCallIndirect:
		return 1 + maxLeaf
	case format.OpMemoryGrow:
		return window // the host moves or clears memory: give it a look right after
	case format.OpMemoryFill, format.OpMemoryCopy, format.OpMemoryInit,
		format.OpTableFill, format.OpTableCopy, format.OpTableInit, format.OpTableGrow:
		return bulkWeight
	}
	return 1
}

// meterAll returns the rewritten bodies of all functions, each with its length
// before it.
func (p *plan) meterAll() ([]byte, error) {
	size := 0
	for _, body := range p.m.Codes {
		size += len(body) + 8
	}
	out := make([]byte, 0, size+size/4)
	w := &bodyWriter{plan: p}
	for i, body := range p.m.Codes {
		b, err := w.rewrite(body, len(p.m.Types[p.m.Funcs[i]].Params), p.leaf[p.imported+i] == 0)
		if err != nil {
			return nil, err
		}
		out = append(format.AppendCount(out, len(b)), b...)
	}
	return out, nil
}

// bodyWriter rewrites function bodies. It follows all paths at once, forwards: since
// is the most instructions from the last probe on any path to where it stands, and 0
// where no path leads.
type bodyWriter struct {
	*plan
	s      *format.Scanner
	body   []byte
	out    []byte
	copied int // bytes of body that are dealt with
	since  int
	blocks []block

	scratch uint32 // local variable, if the body has bulk instructions; or none
}

const none = ^uint32(0)

// block is a block that is open.
type block struct {
	op     format.Op
	before int // since, at its start
	ends   int // the most instructions to a branch to its end
}

// rewrite returns the new body, which is valid until the next call.
func (w *bodyWriter) rewrite(body []byte, params int, entry bool) ([]byte, error) {
	s, locals := format.ScanBody(body)
	w.s, w.body, w.out, w.copied = s, body, w.out[:0], 0
	w.blocks = append(w.blocks[:0], block{op: format.OpBlock})
	w.since = locals // are cleared at the entry
	w.header(params + locals)
	if entry {
		w.out = append(w.out, w.probe...)
	}
	for ; w.since > window; w.since -= window {
		w.out = append(w.out, w.probe...)
	}
	for s.Next() {
		w.instruction()
	}
	w.flush(len(body))
	return w.out, s.Err()
}

// header copies the declarations of local variables. A body that seems to have bulk
// instructions gets one more, behind all others.
func (w *bodyWriter) header(locals int) {
	w.scratch = none
	if !bytes.Contains(w.body, memoryCopy) && !bytes.Contains(w.body, memoryFill) {
		w.flush(w.s.End())
		return
	}
	c := format.Section{Body: w.body}.Cursor()
	groups := c.U32()
	w.copied = len(w.body) - c.Left()
	w.out = format.AppendU32(w.out, groups+1)
	w.flush(w.s.End())
	w.out = append(w.out, 1, byte(format.I32))
	w.scratch = count32(locals)
}

var (
	memoryCopy = format.AppendOp(nil, format.OpMemoryCopy)
	memoryFill = format.AppendOp(nil, format.OpMemoryFill)
)

// flush copies what is left of the body before the position end.
func (w *bodyWriter) flush(end int) {
	w.out = append(w.out, w.body[w.copied:end]...)
	w.copied = end
}

// instruction puts a probe before the instruction if a path has become too long,
// and rewrites it.
func (w *bodyWriter) instruction() {
	n := w.weight(w.s)
	if w.since+n > window {
		w.flush(w.s.At)
		w.out = append(w.out, w.probe...)
		w.since = 0
	}
	w.since += n
	switch w.s.Op {
	case format.OpCall, format.OpRefFunc:
		w.flush(w.s.At)
		w.out = format.AppendU32(format.AppendOp(w.out, w.s.Op), w.funcIndex(w.s.X))
		w.copied = w.s.End()
	case format.OpTableSet, format.OpDataDrop, format.OpElemDrop:
		w.uses[w.s.Op] = true
	case format.OpMemoryFill, format.OpMemoryCopy, format.OpMemoryInit,
		format.OpTableFill, format.OpTableCopy, format.OpTableInit, format.OpTableGrow:
		w.uses[w.s.Op] = true
		w.bulk()
	default:
		w.control()
	}
}

// bulk calls a helper in place of an instruction whose range may be long.
func (w *bodyWriter) bulk() {
	h, ok := w.helperFor(w.s.Op, w.s.X, w.s.Y)
	if !ok {
		return
	}
	w.flush(w.s.At)
	w.copied = w.s.End()
	a := asm(w.out)
	if memory := w.s.Op == format.OpMemoryFill || w.s.Op == format.OpMemoryCopy; memory && w.scratch != none {
		w.short(&a, h)
	} else {
		a.op(format.OpCall, h)
	}
	w.out = a
}

// short performs an instruction on memory in place if its range is short, because
// a call takes several times as long as copying a few bytes.
func (w *bodyWriter) short(a *asm, helper uint32) {
	a.op(format.OpLocalTee, w.scratch)
	a.i32(1 << kib)
	a.plain(opI32LtU)
	a.blockOf(format.OpIf, w.typeIndex(format.FuncType{Params: []format.ValueType{format.I32, format.I32}}))
	a.get(w.scratch)
	*a = append(*a, w.body[w.s.At:w.s.End()]...)
	a.plain(format.OpElse)
	a.get(w.scratch)
	a.op(format.OpCall, helper)
	a.plain(format.OpEnd)
}

// control follows the paths through an instruction.
func (w *bodyWriter) control() {
	switch w.s.Op {
	case format.OpBlock, format.OpIf:
		w.blocks = append(w.blocks, block{op: w.s.Op, before: w.since})
	case format.OpLoop:
		w.blocks = append(w.blocks, block{op: w.s.Op})
		w.flush(w.s.End())
		w.out = append(w.out, w.probe...)
		w.since = 0
	case format.OpElse:
		b := &w.blocks[len(w.blocks)-1]
		b.op = format.OpElse
		b.ends = max(b.ends, w.since)
		w.since = b.before
	case format.OpEnd:
		w.end()
	case format.OpBrIf:
		w.branch(w.s.X)
	case format.OpBr:
		w.branch(w.s.X)
		w.since = 0
	case format.OpBrTable:
		for _, l := range w.s.Targets {
			w.branch(l)
		}
		w.since = 0
	case format.OpReturn, format.OpUnreachable:
		w.since = 0
	}
}

// end joins the paths that lead to the end of a block.
func (w *bodyWriter) end() {
	b := w.blocks[len(w.blocks)-1]
	w.blocks = w.blocks[:len(w.blocks)-1]
	if b.op == format.OpIf {
		w.since = max(w.since, b.before) // there is no else
	}
	w.since = max(w.since, b.ends)
}

// branch follows a branch; one to a loop leads to that loop's probe.
func (w *bodyWriter) branch(label uint32) {
	if b := &w.blocks[len(w.blocks)-1-int(label)]; b.op != format.OpLoop {
		b.ends = max(b.ends, w.since)
	}
}
