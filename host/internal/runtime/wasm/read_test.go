package wasm_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
	. "github.com/vespiary/vespiary/host/internal/runtime/wasm/wasmtest"
)

// full is a module with every kind of section.
func full() []byte {
	return Assemble(
		Custom("before", []byte("x")),
		Section(1, Vec(Type(nil, nil), Type([]byte{I64, I32}, []byte{I64}))),
		Section(2, Vec(
			Join(String("extism:host/env"), String("store_u8"), []byte{0, 1}),
			Join(String("m"), String("t"), []byte{1, 0x70, 0, 1}),
			Join(String("m"), String("g"), []byte{3, I32, 0}),
		)),
		Section(3, Vec([]byte{0}, []byte{1})),
		Section(4, Vec([]byte{0x70, 1, 2, 9})),
		Section(5, Vec([]byte{1, 1, 16})),
		Section(6, Vec([]byte{I32, 1, I32Const, 7, End})),
		Section(7, Vec(
			Join(String("run"), []byte{0, 1}),
			Join(String("put"), []byte{0, 0}),
			Join(String("memory"), []byte{2, 0}),
		)),
		Section(8, []byte{1}),
		Section(9, Vec(
			[]byte{0, I32Const, 0, End, 1, 1},
			[]byte{3, 0, 1, 1},
			[]byte{5, 0x70, 1, 0xd2, 1, End},
			[]byte{6, 0, I32Const, 0, End, 0x70, 1, 0xd0, 0x70, End},
		)),
		Section(12, []byte{2}),
		Section(10, Vec(
			Join(U32(uint32(len(allImmediates)+4)), []byte{1, 1, I32}, allImmediates, []byte{End}),
			Join([]byte{8, 2, 3, I32, 2, I64, I64Const, 5, End}),
		)),
		Section(11, Vec([]byte{0, I32Const, 0, End, 2, 'h', 'i'}, []byte{1, 1, 'x'})),
		Custom("vespiary.manifest", []byte("{}")),
	)
}

// allImmediates has one instruction with each shape of what follows an opcode.
// It is not well typed.
var allImmediates = []byte{
	0x02, 0x40, 0x03, I32, 0x04, 0x00, 0x05, End, End, End, // block, loop, if else
	0x0c, 0, 0x0d, 0, 0x0e, 2, 0, 0, 0, 0x0f,
	Call, 1, 0x11, 0, 0, Drop, 0x1b, 0x1c, 1, I32,
	0x20, 0, 0x21, 0, 0x23, 0, 0x25, 0, 0x26, 0,
	0x28, 2, 0x80, 0x01, 0x37, 3, 0, 0x3f, 0, 0x40, 0,
	I32Const, 0x7f, I64Const, 0x80, 0x7f, 0x43, 0, 0, 0, 0, 0x44, 0, 0, 0, 0, 0, 0, 0, 0,
	0x6a, 0xc4, 0xd0, 0x70, 0xd1, 0xd2, 1,
	0xfc, 0, 0xfc, 8, 0, 0, 0xfc, 9, 0, 0xfc, 10, 0, 0, 0xfc, 11, 0, 0xfc, 12, 0, 0, 0xfc, 13, 0,
	0xfc, 14, 0, 0, 0xfc, 15, 0, 0xfc, 16, 0, 0xfc, 17, 0,
	0xfd, 0, 4, 0, 0xfd, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
	0xfd, 21, 3, 0xfd, 84, 0, 0, 1, 0xfd, 92, 2, 0, 0xfd, 0xae, 1,
}

func TestRead(t *testing.T) {
	m, err := wasm.Read(full(), wasm.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	put := wasm.FuncType{Params: []wasm.ValueType{wasm.I64, wasm.I32}, Results: []wasm.ValueType{wasm.I64}}
	want := &wasm.Module{
		Imports: []wasm.Import{
			{Module: "extism:host/env", Name: "store_u8", Type: put},
			{Module: "m", Name: "t", Kind: wasm.Table},
			{Module: "m", Name: "g", Kind: wasm.Global},
		},
		Exports:   []wasm.Export{{Name: "run"}, {Name: "put", Type: put}, {Name: "memory", Kind: wasm.Memory}},
		Memory:    &wasm.Range{Min: 1, Max: 16, Bounded: true},
		Tables:    []wasm.Range{{Min: 2, Max: 9, Bounded: true}},
		Functions: 2,
		HasStart:  true,
	}
	if diff := cmp.Diff(want, m, cmpopts.IgnoreUnexported(wasm.Module{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := put.String(); got != "(i64, i32) -> i64" {
		t.Errorf("signature reads %s", got)
	}
	if got := m.Custom("vespiary.manifest"); len(got) != 1 || string(got[0]) != "{}" {
		t.Errorf("manifest is %q", got)
	}
	if typ, ok := m.ExportedFunc("put"); !ok || !typ.Equal(put) {
		t.Errorf("put is %v, %v", typ, ok)
	}
	if _, ok := m.ExportedFunc("memory"); ok {
		t.Error("memory is a function")
	}
}

// TestTruncated cuts a module after every byte: none of the parts may be
// accepted, but for those that end between sections.
func TestTruncated(t *testing.T) {
	whole := full()
	ends := sectionEnds(whole)
	for n := range whole {
		_, err := wasm.Read(whole[:n:n], wasm.Limits{})
		if err == nil && !ends[n] {
			t.Errorf("the first %d bytes were accepted", n)
		}
		if bad := (*wasm.Error)(nil); err != nil && !errors.As(err, &bad) {
			t.Errorf("at %d: %T is not *Error", n, err)
		}
	}
}

func sectionEnds(module []byte) map[int]bool {
	ends := map[int]bool{}
	for at := len(Header); at < len(module); {
		ends[at] = true
		size, n := int(module[at+1]), 2
		if size >= 0x80 {
			size, n = size&0x7f|int(module[at+2])<<7, 3
		}
		at += n + size
	}
	return ends
}

// huge is the largest count there is, and it costs five bytes.
var huge = U32(0xffffffff)

func TestRefused(t *testing.T) {
	types := Section(1, Vec(Type(nil, nil)))
	code := func(body ...byte) []byte {
		return Assemble(types, Section(3, Vec([]byte{0})), Section(10, Vec(Join(U32(uint32(len(body))), body))))
	}
	nested := bytes.Repeat([]byte{0x02, 0x40}, 10_001)
	tests := map[string]struct {
		module []byte
		want   string
	}{
		"empty":             {nil, "not a WebAssembly module"},
		"text":              {[]byte("(module)"), "not a WebAssembly module"},
		"component":         {[]byte("\x00asm\x0d\x00\x01\x00"), "component; build a core module instead (target wasm32-wasip1"},
		"version":           {[]byte("\x00asm\x02\x00\x00\x00"), "unknown version"},
		"too large":         {Assemble(Custom("x", make([]byte, 2<<20))), "strip debug information or raise the limit"},
		"unknown section":   {Assemble(Section(14)), "unknown section 14"},
		"repeated section":  {Assemble(types, types), "repeated or out of order"},
		"section order":     {Assemble(Section(3, Vec()), types), "repeated or out of order"},
		"trailing bytes":    {Assemble(Section(1, Vec(), []byte{1})), "1 bytes too many"},
		"section too long":  {Join(Assemble(), []byte{1}, huge), "exceeds"},
		"long integer":      {Join(Assemble(), []byte{1, 0x80, 0x80, 0x80, 0x80, 0x80, 0}), "wider than 32 bits"},
		"wide integer":      {Join(Assemble(), []byte{1, 0xff, 0xff, 0xff, 0xff, 0x1f}), "wider than 32 bits"},
		"types":             {Assemble(Section(1, huge)), "exceed the limit"},
		"parameters":        {Assemble(Section(1, U32(1), []byte{0x60}, huge)), "exceed the limit"},
		"imports":           {Assemble(Section(2, huge)), "exceed the limit"},
		"functions":         {Assemble(Section(3, huge)), "exceed the limit"},
		"tables":            {Assemble(Section(4, huge)), "exceed the limit"},
		"memories":          {Assemble(Section(5, huge)), "exceed the limit"},
		"globals":           {Assemble(Section(6, huge)), "exceed the limit"},
		"exports":           {Assemble(Section(7, huge)), "exceed the limit"},
		"element segments":  {Assemble(Section(9, huge)), "exceed the limit"},
		"elements":          {Assemble(Section(9, U32(1), []byte{1, 0}, huge)), "exceed the limit"},
		"bodies":            {Assemble(Section(10, huge)), "exceed the limit"},
		"data segments":     {Assemble(Section(11, huge)), "exceed the limit"},
		"data count":        {Assemble(Section(12, huge)), "exceed the limit"},
		"data length":       {Assemble(Section(11, U32(1), []byte{1}, huge)), "exceeds"},
		"counts in bounds":  {Assemble(Section(3, U32(100))), "do not fit"},
		"body length":       {Assemble(types, Section(3, Vec([]byte{0})), Section(10, U32(1), huge)), "exceeds"},
		"locals":            {code(Join([]byte{1}, huge, []byte{I32, End})...), "local variables exceed the limit"},
		"sum of locals":     {code(Join([]byte{2}, huge, []byte{I32}, huge, []byte{I32, End})...), "local variables exceed the limit"},
		"branch targets":    {code(Join([]byte{0, 0x0e}, huge)...), "exceed the limit"},
		"all targets":       {code(Join([]byte{0}, bytes.Repeat(Join([]byte{0x0e}, U32(65_520), make([]byte, 65_521)), 3), []byte{End})...), "branch targets of a function exceed the limit of 131072; split it"},
		"loops and locals":  {code(Join([]byte{1}, U32(5000), []byte{I32}, bytes.Repeat([]byte{Loop, BlockVoid}, 201), bytes.Repeat([]byte{End}, 202))...), "5000 local variables, 201 blocks and 201 loops exceeds the limits"},
		"blocks and locals": {code(Join([]byte{1}, U32(50_000), []byte{I32}, bytes.Repeat([]byte{0x02, BlockVoid, End}, 321), []byte{End})...), "50000 local variables, 321 blocks and 0 loops exceeds the limits"},
		"nesting":           {code(Join([]byte{0}, nested, bytes.Repeat([]byte{End}, 10_002))...), "nested 10001 deep, exceeds the limits of 30000 and 10000; split it"},
		"code after end":    {code(0, End, End), "too many"},
		"no end":            {code(0, 0x01), "ends too early"},
		"missing code":      {Assemble(types, Section(3, Vec([]byte{0}))), "1 functions are declared and 0 have code"},
		"missing type":      {Assemble(types, Section(3, Vec([]byte{1})), Section(10, Vec(Body()))), "type 1 does not exist"},
		"missing function":  {Assemble(Section(7, Vec(Join(String("f"), []byte{0, 0})))), "names a function that does not exist"},
		"export twice":      {Assemble(Section(5, Vec([]byte{0, 1})), Section(7, Vec(Join(String("m"), []byte{2, 0}), Join(String("m"), []byte{2, 0})))), "appears twice"},
		"name":              {Assemble(Section(7, Vec(Join([]byte{1, 0xff}, []byte{2, 0})))), "not UTF-8"},
		"shared memory":     {Assemble(Section(5, Vec([]byte{3, 1, 1}))), "shared memory (threads), which this host does not run; build it"},
		"64-bit memory":     {Assemble(Section(5, Vec([]byte{4, 1}))), "64-bit memory"},
		"custom page size":  {Assemble(Section(5, Vec([]byte{8, 1, 0}))), "memory flags 0x8"},
		"two memories":      {Assemble(Section(2, Vec(Join(String("m"), String("m"), []byte{2, 0, 1}))), Section(5, Vec([]byte{0, 1}))), "more than one memory"},
		"memory at once":    {Assemble(Section(5, Vec([]byte{0, 0x81, 0x08}))), "64 MiB of memory at once and the limit is 64 MiB"},
		"memory range":      {Assemble(Section(5, Vec([]byte{1, 2, 1}))), "minimum 2 above its maximum 1"},
		"large table":       {Assemble(Section(4, Vec(Join([]byte{0x70, 0}, U32(1001))))), "table of 1001 elements and the limit is 1000"},
		"exceptions":        {Assemble(Section(13, Vec())), "exception handling"},
		"try":               {code(0, 0x06, 0x40, End, End), "exception handling"},
		"tail call":         {code(0, 0x12, 0, End), "tail calls"},
		"atomics":           {code(0, 0xfe, 0x10, 2, 0, End), "atomic instructions (threads)"},
		"gc instruction":    {code(0, 0xfb, 0, End), "garbage collection"},
		"gc type":           {Assemble(Section(1, Vec([]byte{0x5f, 0, 0}))), "garbage collection"},
		"relaxed vectors":   {code(0, 0xfd, 0x80, 2, End), "relaxed vector"},
		"unknown prefixed":  {code(0, 0xfc, 18, End), "0xfc 18"},
		"call_ref":          {code(0, 0x14, 0, End), "typed function references"},
		"unknown opcode":    {code(0, 0xff, End), "0xff"},
		"memory index":      {code(0, 0x28, 0x42, 0, 0, End), "more than one memory"},
		"not constant":      {Assemble(Section(6, Vec([]byte{I32, 0, 0x20, 0, End}))), "not constant"},
		"vector const":      {Assemble(Section(6, Vec(Join([]byte{0x7b, 0, 0xfd, 13}, make([]byte, 16), []byte{End})))), "not constant"},
		"element flags":     {Assemble(Section(9, Vec([]byte{8, 0, 0}))), "unknown flags 0x8"},
		"data flags":        {Assemble(Section(11, Vec([]byte{3, 0}))), "unknown flags 0x3"},
		"import kind":       {Assemble(Section(2, Vec(Join(String("m"), String("x"), []byte{4, 0, 0})))), "unknown kind 4"},
		"export kind":       {Assemble(Section(7, Vec(Join(String("m"), []byte{9, 0})))), "unknown kind 9"},
		"value type":        {Assemble(Section(1, Vec(Type([]byte{0x64, 0x70}, nil)))), "value type 0x64"},
		"table type":        {Assemble(Section(4, Vec([]byte{0x40, 0, 0x70, 0, 1, 0xd0, 0x70, End}))), "table type 0x40"},
		"truncated section": {Join(Assemble(), []byte{1}), "ends too early"},
	}
	limits := wasm.Limits{Size: 1 << 20, Pages: 1024, Table: 1000}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := wasm.Read(test.module, limits)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want …%s…", err, test.want)
			}
		})
	}
}

// TestLocalsOfAll has many functions with the most locals one may have.
func TestLocalsOfAll(t *testing.T) {
	const n = 100
	types, bodies := make([][]byte, n), make([][]byte, n)
	for i := range n {
		types[i], bodies[i] = []byte{0}, Join([]byte{6, 1}, U32(50_000), []byte{I32, End})
	}
	m := Assemble(Section(1, Vec(Type(nil, nil))), Section(3, Vec(types...)), Section(10, Vec(bodies...)))
	if _, err := wasm.Read(m, wasm.Limits{}); err == nil || !strings.Contains(err.Error(), "of all functions") {
		t.Errorf("five million locals: %v", err)
	}
}

// TestReadAllocates bounds what a hostile module makes the reader allocate.
func TestReadAllocates(t *testing.T) {
	hostile := Assemble(Section(1, Vec(Type(nil, nil))), Section(2, U32(10_000), bytes.Repeat([]byte{0}, 30)))
	if got := testing.Benchmark(func(b *testing.B) {
		b.Helper()
		for b.Loop() {
			if _, err := wasm.Read(hostile, wasm.Limits{}); err == nil {
				b.Fatal("accepted")
			}
		}
	}).AllocedBytesPerOp(); got > 4096 {
		t.Errorf("reading %d bytes allocated %d", len(hostile), got)
	}
}
