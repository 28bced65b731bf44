package audit

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/internal/jcs"
)

// generic writes any JSON in the form of RFC 8785 as far as records need it. It knows
// nothing of records, so it is what Canonical is held against.
func generic(t *testing.T, b []byte) string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return genericValue(v)
}

func genericValue(v any) string {
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys) // all are ASCII, so this is the order of UTF-16 too
		for i, k := range keys {
			keys[i] = string(jcs.AppendString(nil, k)) + ":" + genericValue(v[k])
		}
		return "{" + strings.Join(keys, ",") + "}"
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = genericValue(e)
		}
		return "[" + strings.Join(parts, ",") + "]"
	case string:
		return string(jcs.AppendString(nil, v))
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return string(v)
	}
	panic("no such JSON")
}

// fill sets every field to something random, and with full to something that is not zero.
func fill(v reflect.Value, rnd *rand.Rand, full bool, depth int) {
	if !full && rnd.IntN(3) == 0 {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(rnd.Int64N(lastSecond-1)+1, rnd.Int64N(1e9)).UTC()))
			return
		}
		for _, f := range v.Fields() {
			fill(f, rnd, full, depth)
		}
	case reflect.Pointer:
		if depth > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), rnd, full, depth-1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+rnd.IntN(3), 3))
		for i := range v.Len() {
			fill(v.Index(i), rnd, full, depth)
		}
	case reflect.String:
		const letters = "aZ0.\"\\\n\x01é€<&\U0001F41D\u2028"
		var b strings.Builder
		for range 1 + rnd.IntN(12) {
			runes := []rune(letters)
			b.WriteRune(runes[rnd.IntN(len(runes))])
		}
		v.SetString(b.String())
	case reflect.Bool:
		v.SetBool(full || rnd.IntN(2) == 0)
	case reflect.Uint64, reflect.Uint8:
		v.SetUint(1 + rnd.Uint64N(200))
	case reflect.Int, reflect.Int64:
		v.SetInt(1 + rnd.Int64N(1<<31))
	default:
		panic("records have a field of a new kind: " + v.Kind().String())
	}
}

func randomRecord(rnd *rand.Rand, full bool) policy.Record {
	var r policy.Record
	v := reflect.ValueOf(&r).Elem()
	for _, f := range v.Fields() {
		fill(f, rnd, full, 2)
	}
	r.Hash = ""
	return r
}

// TestCanonical holds the encoder to encoding/json and a general canonical form, with every
// field that a record has.
func TestCanonical(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 500 {
		r := randomRecord(rnd, i < 20)
		plain, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		got := canonical(nil, &r)
		if diff := cmp.Diff(generic(t, plain), string(got)); diff != "" {
			t.Fatalf("canonical form (-want +got):\n%s", diff)
		}
		back, err := decode(got)
		if err != nil {
			t.Fatal(err)
		}
		if again := canonical(nil, &back); !bytes.Equal(got, again) {
			t.Fatalf("read and written again:\n%s\n%s", got, again)
		}
		if want := digestText(digest(got)); back.Hash != want {
			t.Fatalf("hash %s, want %s", back.Hash, want)
		}
	}
}

// TestCanonicalGolden holds the form to what other programs that check hashes expect.
func TestCanonicalGolden(t *testing.T) {
	r := policy.Record{
		ID: "t1.1", Chain: "t1", N: 1, Hash: "sha256:not part of it", Time: time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC),
		Kind: policy.RecordDecision, Tenant: "default", Who: []policy.Actor{{Run: "r", Agent: "a"}, {User: "user1"}},
		Action: "fileWrite", Resource: policy.UID{Type: "File", ID: "a/b.md"}, Evidence: []byte{1, 2, 3},
		Decision: &policy.Decision{Allowed: true, Set: "sha256:00", Policies: []policy.Cause{{ID: "p", File: "f.cedar", Line: 3}}},
	}
	const want = `{"action":"fileWrite","chain":"t1","decision":{"allowed":true,"policies":[{"file":"f.cedar","id":"p","line":3}],"set":"sha256:00"},` +
		`"evidence":"AQID","id":"t1.1","kind":"decision","n":1,"resource":{"id":"a/b.md","type":"File"},"tenant":"default",` +
		`"time":"2026-01-02T03:04:05.0000006Z","who":[{"agent":"a","run":"r"},{"user":"user1"}]}`
	if got := string(canonical(nil, &r)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzDecode(f *testing.F) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 8 {
		r := randomRecord(rnd, false)
		f.Add(canonical(nil, &r))
	}
	f.Add([]byte(`{"time":"0000-01-01T00:00:00Z","decision":{"candidate":{"candidate":{}}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err != nil {
			return
		}
		c := canonical(nil, &r)
		again, err := decode(c)
		if err != nil {
			t.Fatalf("%s: %v", c, err)
		}
		if !bytes.Equal(c, canonical(nil, &again)) {
			t.Errorf("not stable: %s", c)
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add(place{1, "chain", 2}.append(nil))
	f.Add([]byte("a/12345678"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := parsePlace(b); err == nil && !bytes.Equal(p.append(nil), b) {
			t.Errorf("place %x is %+v", b, p)
		}
		if chain, n, err := parseRecordKey(b); err == nil && !bytes.HasSuffix(recordKey("t", chain, n), b) {
			t.Errorf("record key %x is %s %d", b, chain, n)
		}
		if chain, n, err := parseID(string(b)); err == nil && recordID(chain, n) != string(b) {
			t.Errorf("id %q is %s %d", b, chain, n)
		}
		_, _ = parseLeaf(b)
		_, _ = parseCheckpoint(string(b))
	})
}
