package format_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/internal/runtime/wasm/format"
	. "github.com/vespiary/vespiary/host/internal/runtime/wasm/wasmtest"
)

// every has each kind of entry that can be written.
func every() []byte {
	return Assemble(
		Section(1, Vec(Type(nil, nil), Type([]byte{I64, I32}, []byte{I64}))),
		Section(2, Vec(
			Join(String("m"), String("f"), []byte{0, 1}),
			Join(String("m"), String("t"), []byte{1, 0x70, 0, 1}),
			Join(String("m"), String("g"), []byte{3, I32, 0}),
			Join(String("m"), String("memory"), []byte{2, 1, 1, 5}),
		)),
		Section(3, Vec([]byte{0})),
		Section(4, Vec([]byte{0x6f, 1, 2, 9})),
		Section(6, Vec([]byte{I32, 1, I32Const, 7, End}, []byte{0x70, 0, 0xd2, 0, End})),
		Section(7, Vec(Join(String("run"), []byte{0, 1}), Join(String("g"), []byte{3, 1}))),
		Section(8, []byte{1}),
		Section(9, Vec(
			[]byte{0, I32Const, 0, End, 1, 1},
			[]byte{1, 0, 1, 1},
			[]byte{2, 0, 0x23, 0, End, 0, 1, 1},
			[]byte{3, 0, 1, 1},
			[]byte{4, I32Const, 0, End, 1, 0xd2, 1, End},
			[]byte{5, 0x6f, 1, 0xd0, 0x6f, End},
			[]byte{6, 0, I32Const, 0, End, 0x70, 1, 0xd0, 0x70, End},
		)),
		Section(12, []byte{2}),
		Section(10, Vec(Body(Loop, BlockVoid, I32Const, 0x7f, Drop, End, 0xfc, 9, 1))),
		Section(11, Vec([]byte{0, I32Const, 0, End, 2, 'h', 'i'}, []byte{1, 1, 'x'})),
	)
}

// TestAppend writes what was read and demands the same bytes.
func TestAppend(t *testing.T) {
	m, err := format.Read(every(), format.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	written := map[byte][]byte{
		format.SectionType:     written(m.Types, format.AppendFuncType),
		format.SectionImport:   written(m.Imports, format.AppendImport),
		format.SectionFunction: written(m.Funcs, format.AppendU32),
		format.SectionTable:    written(m.Tables, format.AppendTableType),
		format.SectionGlobal:   written(m.Globals, format.AppendGlobal),
		format.SectionExport:   written(m.Exports, format.AppendExport),
		format.SectionElement:  written(m.Elements, format.AppendElement),
		format.SectionData:     written(m.Data, format.AppendData),
	}
	for i, s := range m.Sections {
		if b, ok := written[s.ID]; ok {
			m.Sections[i].Body = b
			delete(written, s.ID)
		}
	}
	if len(written) > 0 {
		t.Errorf("the module lacks sections: %v", written)
	}
	if got := format.Join(m.Sections); !bytes.Equal(got, every()) {
		t.Errorf("wrote % x\nread  % x", got, every())
	}
}

func written[T any](items []T, add func([]byte, T) []byte) []byte {
	out := format.AppendCount(nil, len(items))
	for _, i := range items {
		out = add(out, i)
	}
	return out
}

func TestScanner(t *testing.T) {
	body := Join([]byte{1, 2, I64}, []byte{
		I32Const, 0x7f, // -1
		0x04, 3, 0x05, End, // if of type 3
		0x0e, 2, 1, 0, 4, // br_table
		0xfc, 12, 5, 6, // table.init
		0xfd, 0, 4, 9, // v128.load
		0x41, 0x80, 0x80, 0x80, 0x80, 0x78, // -2^31
		End,
	})
	type step struct {
		At, End, Depth int
		Op             format.Op
		X, Y           uint32
	}
	var got []step
	var targets []uint32
	s, locals := format.ScanBody(body)
	for s.Next() {
		got = append(got, step{s.At, s.End(), s.Depth(), s.Op, s.X, s.Y})
		if s.Op == format.OpBrTable {
			targets = append(targets, s.Targets...)
		}
	}
	want := []step{
		{3, 5, 1, format.OpI32Const, 0xffffffff, 0},
		{5, 7, 2, format.OpIf, 3, 0},
		{7, 8, 2, format.OpElse, 0, 0},
		{8, 9, 1, format.OpEnd, 0, 0},
		{9, 14, 1, format.OpBrTable, 0, 0},
		{14, 18, 1, format.OpTableInit, 5, 6},
		{18, 22, 1, 0xfd << 16, 0, 0},
		{22, 28, 1, format.OpI32Const, 1 << 31, 0},
		{28, 29, 0, format.OpEnd, 0, 0},
	}
	if diff := cmp.Diff(want, got); diff != "" || s.Err() != nil || locals != 2 {
		t.Errorf("%d locals, %v (-want +got):\n%s", locals, s.Err(), diff)
	}
	if diff := cmp.Diff([]uint32{1, 0, 4}, targets); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
}

func TestScannerFails(t *testing.T) {
	for name, test := range map[string]struct{ code, want string }{
		"no end":             {"\x01", "ends too early"},
		"negative type":      {"\x02\x41\x0b", "value type 0x41"},
		"long negative type": {"\x02\xc0\x7f\x0b", "unknown type"},
		"wide constant":      {"\x41\x80\x80\x80\x80\x08\x0b", "wider than 32 bits"},
		"long constant":      {"\x42\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00\x0b", "longer than 10 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			s := format.ScanExpr([]byte(test.code))
			for s.Next() { // to its end
			}
			if s.Err() == nil || !strings.Contains(s.Err().Error(), test.want) {
				t.Errorf("got %v, want …%s…", s.Err(), test.want)
			}
		})
	}
}

// FuzzRead: the instructions of what was read lie side by side and fill their bodies,
// and what was read can be written.
func FuzzRead(f *testing.F) {
	f.Add(every())
	f.Add(Guest{Code: Spin, Memory: []byte{0, 1}, Table: []byte{0, 1}, Start: true}.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := format.Read(b, format.Limits{Pages: 1024, Table: 1000})
		if err != nil {
			return
		}
		for _, body := range m.Codes {
			s, _ := format.ScanBody(body)
			at := s.End()
			for s.Next() {
				if s.At != at || s.End() <= at {
					t.Fatalf("instruction %#x from %d to %d, the last one ended at %d", s.Op, s.At, s.End(), at)
				}
				at = s.End()
			}
			if at != len(body) || s.Err() != nil || s.Depth() != 0 {
				t.Fatalf("%d of %d bytes scanned: %v", at, len(body), s.Err())
			}
		}
		for i := range m.Sections {
			if s := &m.Sections[i]; s.ID == format.SectionElement {
				s.Body = written(m.Elements, format.AppendElement)
			} else if s.ID == format.SectionImport {
				s.Body = written(m.Imports, format.AppendImport)
			}
		}
		again, err := format.Read(format.Join(m.Sections), format.Limits{Pages: 1024, Table: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(m.Elements, again.Elements) + cmp.Diff(m.Imports, again.Imports); diff != "" {
			t.Fatalf("(-read +written):\n%s", diff)
		}
	})
}
