package format

// readCode walks every body, because a compiler allocates by counts that stand in
// the middle of code.
func (r *reader) readCode(c *Cursor) {
	n := c.Count("function bodies", maxFunctions, 2)
	if n != len(r.m.Funcs) {
		c.Fail("%d functions are declared and %d have code", len(r.m.Funcs), n)
		return
	}
	r.m.Codes = make([][]byte, 0, n)
	s := &Scanner{}
	for i := range n {
		body := c.Bytes(c.U32())
		if len(body) > maxBody {
			c.Fail("a function of %d bytes exceeds the limit of %d; split it", len(body), maxBody)
		}
		if c.err != nil {
			return
		}
		in := &Cursor{b: body, base: c.base + c.at - len(body)}
		*s = Scanner{c: in, depth: 1, Targets: s.Targets}
		r.body(s, len(r.m.Types[r.m.Funcs[i]].Params))
		if c.err = in.Finish(); c.err != nil {
			return
		}
		r.m.Codes = append(r.m.Codes, body)
	}
}

// body walks one function with so many parameters.
func (r *reader) body(s *Scanner, params int) {
	n := s.c.locals()
	if r.locals += n; r.locals > maxAllLocals {
		s.c.Fail("local variables of all functions exceed the limit of %d", maxAllLocals)
	}
	f := flow{locals: params + n}
	for s.Next() {
		f.count(s)
		switch s.Op {
		case OpBlock, OpLoop, OpIf:
			if s.X != NoType {
				s.c.exists("type", s.X, len(r.m.Types))
			}
		case OpBr, OpBrIf:
			r.label(s, s.X)
		case OpBrTable:
			for _, l := range s.Targets {
				r.label(s, l)
			}
		case OpLocalGet, OpLocalSet, OpLocalTee:
			s.c.exists("local variable", s.X, params+n)
		default:
			r.indexes(s)
		}
	}
}

// flow counts what a compiler needs memory and time for beyond a function's size: it
// may keep the value of each local variable at each block, and more of it in loops.
type flow struct {
	locals, loops, blocks, branches, targets int
}

// count takes an instruction in, and refuses a function that has too much.
func (f *flow) count(s *Scanner) {
	switch s.Op {
	case OpLoop:
		f.loops++
		f.blocks++
	case OpBlock, OpIf:
		f.blocks++
	case OpBr, OpBrIf:
		f.branches++
	case OpBrTable:
		f.targets += len(s.Targets)
	default:
		return
	}
	branches := f.blocks + f.branches
	switch {
	case s.depth > maxNesting || branches > maxBranches:
		s.c.Fail("a function with %d branches, nested %d deep, exceeds the limits of %d and %d; split it", branches, s.depth, maxBranches, maxNesting)
	case f.targets > maxAllTargets:
		s.c.Fail("branch targets of a function exceed the limit of %d; split it", maxAllTargets)
	case f.loops*f.locals > maxLoopLocals || f.blocks*f.locals > maxBlockLocals:
		s.c.Fail("a function with %d local variables, %d blocks and %d loops exceeds the limits of %d for variables times blocks and %d for variables times loops; split it", f.locals, f.blocks, f.loops, maxBlockLocals, maxLoopLocals)
	}
}

// label checks a branch: outermost is the function itself.
func (r *reader) label(s *Scanner, l uint32) {
	s.c.exists("label", l, s.depth)
}

// indexes checks the indexes of an instruction against the module.
func (r *reader) indexes(s *Scanner) {
	switch s.Op {
	case OpCall:
		s.c.exists("function", s.X, len(r.types))
	case OpCallIndirect:
		s.c.exists("type", s.X, len(r.m.Types))
		s.c.exists("table", s.Y, len(r.tables))
	case OpRefFunc:
		s.c.exists("function", s.X, len(r.types))
		r.reference(s)
	case OpGlobalGet, OpGlobalSet:
		s.c.exists("global", s.X, r.globals)
	case OpTableGet, OpTableSet, OpTableGrow, OpTableSize, OpTableFill:
		s.c.exists("table", s.X, len(r.tables))
	case OpElemDrop:
		s.c.exists("element segment", s.X, len(r.m.Elements))
	case OpTableInit:
		s.c.exists("element segment", s.X, len(r.m.Elements))
		s.c.exists("table", s.Y, len(r.tables))
	case OpTableCopy:
		s.c.exists("table", s.X, len(r.tables))
		s.c.exists("table", s.Y, len(r.tables))
	case OpDataDrop:
		r.dataIndex(s)
	case OpMemoryInit:
		r.dataIndex(s)
		s.c.exists("memory", s.Y, r.memories)
	case OpMemoryCopy, OpMemoryFill, OpMemoryGrow:
		s.c.exists("memory", max(s.X, s.Y), r.memories)
	}
}

// dataIndex checks the index of a data segment, all of which come after the code.
func (r *reader) dataIndex(s *Scanner) {
	if r.m.Counted == nil {
		s.c.Fail("code names a data segment in a module without a data count section")
		return
	}
	s.c.exists("data segment", s.X, int(*r.m.Counted))
}

// reference checks that a function that code refers to is named outside of code.
func (r *reader) reference(s *Scanner) {
	if r.declared == nil {
		r.declare()
	}
	if !r.declared[s.X] {
		s.c.Fail("code refers to function %d, which no export, global or element segment declares", s.X)
	}
}

// declare collects the functions that exports, globals and element segments name.
func (r *reader) declare() {
	r.declared = map[uint32]bool{}
	for _, e := range r.m.Exports {
		if e.Kind == Func {
			r.declared[e.Index] = true
		}
	}
	for _, g := range r.m.Globals {
		r.declareAll(g.Init, 1, true)
	}
	for _, e := range r.m.Elements {
		r.declareAll(e.Items, e.Count, e.Flags&ElemExprs != 0)
	}
}

func (r *reader) declareAll(items []byte, n int, exprs bool) {
	c := &Cursor{b: items}
	for range n {
		if !exprs {
			r.declared[c.U32()] = true
			continue
		}
		for s := (Scanner{c: c, depth: 1}); s.Next(); {
			if s.Op == OpRefFunc {
				r.declared[s.X] = true
			}
		}
	}
}
