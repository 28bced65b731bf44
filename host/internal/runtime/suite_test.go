package runtime_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/runtime"
)

var engines = []struct {
	name string
	make func(runtime.Options) (runtime.Engine, error)
}{
	{"native", runtime.NewNative},
	{"extism", runtime.NewExtism},
}

// step is one call of a behaviour, and what must come of it.
type step struct {
	export string
	input  []byte
	want   []byte
	fails  *runtime.GuestError
	ends   string // part of the reason of a TrapError
}

// behaviours are sequences of calls on a fresh instance. Every guest must show
// every behaviour on every engine.
var behaviours = []struct {
	name  string
	wasi  bool // only guests with WASI
	steps []step
	logs  []string
}{
	{name: "host call", steps: []step{
		{export: "work", input: []byte("hello"), want: []byte("hello")},
		{export: "work"},
	}},
	{name: "config", steps: []step{
		{export: "config", input: []byte("city"), want: []byte("Zürich")},
		{export: "config", input: []byte("missing")},
		{export: "config", input: []byte("empty")},
	}},
	{name: "vars", steps: []step{
		{export: "remember", input: []byte("one")},
		{export: "remember", input: []byte("two"), want: []byte("one")},
		{export: "remember", want: []byte("two")},
		{export: "remember", input: []byte("three")},
	}},
	{
		name:  "logs",
		steps: []step{{export: "logs", input: []byte("hi"), want: []byte("0")}},
		logs:  []string{"DEBUG-4 hi", "DEBUG hi", "INFO hi", "WARN hi", "ERROR hi"},
	},
	{name: "errors", steps: []step{
		{export: "fail", input: []byte("no luck"), fails: &runtime.GuestError{Export: "fail", Code: 1, Message: "no luck"}},
		{export: "softfail", input: []byte("soft"), fails: &runtime.GuestError{Export: "softfail", Message: "soft"}},
		{export: "code", fails: &runtime.GuestError{Export: "code", Code: 7}},
		{export: "echo", input: []byte("still alive"), want: []byte("still alive")},
	}},
	{name: "state", steps: []step{
		{export: "state", want: []byte("1")}, {export: "state", want: []byte("2")}, {export: "state", want: []byte("3")},
	}},
	{name: "http", steps: []step{
		{
			export: "fetch", input: []byte(`{"url":"https://a.example/x","method":"post","headers":{"X-A":"b"}}`),
			want: []byte(`201 {"x-kind":"text"} POST https://a.example/x X-A=b ping`),
		},
		{
			export: "fetch", input: []byte(`{"url":"https://a.example/binary"}`),
			want: []byte("200 {} \xff\x00"),
		},
		{
			export: "fetch", input: []byte(`{"url":"https://denied.example/"}`),
			want: []byte(`403 {"content-type":"application/json","vespiary-error":"denied"} {"error":{"code":"denied","message":"no"}}`),
		},
	}},
	{name: "bad http request", steps: []step{{export: "fetch", input: []byte("no json"), ends: "the host stopped it"}}},
	{name: "widths", steps: []step{{export: "widths", want: widths()}}},
	{name: "churn", steps: []step{{export: "churn", input: u64(500)}}},
	{name: "memory growth", steps: []step{
		{export: "grow", input: u64(5 << 20), want: []byte("ok")},
		{export: "echo", input: bytes.Repeat([]byte("y"), 100_000), want: bytes.Repeat([]byte("y"), 100_000)},
		{export: "grow", input: u64(5 << 20), want: []byte("ok")},
		{export: "state", want: []byte("1")},
	}},
	{name: "trap", steps: []step{{export: "trap", ends: "unreachable"}}},
	{name: "output", wasi: true, steps: []step{{export: "say", input: []byte("x")}}, logs: []string{"INFO out x", "WARN err x"}},
	{name: "exit 0", wasi: true, steps: []step{{export: "exit", input: []byte("0"), want: []byte("bye")}}},
	{name: "exit 3", wasi: true, steps: []step{{export: "exit", input: []byte("3"), ends: "it exited with code 3"}}},
}

func u64(n uint64) []byte { return binary.LittleEndian.AppendUint64(nil, n) }

// widths is what the export of that name computes with 8- and 64-bit accesses at
// odd offsets, and with the lengths of blocks that do and do not exist.
func widths() []byte {
	b := make([]byte, 17)
	binary.LittleEndian.PutUint64(b[1:], 0x0807060504030201)
	b[9] = 0xff
	binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^binary.LittleEndian.Uint64(b[2:]))
	for _, n := range []uint64{17, 17, 0, 0, 0, 0} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

// webHost answers http_fetch with what it was asked, and echoes the rest.
var webHost = hostFunc(func(_ context.Context, name string, request []byte) ([]byte, error) {
	if name != abi.CallHTTPFetch {
		return request, nil
	}
	var r abi.HTTPRequest
	if err := json.Unmarshal(request, &r); err != nil {
		return nil, err
	}
	answer := abi.HTTPResponse{Status: 201, Headers: map[string]string{"X-Kind": "text"}}
	switch {
	case strings.Contains(r.URL, "denied"):
		return json.Marshal(abi.Result{Error: &abi.Error{Code: abi.CodeDenied, Message: "no"}})
	case strings.Contains(r.URL, "binary"):
		answer = abi.HTTPResponse{Status: 200, Body: "/wA=", Base64: true}
	default:
		answer.Body = fmt.Sprintf("%s %s X-A=%s %s", r.Method, r.URL, r.Headers["X-A"], r.Body)
	}
	ok, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	return json.Marshal(abi.Result{OK: ok})
})

func TestGuests(t *testing.T) {
	for _, e := range engines {
		engine := newEngine(t, e.make, options(t))
		for _, g := range guests {
			t.Run(e.name+"/"+g.name, func(t *testing.T) {
				if g.bulk && e.name == "extism" {
					t.Skip("bulk copies are of the native engine")
				}
				testGuest(t, load(t, engine, wasmOf(t, g.name)), g, false)
			})
			if e.name == "native" {
				t.Run("revived/"+g.name, func(t *testing.T) {
					testGuest(t, load(t, engine, wasmOf(t, g.name)), g, true)
				})
			}
		}
	}
}

// testGuest runs the behaviours of a guest, each on one instance, or on one after
// each step that goes on from the state of the last.
func testGuest(t *testing.T, m runtime.Module, g guest, revived bool) {
	t.Helper()
	for _, b := range behaviours {
		if b.wasi && !g.wasi {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			var logged records
			c := config()
			c.Host, c.Log = webHost, logged.log
			c.Vars = map[string]string{"city": "Zürich", "empty": ""}
			i := instantiate(t, m, c)
			for _, s := range b.steps {
				s.run(t, i)
				if revived && s.ends == "" && s.export != "exit" {
					c.State = stateOf(t, i)
					closed(t, i)
					i = instantiate(t, m, c)
				}
			}
			if len(b.logs) > 0 {
				if diff := cmp.Diff(b.logs, logged.lines); diff != "" {
					t.Errorf("log (-want +got):\n%s", diff)
				}
			}
		})
	}
	t.Run("sizes", func(t *testing.T) { testSizes(t, m) })
}

// testSizes echoes inputs around the boundaries of words, size classes and pages.
func testSizes(t *testing.T, m runtime.Module) {
	t.Helper()
	i := instantiate(t, m, config())
	for _, n := range []int{0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 100, 1 << 16, 100_000, 1 << 20} {
		in := make([]byte, n)
		for k := range in {
			in[k] = byte(k*7 + k>>8)
		}
		exports := []string{"echo", "work"}
		if n > 100_000 {
			exports = exports[:1] // a word a host call takes its time
		}
		for _, export := range exports {
			if out := must(t, i, export, in); !bytes.Equal(out, in) {
				t.Errorf("%s of %d bytes returned %d different ones", export, n, len(out))
			}
		}
	}
}

func (s step) run(t *testing.T, i runtime.Instance) {
	t.Helper()
	out, err := i.Call(t.Context(), s.export, s.input)
	var trap *runtime.TrapError
	var failed *runtime.GuestError
	switch {
	case s.fails != nil:
		if !errors.As(err, &failed) {
			t.Fatalf("%s: got %v, want the guest's error", s.export, err)
		}
		if diff := cmp.Diff(s.fails, failed); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.export, diff)
		}
	case s.ends != "":
		if !errors.As(err, &trap) || !strings.Contains(trap.Reason, s.ends) {
			t.Fatalf("%s: got %v, want an end because %s", s.export, err, s.ends)
		}
		if _, err := i.Call(t.Context(), "echo", nil); !errors.Is(err, runtime.ErrUnusable) {
			t.Errorf("echo after %s: %v, want ErrUnusable", s.export, err)
		}
	case err != nil:
		t.Fatalf("%s: %v", s.export, err)
	case !bytes.Equal(out, s.want):
		t.Errorf("%s = %q, want %q", s.export, out, s.want)
	}
}

// TestDeterminism runs a guest twice in equal worlds, on each engine. A guest of
// the native engine finds its randomness untouched, because it was initialised
// elsewhere; but for that the engines agree.
func TestDeterminism(t *testing.T) {
	for _, name := range []string{"c-wasi", "go"} {
		t.Run(name, func(t *testing.T) {
			var told []string
			for _, e := range engines {
				m := load(t, newEngine(t, e.make, options(t)), wasmOf(t, name))
				first, second := must(t, instantiate(t, m, config()), "clock", nil), must(t, instantiate(t, m, config()), "clock", nil)
				if !bytes.Equal(first, second) {
					t.Errorf("equal worlds gave different results on %s: %q, %q", e.name, first, second)
				}
				words := strings.Fields(string(first))
				told = append(told, words[0]+" "+words[1])
			}
			if told[0] != told[1] {
				t.Errorf("the engines differ: %q", told)
			}
			if !strings.Contains(told[0], "2026-03-01") && told[0] != "1772366400 3" {
				t.Errorf("the guest's clock is not ours: %q", told[0])
			}
		})
	}
}
