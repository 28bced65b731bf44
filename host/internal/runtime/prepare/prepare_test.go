package prepare_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/internal/runtime/prepare"
	. "github.com/vespiary/vespiary/host/internal/runtime/wasm/wasmtest"
)

// tiny has one import, a global, a loop, data and a start function.
func tiny() []byte {
	return Assemble(
		Section(1, Vec(Type([]byte{I32}, nil), Type(nil, nil))),
		Section(2, Vec(Join(String("m"), String("f"), []byte{0, 0}))),
		Section(3, Vec([]byte{1})),
		Section(5, Vec([]byte{0, 1})),
		Section(6, Vec([]byte{I32, 1, I32Const, 7, End}, []byte{I32, 0, I32Const, 8, End})),
		Section(7, Vec(Join(String("run"), []byte{0, 1}))),
		Section(8, []byte{1}),
		Section(10, Vec(Body(Loop, BlockVoid, I32Const, 5, Call, 0, End))),
		Section(11, Vec([]byte{0, I32Const, 3, End, 2, 'h', 'i'})),
		Custom("name", Join([]byte{1}, U32(6), Vec(Join(U32(1), String("run"))))),
		Custom("producers", []byte("x")),
	)
}

// probe takes one from the global 2 and calls the function 1.
var probe = []byte{
	0x23, 2, I64Const, 1, 0x7d, 0x24, 2, // fuel -= 1
	0x23, 2, I64Const, 0, 0x53, 0x04, BlockVoid, Call, 1, End, // if fuel < 0 { yield() }
}

func tinyPrepared(sections ...[]byte) []byte {
	before := [][]byte{
		Section(1, Vec(Type([]byte{I32}, nil), Type(nil, nil), Type(nil, nil))),
		Section(2, Vec(
			Join(String("m"), String("f"), []byte{0, 0}),
			Join(String("vespiary:meter"), String("yield"), []byte{0, 2}),
		)),
		Section(3, Vec([]byte{1})),
		Section(5, Vec([]byte{0, 1})),
		Section(6, Vec([]byte{I32, 1, I32Const, 7, End}, []byte{I32, 0, I32Const, 8, End}, []byte{I64, 1, I64Const, 0, End})),
	}
	return Assemble(append(before, sections...)...)
}

func TestPrepareGolden(t *testing.T) {
	run := Join(String("run"), []byte{0, 2})
	fuel := Join(String("__vespiary_fuel"), []byte{3, 2})
	code := Section(10, Vec(Body(Join(probe, []byte{Loop, BlockVoid}, probe, []byte{I32Const, 5, Call, 0, End})...)))
	names := Custom("name", Join([]byte{1}, U32(6), Vec(Join(U32(2), String("run")))))
	tests := map[string]struct {
		options prepare.Options
		want    prepare.Result
	}{
		"metered": {
			prepare.Options{},
			prepare.Result{Code: tinyPrepared(
				Section(7, Vec(run, fuel)), Section(8, []byte{2}), code,
				Section(11, Vec([]byte{0, I32Const, 3, End, 2, 'h', 'i'})), names,
			)},
		},
		"image": {
			prepare.Options{Image: true},
			prepare.Result{
				Code: tinyPrepared(Section(7, Vec(run, fuel,
					Join(String("__vespiary_g0"), []byte{3, 0}),
					Join(String("__vespiary_start"), []byte{0, 2}),
				)), code, names),
				Globals: []string{"__vespiary_g0"},
				Data:    []prepare.Segment{{Offset: 3, Data: []byte("hi")}},
				Start:   true,
			},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			module := tiny()
			got, err := prepare.Prepare(module, test.options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !bytes.Equal(module, tiny()) {
				t.Error("the module given was changed")
			}
		})
	}
}

// TestRefused holds the ways in which a module could reach what preparation adds, or
// harm whoever compiles it.
func TestRefused(t *testing.T) {
	void := Section(1, Vec(Type(nil, nil)))
	fn, run := Section(3, Vec([]byte{0})), Section(7, Vec(Join(String("run"), []byte{0, 0})))
	code := func(b ...byte) []byte { return Section(10, Vec(Body(b...))) }
	huge := U32(0xffffffff)
	tests := map[string]struct {
		module []byte
		want   string
	}{
		"refills its fuel":        {Assemble(void, fn, Section(6, Vec([]byte{I32, 1, I32Const, 0, End})), run, code(I64Const, 5, 0x24, 1)), "global 1 does not exist"},
		"reads its fuel":          {Assemble(void, fn, run, code(0x23, 0, Drop)), "global 0 does not exist"},
		"exports the fuel":        {Assemble(void, Section(7, Vec(Join(String("g"), []byte{3, 0})))), "names a global that does not exist"},
		"has a fuel of its own":   {Assemble(Section(6, Vec([]byte{I64, 1, I64Const, 0, End})), Section(7, Vec(Join(String("__vespiary_fuel"), []byte{3, 0})))), "rename the export"},
		"has a start of its own":  {Assemble(void, fn, Section(7, Vec(Join(String("__vespiary_start"), []byte{0, 0}))), code()), "rename the export"},
		"imports yield":           {Guest{Imports: []Import{ImportFunc("vespiary:meter", "yield", nil, nil)}}.Bytes(), "remove the import"},
		"calls yield":             {Assemble(void, fn, run, code(Call, 1)), "function 1 does not exist"},
		"refers to yield":         {Assemble(void, fn, run, code(0xd2, 1, Drop)), "function 1 does not exist"},
		"starts yield":            {Assemble(void, fn, Section(8, []byte{1}), code()), "function 1 does not exist"},
		"puts yield into a table": {Assemble(void, fn, Section(4, Vec([]byte{0x70, 0, 1})), Section(9, Vec([]byte{0, I32Const, 0, End, 1, 1})), code()), "function 1 does not exist"},
		"uses an added type":      {Assemble(Section(1, Vec(Type([]byte{I32}, nil))), fn, run, code(0x02, 1, End)), "type 1 does not exist"},
		"calls by an added type": {
			Assemble(void, fn, Section(4, Vec([]byte{0x70, 0, 1})), run, code(I32Const, 0, 0x11, 1, 0)), "type 1 does not exist",
		},
		"uses the scratch local":       {Assemble(void, fn, Section(5, Vec([]byte{0, 1})), run, code(I32Const, 0, I32Const, 0, I32Const, 0, 0xfc, 11, 0, 0x20, 0, Drop)), "local variable 0 does not exist"},
		"data without memory":          {Assemble(void, fn, run, code(), Section(11, Vec([]byte{0, I32Const, 0, End, 1, 'x'}))), "memory 0 does not exist"},
		"start function with a result": {Assemble(Section(1, Vec(Type(nil, []byte{I32}))), fn, Section(8, []byte{0}), code(I32Const, 0)), "must be () -> ()"},
		"refers to its start":          {Assemble(void, fn, Section(8, []byte{0}), code(0xd2, 0, Drop)), "code refers to function 0"},
		"count of data":                {Assemble(void, fn, run, Section(12, []byte{2}), code()), "2 data segments are declared and there are 0"},
		"uncounted data":               {Assemble(void, fn, Section(5, Vec([]byte{0, 1})), run, code(0xfc, 9, 0), Section(11, Vec([]byte{1, 0}))), "without a data count section"},
		"import count":                 {Assemble(Section(2, huge)), "exceed the limit"},
		"data count":                   {Assemble(Section(12, huge)), "exceed the limit"},
		"locals":                       {Assemble(void, fn, run, Section(10, Vec(Join([]byte{8, 1}, huge, []byte{I32, End})))), "exceed the limit"},
		"huge table":                   {Guest{Table: Join([]byte{0}, U32(2_000_000))}.Bytes(), "demands a table"},
		"memory index of two bytes":    {Assemble(void, fn, Section(5, Vec([]byte{0, 1})), run, code(I32Const, 0, I32Const, 0, I32Const, 0, 0xfc, 11, 0x80, 0)), "memory 128 does not exist"},
		"unknown instruction":          {Assemble(void, fn, run, code(0xff)), "unknown instruction"},
		"label":                        {Assemble(void, fn, run, code(0x0c, 1)), "label 1 does not exist"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, image := range []bool{false, true} {
				_, err := prepare.Prepare(test.module, prepare.Options{Image: image})
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("image %v: got %v, want …%s…", image, err, test.want)
				}
			}
		})
	}
}

func TestBlocked(t *testing.T) {
	void := Section(1, Vec(Type(nil, nil)))
	fn, run := Section(3, Vec([]byte{0})), Section(7, Vec(Join(String("run"), []byte{0, 0})))
	table, memory := Section(4, Vec([]byte{0x70, 0, 9})), Section(5, Vec([]byte{0, 1}))
	start := Section(8, []byte{0})
	code := func(b ...byte) []byte { return Section(10, Vec(Body(b...))) }
	three := []byte{I32Const, 0, I32Const, 0, I32Const, 0}
	passive := Section(11, Vec([]byte{1, 1, 'x'}))
	elem := Section(9, Vec([]byte{1, 0, 1, 0}))
	imports := func(i ...byte) []byte { return Section(2, Vec(Join(String("m"), String("x"), i))) }
	data := func(b ...byte) []byte { return Section(11, Vec(b)) }
	fills := func(op byte, x ...byte) []byte { return code(Join(three, []byte{0xfc, op}, x)...) }
	tests := map[string]struct {
		module []byte
		want   []string // words of each reason, in order
	}{
		"nothing":          {Assemble(void, fn, table, memory, run, start, code(), data(0, I32Const, 1, End, 1, 'x')), nil},
		"memory.init":      {Assemble(void, fn, memory, run, Section(12, []byte{1}), fills(8, 0, 0), passive), nil},
		"immutable vector": {Assemble(void, Section(6, Vec(Join([]byte{0x7b, 0, 0xfd, 12}, make([]byte, 16), []byte{End})))), nil},
		"data.drop":        {Assemble(void, fn, memory, run, Section(12, []byte{1}), code(0xfc, 9, 0), passive), []string{"data.drop"}},
		"elem.drop":        {Assemble(void, fn, table, run, elem, code(0xfc, 13, 0)), []string{"elem.drop"}},
		"table.init":       {Assemble(void, fn, table, run, elem, fills(12, 0, 0)), []string{"table.init"}},
		"table.copy":       {Assemble(void, fn, table, run, fills(14, 0, 0)), []string{"table.copy"}},
		"table.set":        {Assemble(void, fn, table, run, code(I32Const, 0, 0xd0, 0x70, 0x26, 0)), []string{"table.set"}},
		"table.grow and fill": {
			Assemble(void, fn, table, run, code(0xd0, 0x70, I32Const, 0, 0xfc, 15, 0, 0xd0, 0x70, I32Const, 0, 0xfc, 17, 0)),
			[]string{"table.grow", "table.fill"},
		},
		"vector global":     {Assemble(void, Section(6, Vec(Join([]byte{0x7b, 1, 0xfd, 12}, make([]byte, 16), []byte{End})))), []string{"type v128"}},
		"reference global":  {Assemble(void, Section(6, Vec([]byte{0x70, 1, 0xd0, 0x70, End}))), []string{"type funcref"}},
		"imported global":   {Assemble(imports(3, I32, 1)), []string{"global m.x"}},
		"imported constant": {Assemble(imports(3, I32, 0)), nil},
		"imported memory":   {Assemble(imports(2, 0, 1)), []string{"memory m.x"}},
		"imported table":    {Assemble(imports(1, 0x70, 0, 1)), []string{"table m.x"}},
		"computed offset":   {Assemble(imports(3, I32, 0), memory, data(0, 0x23, 0, End, 1, 'x')), []string{"not a plain number"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := prepare.Prepare(test.module, prepare.Options{Image: true})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Blocked) != len(test.want) {
				t.Fatalf("blocked by %q, want %q", r.Blocked, test.want)
			}
			for _, want := range test.want {
				if !strings.Contains(strings.Join(r.Blocked, "\n"), want) {
					t.Errorf("blocked by %q, want …%s…", r.Blocked, want)
				}
			}
			plain, err := prepare.Prepare(test.module, prepare.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if blocked := len(test.want) > 0; blocked && !bytes.Equal(r.Code, plain.Code) {
				t.Error("the code of a blocked module is not what it is without images")
			}
		})
	}
}

// TestUnreferencedData drops the segments that no instruction names, and keeps the
// numbers of the others.
func TestUnreferencedData(t *testing.T) {
	many := make([][]byte, 1000)
	for i := range many {
		many[i] = Join([]byte{0, I32Const}, S64(int64(i)), []byte{End, 1, 'x'})
	}
	r, err := prepare.Prepare(Guest{Memory: []byte{0, 1}, Data: many}.Bytes(), prepare.Options{Image: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Data) != 1000 || r.Data[999].Offset != 999 || bytes.Contains(r.Code, []byte("x")) {
		t.Errorf("%d segments were taken out", len(r.Data))
	}
	named := Assemble(
		Section(1, Vec(Type(nil, nil))), Section(3, Vec([]byte{0})), Section(5, Vec([]byte{0, 1})), Section(12, []byte{2}),
		Section(10, Vec(Body(I32Const, 0, I32Const, 0, I32Const, 1, 0xfc, 8, 1, 0))),
		Section(11, Vec([]byte{0, I32Const, 0, End, 3, 'o', 'n', 'e'}, []byte{1, 3, 't', 'w', 'o'})),
	)
	r, err = prepare.Prepare(named, prepare.Options{Image: true})
	if err != nil {
		t.Fatal(err)
	}
	kept := Section(11, Vec([]byte{1, 0}, []byte{1, 3, 't', 'w', 'o'}))
	if diff := cmp.Diff([]prepare.Segment{{Data: []byte("one")}}, r.Data); diff != "" || !bytes.HasSuffix(r.Code, kept) {
		t.Errorf("(-want +got):\n%s\ncode % x", diff, r.Code)
	}
}
