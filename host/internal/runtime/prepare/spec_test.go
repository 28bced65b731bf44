package prepare_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/vespiary/vespiary/host/internal/runtime/prepare"
)

// command is one line of a test of the WebAssembly specification.
type command struct {
	Type     string  `json:"type"`
	Line     int     `json:"line"`
	Name     string  `json:"name"`
	As       string  `json:"as"`
	Filename string  `json:"filename"`
	Kind     string  `json:"module_type"`
	Action   action  `json:"action"`
	Expected []value `json:"expected"`
	Text     string  `json:"text"`
}

type action struct {
	Type   string  `json:"type"`
	Module string  `json:"module"`
	Field  string  `json:"field"`
	Args   []value `json:"args"`
}

type value struct {
	Type  string          `json:"type"`
	Lane  string          `json:"lane_type"`
	Value json.RawMessage `json:"value"`
}

// bits encodes an argument as the engine takes it. Not-a-numbers come out of tests
// as names; which bits they become does not matter to a comparison of two runs.
func (v value) bits() []uint64 {
	var lanes []string
	if v.Type != "v128" {
		var s string
		_ = json.Unmarshal(v.Value, &s)
		return []uint64{number(s, v.Type)}
	}
	_ = json.Unmarshal(v.Value, &lanes)
	var out [2]uint64
	width := 128 / len(lanes)
	for i, s := range lanes {
		at := i * width
		out[at/64] |= number(s, "i"+strconv.Itoa(width)) << (at % 64)
	}
	return out[:]
}

func number(s, typ string) uint64 {
	switch {
	case strings.HasPrefix(s, "nan"):
		return 0x7fc00000
	case s == "null", s == "":
		return 0
	case typ == "externref":
		n, _ := strconv.ParseUint(s, 10, 64)
		return n + 1
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		signed, _ := strconv.ParseInt(s, 10, 64)
		n = uint64(signed)
	}
	if strings.HasSuffix(typ, "8") || strings.HasSuffix(typ, "16") || strings.HasSuffix(typ, "32") {
		bits, _ := strconv.Atoi(strings.TrimLeft(typ, "if"))
		n &= 1<<bits - 1
	}
	return n
}

// variant is one way to run the same module.
type variant struct {
	name string
	make func(b []byte) ([]byte, *prepare.Result, error)
}

var variants = []variant{
	{"untouched", func(b []byte) ([]byte, *prepare.Result, error) { return b, nil, nil }},
	{"metered", prepared(prepare.Options{})},
	{"image", prepared(prepare.Options{Image: true})},
}

func prepared(o prepare.Options) func([]byte) ([]byte, *prepare.Result, error) {
	return func(b []byte) ([]byte, *prepare.Result, error) {
		r, err := prepare.Prepare(b, o)
		if err != nil {
			return nil, nil, err
		}
		return r.Code, r, nil
	}
}

// script runs the commands of one file in one runtime.
type script struct {
	dir     string
	variant variant
	r       wazero.Runtime
	named   map[string]api.Module
	last    api.Module
	yields  int
	tally   *tally
}

type tally struct{ modules, blocked, commands, skipped, values, yields atomic.Int64 }

// everyProbe is how often at least each probe of a file yields, until it takes too
// long.
const everyProbe = 100_000

// newScript returns a runtime with the host's part, in which every probe yields.
func newScript(tb testing.TB, dir string, v variant, n *tally) *script {
	tb.Helper()
	ctx := tb.Context()
	s := &script{dir: dir, variant: v, named: map[string]api.Module{}, tally: n}
	s.r = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig())
	tb.Cleanup(func() { _ = s.r.Close(context.Background()) })
	instantiateMeter(tb, s.r, func(m api.Module) {
		if s.yields++; s.yields < everyProbe {
			setFuel(m, 0)
		} else {
			setFuel(m, 1000)
		}
	})
	host, err := os.ReadFile(filepath.Join(dir, "..", "..", "testdata", "spectest.wasm"))
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := s.r.Instantiate(ctx, host); err != nil {
		tb.Fatal(err)
	}
	return s
}

// instantiateMeter offers yield. Where it leaves no fuel the next probe yields again.
func instantiateMeter(tb testing.TB, r wazero.Runtime, yield func(m api.Module)) {
	tb.Helper()
	f := api.GoModuleFunc(func(_ context.Context, m api.Module, _ []uint64) {
		yield(m)
	})
	_, err := r.NewHostModuleBuilder(prepare.MeterModule).NewFunctionBuilder().
		WithGoModuleFunction(f, nil, nil).Export(prepare.MeterYield).Instantiate(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
}

func setFuel(m api.Module, n int64) {
	if g, ok := m.ExportedGlobal(prepare.ExportFuel).(api.MutableGlobal); ok {
		g.Set(uint64(n))
	}
}

// outcome is what a command did, for a comparison.
func (s *script) outcome(ctx context.Context, c command) string {
	switch c.Type {
	case "module":
		m, err := s.instantiate(ctx, c.Filename)
		if err == nil {
			s.last = m
			if c.Name != "" {
				s.named[c.Name] = m
			}
		}
		return failure(err)
	case "register":
		return "registered" // done by the runner
	case "assert_return", "assert_trap", "action", "assert_exhaustion":
		return s.act(ctx, c.Action)
	case "assert_invalid", "assert_malformed", "assert_unlinkable", "assert_uninstantiable":
		if c.Kind == "text" {
			s.tally.skipped.Add(1)
			return "skipped"
		}
		m, err := s.instantiate(ctx, c.Filename)
		if err == nil {
			_ = m.Close(ctx)
			return "accepted"
		}
		if c.Type == "assert_uninstantiable" {
			return failure(err)
		}
		return "refused"
	}
	return "unknown command " + c.Type
}

func (s *script) instantiate(ctx context.Context, file string) (api.Module, error) {
	return s.instantiateAs(ctx, file, "")
}

func (s *script) instantiateAs(ctx context.Context, file, name string) (api.Module, error) {
	b, err := os.ReadFile(filepath.Join(s.dir, file))
	if err != nil {
		return nil, err
	}
	code, result, err := s.variant.make(b)
	if err != nil {
		return nil, err
	}
	s.tally.modules.Add(1)
	m, err := s.r.InstantiateWithConfig(ctx, code, wazero.NewModuleConfig().WithName(name).WithStartFunctions())
	if err != nil || result == nil {
		return m, err
	}
	if len(result.Blocked) > 0 {
		s.tally.blocked.Add(1)
	}
	if err := boot(ctx, m, result); err != nil {
		return nil, errors.Join(err, m.Close(ctx))
	}
	return m, nil
}

// boot does what an instance from an image that is not there yet needs.
func boot(ctx context.Context, m api.Module, r *prepare.Result) error {
	for _, d := range r.Data {
		if !m.Memory().Write(d.Offset, d.Data) {
			return errors.New(outOfBounds)
		}
	}
	if r.Start {
		_, err := m.ExportedFunction(prepare.ExportStart).Call(ctx)
		return err
	}
	return nil
}

func (s *script) act(ctx context.Context, a action) string {
	m := s.last
	if a.Module != "" {
		m = s.named[a.Module]
	}
	if m == nil {
		return "no module"
	}
	if a.Type == "get" {
		g := m.ExportedGlobal(a.Field)
		if g == nil {
			return "no global"
		}
		return fmt.Sprint(g.Get())
	}
	f := m.ExportedFunction(a.Field)
	if f == nil {
		return "no function"
	}
	var args []uint64
	for _, v := range a.Args {
		args = append(args, v.bits()...)
	}
	results, err := f.Call(ctx, args...)
	if err != nil {
		return failure(err)
	}
	s.tally.values.Add(1)
	for i, t := range f.Definition().ResultTypes() {
		if t == 0x70 && results[i] != 0 { // an address
			results[i] = 1
		}
	}
	return fmt.Sprint(results)
}

const outOfBounds = "wasm error: out of bounds memory access"

// failure is the first line of an error: the trap, without the stack.
func failure(err error) string {
	if err == nil {
		return "ok"
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	if strings.HasSuffix(first, "]: out of bounds memory access") { // of a data segment, by the engine
		return outOfBounds
	}
	if i := strings.Index(first, "wasm error: "); i >= 0 {
		return first[i:]
	}
	return first
}

// run returns what each command did.
func (s *script) run(ctx context.Context, commands []command) []string {
	var all []string
	for i, c := range commands {
		if c.Type == "module" && i+1 < len(commands) && commands[i+1].Type == "register" {
			m, err := s.instantiateAs(ctx, c.Filename, commands[i+1].As)
			if err == nil {
				s.last = m
				s.named[c.Name] = m
			}
			all = append(all, failure(err))
			continue
		}
		all = append(all, s.outcome(ctx, c))
	}
	s.tally.commands.Add(int64(len(commands)))
	s.tally.yields.Add(int64(s.yields))
	return all
}

// TestSpecification runs the tests of the WebAssembly specification on modules as
// they are and as prepared, and demands that nothing differs. It takes every fourth
// file under the race detector and with -short, as it says.
func TestSpecification(t *testing.T) {
	root := specification(t)
	var counts [3]tally
	stride := 1
	if testing.Short() || raceDetector {
		stride = 4
		t.Log("running every fourth file; run without -short and -race for all")
	}
	t.Run("files", func(t *testing.T) {
		for _, version := range []string{"v1", "v2"} {
			files, err := filepath.Glob(filepath.Join(root, version, "testdata", "*.json"))
			if err != nil || len(files) < 50 {
				t.Fatalf("%d files of %s, %v", len(files), version, err)
			}
			for n, file := range files {
				if n%stride > 0 {
					continue
				}
				t.Run(version+"/"+strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
					t.Parallel()
					compare(t, file, &counts)
				})
			}
		}
	})
	for i := range counts {
		n := &counts[i]
		t.Logf("%s: %d modules (%d blocked), %d commands, of which %d returned and %d of text were skipped, %d yields",
			variants[i].name, n.modules.Load(), n.blocked.Load(), n.commands.Load(), n.values.Load(), n.skipped.Load(), n.yields.Load())
		if n.values.Load()*10 < n.commands.Load()*8 || (n.yields.Load() > 0) != (i > 0) {
			t.Errorf("%s: too little was run to prove anything", variants[i].name)
		}
	}
}

// compare runs one file in all variants.
func compare(t *testing.T, file string, counts *[3]tally) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var base struct {
		Commands []command `json:"commands"`
	}
	if err := json.Unmarshal(raw, &base); err != nil {
		t.Fatal(err)
	}
	var want []string
	for i, v := range variants {
		s := newScript(t, filepath.Dir(file), v, &counts[i])
		got := s.run(t.Context(), base.Commands)
		if i == 0 {
			want = got
			continue
		}
		for k, c := range base.Commands {
			if got[k] != want[k] {
				t.Errorf("%s:%d %s %s: %s gives %s, untouched %s", filepath.Base(file), c.Line, c.Type, c.Filename, v.name, got[k], want[k])
			}
		}
	}
}

// specification finds the tests in the engine's module.
func specification(tb testing.TB) string {
	tb.Helper()
	out, err := exec.CommandContext(tb.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		tb.Skipf("where the engine's source is: %v", err)
	}
	root := filepath.Join(strings.TrimSpace(string(out)), "internal", "integration_test", "spectest")
	if _, err := os.Stat(root); err != nil {
		tb.Skipf("the tests of the specification are missing; run go mod download: %v", err)
	}
	return root
}
