package policy

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// asRead are the values of a request in the types that ReadEvidence gives them.
func asRead(v any) any {
	switch v := v.(type) {
	case int:
		return int64(v)
	case time.Time:
		return time.UnixMilli(v.UnixMilli()).UTC()
	case *Shared:
		return asRead(v.Value)
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			out[k] = asRead(x)
		}
		return out
	case []any:
		return setAsRead(v)
	case []string:
		return setAsRead(v)
	case []UID:
		return setAsRead(v)
	case []Decimal:
		return setAsRead(v)
	case []map[string]any:
		return setAsRead(v)
	case []int64:
		return setAsRead(v)
	case []int:
		return setAsRead(v)
	case []bool:
		return setAsRead(v)
	case []time.Time:
		return setAsRead(v)
	case []netip.Addr:
		return setAsRead(v)
	}
	return v
}

func setAsRead[T any](in []T) any {
	out := []any{}
	for _, x := range in {
		out = append(out, asRead(x))
	}
	return out
}

func requestAsRead(r *Request) *Request {
	out := *r
	out.Context, _ = asRead(r.Context).(map[string]any)
	entities := func(in []Entity) []Entity {
		var list []Entity
		for _, e := range in {
			e.Attrs, _ = asRead(e.Attrs).(map[string]any)
			list = append(list, e)
		}
		return list
	}
	out.Entities = entities(r.Entities)
	if r.Known != nil {
		out.Known = &Known{Entities: entities(r.Known.Entities)}
	}
	return &out
}

func diff(want, got *Request) string {
	return cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreTypes(Prepared{}), cmpopts.EquateComparable(netip.Addr{}))
}

// maker makes random requests.
type maker struct{ *rand.Rand }

func (m maker) text() string {
	runes := []rune("ab$/\"\\\n\x00é\U0001F41D\u2028<{")
	var b strings.Builder
	for range m.IntN(8) {
		b.WriteRune(runes[m.IntN(len(runes))])
	}
	return b.String()
}

func (m maker) uid() UID { return UID{m.text(), m.text()} }

func many[T any](m maker, one func() T) []T {
	out := []T{}
	for range m.IntN(4) {
		out = append(out, one())
	}
	return out
}

func (m maker) time() time.Time { return time.UnixMicro(m.Int64N(1<<50) - 1e15) }

func (m maker) addr() netip.Addr {
	var a [16]byte
	for i := range a {
		a[i] = byte(m.Uint32())
	}
	switch m.IntN(4) {
	case 0:
		return netip.AddrFrom4([4]byte(a[:4]))
	case 1:
		return netip.AddrFrom16(netip.AddrFrom4([4]byte(a[:4])).As16())
	case 2:
		return netip.AddrFrom16(a).WithZone("eth0\"")
	}
	return netip.AddrFrom16(a)
}

func (m maker) value(depth int) any {
	if depth > 3 {
		return m.text()
	}
	one := func() any { return m.value(depth + 1) }
	makers := []func() any{
		func() any { return m.text() }, func() any { return m.IntN(2) == 0 }, func() any { return m.Int() - 1<<40 },
		func() any { return int64(m.Uint64()) }, func() any { return m.uid() }, func() any { return Decimal("-1.2500") },
		func() any { return m.time() }, func() any { return m.addr() }, func() any { return m.record(depth + 1) },
		func() any { return &Shared{Value: one()} }, func() any { return many(m, one) }, func() any { return many(m, m.text) },
		func() any { return many(m, m.uid) }, func() any { return many(m, m.time) }, func() any { return many(m, m.addr) },
		func() any { return many(m, m.Int64) }, func() any { return many(m, m.Int) },
		func() any { return many(m, func() bool { return m.IntN(2) == 0 }) },
		func() any { return many(m, func() Decimal { return "0.5" }) },
		func() any { return many(m, func() map[string]any { return m.record(depth + 1) }) },
	}
	return makers[m.IntN(len(makers))]()
}

func (m maker) record(depth int) map[string]any {
	out := map[string]any{}
	for range m.IntN(5) {
		out[m.text()] = m.value(depth + 1)
	}
	return out
}

func (m maker) entity() Entity {
	e := Entity{UID: m.uid(), Parents: many(m, m.uid), Attrs: m.record(0)}
	if m.IntN(3) == 0 {
		e.Tags = map[string][]string{m.text(): many(m, m.text), m.text(): many(m, m.text)}
	}
	return e
}

func (m maker) request() *Request {
	r := &Request{Principal: m.uid(), Action: m.uid(), Resource: m.uid(), Context: m.record(0), Entities: many(m, m.entity)}
	if m.IntN(2) == 0 {
		r.Known = &Known{Entities: many(m, m.entity)}
	}
	r.Chain = many(m, func() Hop {
		h := Hop{Principal: m.uid()}
		if m.IntN(2) == 0 {
			h.Grants = &Grants{Task: m.text(), List: many(m, func() Grant {
				return Grant{Actions: many(m, m.text), Resources: many(m, m.uid)}
			})}
		}
		return h
	})
	return r
}

func TestEvidence(t *testing.T) {
	m := maker{rand.New(rand.NewPCG(5, 6))}
	for range 2000 {
		r := m.request()
		for round := range 2 { // the second from what is kept
			b, err := AppendEvidence([]byte("before"), r)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ReadEvidence(bytes.TrimPrefix(b, []byte("before")))
			if err != nil {
				t.Fatalf("%v in round %d of\n%s", err, round, b)
			}
			if d := diff(requestAsRead(r), got); d != "" {
				t.Fatalf("round %d (-want +got):\n%s\n%s", round, d, b)
			}
		}
	}
}

// TestEvidenceGolden holds the form to what is already on record.
func TestEvidenceGolden(t *testing.T) {
	r := &Request{
		Principal: UID{"Run", "s/1"}, Action: UID{"Action", "hello.greet"}, Resource: UID{"Tool", "hello.greet"},
		Context: map[string]any{"input": map[string]any{"$": []any{
			Decimal("1.5"), time.UnixMilli(1), netip.MustParseAddr("::1"), UID{"User", "user1"}, &Shared{Value: true}, "x", -1,
		}}},
		Entities: []Entity{{UID: UID{"User", "user1"}, Parents: []UID{{"Tenant", "t"}}, Tags: map[string][]string{"dept": {"it"}}}},
		Known:    &Known{Entities: []Entity{{UID: UID{"Run", "s/1"}, Attrs: map[string]any{"depth": int64(0)}}}},
		Chain:    []Hop{{UID{"Run", "s/1"}, &Grants{Task: "t1", List: []Grant{{[]string{"observe"}, []UID{{"Tool", "x"}}}}}}, {UID{"Run", "s/0"}, nil}},
	}
	const want = `{"v":1,"p":["Run","s/1"],"a":["Action","hello.greet"],"r":["Tool","hello.greet"],` +
		`"c":{"input":{"$$":[{"$d":"1.5"},{"$t":1},{"$ip":"::1"},{"$e":["User","user1"]},true,"x",-1]}},` +
		`"e":[{"u":["User","user1"],"p":[["Tenant","t"]],"t":{"dept":["it"]}}],"k":[{"u":["Run","s/1"],"a":{"depth":0}}],` +
		`"h":[{"p":["Run","s/1"],"g":{"t":"t1","l":[{"a":["observe"],"r":[["Tool","x"]]}]}},{"p":["Run","s/0"]}]}`
	b, err := AppendEvidence(nil, r)
	if err != nil || string(b) != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, b, want)
	}
	got, err := ReadEvidence([]byte(want))
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(requestAsRead(r), got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestEvidenceRefuses(t *testing.T) {
	endless := map[string]any{}
	endless["again"] = []any{endless}
	var kept *Shared
	for name, v := range map[string]any{
		"nil": nil, "a float": 1.5, "a struct": struct{}{}, "endless": endless, "no address": netip.Addr{},
		"no Shared": kept, "a late time": time.Unix(math.MaxInt64/500, 0), "a list with nil": []any{nil}, "bytes": []byte("x"),
		"in Shared": &Shared{Value: 1.5},
	} {
		for place, r := range map[string]*Request{
			"context":  {Context: map[string]any{"x": v}},
			"entities": {Entities: []Entity{{Attrs: map[string]any{"x": v}}}},
			"known":    {Known: &Known{Entities: []Entity{{Attrs: map[string]any{"x": v}}}}},
		} {
			if b, err := AppendEvidence([]byte("x"), r); err == nil || string(b) != "x" {
				t.Errorf("%s in %s gave %s, %v", name, place, b, err)
			}
		}
	}
}

func TestReadEvidenceRefuses(t *testing.T) {
	whole := `{"v":1,"p":["a","b"],"a":["a","b"],"r":["a","b"],"c":%s}`
	for _, c := range []string{
		`{"x":null}`, `{"x":1.5}`, `{"x":99999999999999999999}`, `{"x":{"$t":"1"}}`, `{"x":{"$ip":"x"}}`, `{"x":{"$e":["a"]}}`,
		`{"x":{"$e":[1,2]}}`, `{"x":{"$what":1}}`, `{"$x":1}`, `{"x":{"$t":1,"y":2}}`, `[]`, `{"x":[[{"$d":1},null]]}`,
		`{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
		`{"x":` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000) + `}`,
	} {
		if r, err := ReadEvidence(fmt.Appendf(nil, whole, c)); err == nil {
			t.Errorf("%.100s was read as %v", c, r.Context)
		}
	}
	for _, b := range []string{
		"", "{}", `null`, `{"v":2}`, `{"v":1,"z":1}`, `{"v":1,"p":["a"]}`, `{"v":1,"e":[{"u":["a","b","c"]}]}`,
		fmt.Sprintf(whole, "{}") + "{}", fmt.Sprintf(whole, `{"x":"`+strings.Repeat("x", maxEvidence)+`"}`),
	} {
		if _, err := ReadEvidence([]byte(b)); err == nil {
			t.Errorf("%.100s was read", b)
		}
	}
}

func FuzzReadEvidence(f *testing.F) {
	m := maker{rand.New(rand.NewPCG(7, 8))}
	for range 8 {
		b, err := AppendEvidence(nil, m.request())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ReadEvidence(b)
		if err != nil {
			return
		}
		again, err := AppendEvidence(nil, r)
		if err != nil {
			return // too deep or late to be written, which is for the writer to say
		}
		back, err := ReadEvidence(again)
		if err != nil {
			t.Fatalf("%s\ncame back as\n%s: %v", b, again, err)
		}
		if d := diff(r, back); d != "" {
			t.Errorf("(-first +second):\n%s", d)
		}
	})
}

// typical is a request like those of a turn.
func typical() *Request {
	run, task, agent := UID{"Run", "01JQ4Z8N4M7Q0W6X2B3C4D5E6F/3/1"}, UID{"Task", "01JQ4Z8N4M7Q0W6X2B3C4D5E6G"}, UID{"Agent", "triage"}
	module, user, tenant := UID{"Module", "sha256:" + strings.Repeat("ab", 32)}, UID{"User", "user1"}, UID{"Tenant", "default"}
	known := &Known{Entities: []Entity{
		{UID: run, Parents: []UID{agent, task}, Attrs: map[string]any{"agent": agent, "task": task, "module": module, "user": user, "depth": int64(0)}},
		{UID: task, Attrs: map[string]any{"state": "active", "user": user, "restricted": false, "grants": []string{}}},
		{UID: agent, Parents: []UID{tenant, {"Role", "writer"}}, Attrs: map[string]any{"module": module, "external": false}},
		{UID: module, Attrs: map[string]any{"name": "loop", "version": "1.2.0"}},
		{UID: user, Parents: []UID{tenant, {"Group", "staff"}}, Attrs: map[string]any{"name": "User One"}},
		{UID: UID{"Group", "staff"}, Parents: []UID{tenant}},
		{UID: tenant},
		{UID: UID{"Role", "writer"}},
	}}
	flow := &Shared{Value: map[string]any{
		"pc": int64(2), "control": int64(2), "data": int64(2), "isPublic": false, "readers": []string{"user1"}, "recipients": []string{},
		"named": false, "sources": []string{"user", "file:workspace/a.md"},
	}}
	return &Request{
		Principal: run, Action: UID{"Action", "fileWrite"}, Resource: UID{"File", "workspace/notes/a.md"}, Known: known,
		Entities: []Entity{{UID: UID{"File", "workspace/notes/a.md"}, Parents: []UID{{"Folder", "workspace"}}, Attrs: map[string]any{
			"path": "notes/a.md", "inside": true, "readOnly": false,
		}}},
		Context: map[string]any{
			"now": time.UnixMilli(1795435200123), "flow": flow, "chain": []UID{run}, "agents": []UID{agent},
			"left": map[string]any{"tokens": int64(190000), "usdMicros": int64(480000), "calls": int64(-1)},
			"path": "3/1/2", "argsDigest": "hmac-sha256:" + strings.Repeat("cd", 32), "method": "PUT", "scheme": "https",
			"urlPath": "/v1/things/7", "ip": netip.MustParseAddr("192.0.2.7"), "note": "a",
		},
		Chain: []Hop{{Principal: run}},
	}
}

func BenchmarkAppendEvidence(b *testing.B) {
	r := typical()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = AppendEvidence(buf[:0], r); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(buf)), "B/request")
}

func BenchmarkReadEvidence(b *testing.B) {
	buf, err := AppendEvidence(nil, typical())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadEvidence(buf); err != nil {
			b.Fatal(err)
		}
	}
}
