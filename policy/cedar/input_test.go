package cedar

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	cedarlang "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/policy"
)

// asAST is a policy as the validator takes it.
func asAST(p *cedarlang.Policy) *ast.Policy { return (*ast.Policy)(p.AST()) }

// describeType lists the attributes of a record with their types, by path.
func describeType(out map[string]string, path string, r resolved.RecordType) {
	for name, attr := range r {
		at := path + string(name)
		key := at
		if attr.Optional {
			key += "?"
		}
		out[key] = fullTypeName(attr.Type)
		of, suffix := attr.Type, ""
		for {
			set, ok := of.(resolved.SetType)
			if !ok {
				break
			}
			of, suffix = set.Element, suffix+"[]"
		}
		if nested, ok := of.(resolved.RecordType); ok {
			describeType(out, at+suffix+".", nested)
		}
	}
}

func fullTypeName(t resolved.IsType) string {
	if s, ok := t.(resolved.SetType); ok {
		return "Set<" + fullTypeName(s.Element) + ">"
	}
	return typeName(t)
}

func TestInput(t *testing.T) {
	set, err := Compile(nil, Action{Name: "t.t", Resource: "Tool", Input: []byte(`{
		"properties": {
			"s": {"type": "string"}, "i": {"type": "integer"}, "n": {"type": "number"}, "b": {"type": "boolean"},
			"l": {"type": "array", "items": {"type": "integer"}}, "Mail": {"type": "string"}, "free": {},
			"r": {"type": "object", "properties": {"x": {"type": "number"}, "y": {"type": "array", "items": {"properties": {"z": {"type": "string"}}, "required": ["z"]}}}, "required": ["x"]}
		}, "required": ["s"]}`)}, Action{Name: "t.none", Resource: "Tool"})
	if err != nil {
		t.Fatal(err)
	}
	with := func(more string) string { return `{"s": "x", ` + more + `}` }
	values := func(pairs ...any) map[string]any {
		m := map[string]any{"s": "x"}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(string)] = pairs[i+1]
		}
		return m
	}
	tests := []struct {
		name, arguments string
		want            map[string]any
		fault           string // what comes after "input"
	}{
		{"the least", `{"s": "x"}`, values(), ""},
		{"all", with(`"i": -7, "n": 1.25, "b": true, "l": [1, 2, 1], "r": {"x": 2, "y": [{"z": "a"}]}, "Mail": ""`), values("i", int64(-7), "n", policy.Decimal("1.25"), "b", true, "l", []any{int64(1), int64(2), int64(1)}, "r", map[string]any{"x": policy.Decimal("2.0"), "y": []any{map[string]any{"z": "a"}}}, "Mail", ""), ""},
		{"others", with(`"more": {"s": 1, "s": 2}, "free": [null], "S.": 1`), values(), ""},
		{"null for what may be absent", with(`"i": null, "r": null`), values(), ""},
		{"an empty list", with(`"l": []`), values("l", []any{}), ""},
		{"escapes", `{"\u0073": "\u00e4\ud83d\ude00\\ufffd\ufffd�"}`, map[string]any{"s": "ä😀\\ufffd��"}, ""},
		{"a whole number written otherwise", with(`"i": 1.50e1`), values("i", int64(15)), ""},

		{"nothing", ``, nil, `.s is missing`},
		{"null", ` null `, nil, `.s is missing`},
		{"null for what must be there", `{"s": null}`, nil, `.s is missing`},
		{"missing deep down", with(`"r": {"x": 1, "y": [{"z": "a"}, {}]}`), nil, `.r.y[1].z is missing`},
		{"a list", `[]`, nil, ` is no object where the tool's schema wants one`},
		{"twice", `{"s": "x", "s": "x"}`, nil, `.s is there twice; send it once`},
		{"twice, escaped", `{"s": "x", "\u0073": "y"}`, nil, `.s is there twice; send it once`},
		{"twice, of no type", with(`"free": 1, "free": 2`), nil, `.free is there twice; send it once`},
		{"twice deep down", with(`"r": {"x": 1, "x": 1}`), nil, `.r.x is there twice; send it once`},
		{"another case", with(`"I": 1`), nil, `.I differs from "i" in case only; write it like that`},
		{"another case of letters that fold", with(`"MA\u0130L": 1, "ma\u0131l": 1, "maIl": 1`), nil, `.maIl differs from "Mail" in case only; write it like that`},
		{"a number for a string", `{"s": 1}`, nil, `.s is a JSON number where the tool's schema wants a string`},
		{"a string for a number", with(`"i": "1"`), nil, `.i is a JSON string where the tool's schema wants a number`},
		{"a string for a boolean", with(`"b": "true"`), nil, `.b is a JSON string where the tool's schema wants a boolean`},
		{"an object for a list", with(`"l": {}`), nil, `.l is a JSON object where the tool's schema wants a array`},
		{"a boolean for an element", with(`"l": [1, false]`), nil, `.l[1] is a JSON boolean where the tool's schema wants a number`},
		{"null for an element", with(`"l": [null]`), nil, `.l[0] is a JSON null where the tool's schema wants a number`},
		{"a list for an object", with(`"r": []`), nil, `.r is no object where the tool's schema wants one`},
		{"a fraction", with(`"i": 1.5`), nil, `.i is a number that policies cannot hold exactly`},
		{"a large number", with(`"i": 9223372036854775808`), nil, `.i is a number that policies cannot hold exactly`},
		{"five digits", with(`"n": 0.00001`), nil, `.n is a number that policies cannot hold exactly`},
		{"a lone surrogate", `{"s": "\ud800"}`, nil, `.s is no valid text; send Unicode without lone surrogates`},
		{"half a pair", `{"s": "\ude00\ud83d \ufffd"}`, nil, `.s is no valid text; send Unicode without lone surrogates`},
		{"bytes", "{\"s\": \"\xff\"}", nil, `.s is no valid text; send Unicode without lone surrogates`},
		{"a backslash before it", `{"s": "\\\ud800"}`, nil, `.s is no valid text; send Unicode without lone surrogates`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := set.Input("t.t", []byte(tt.arguments))
			want := `the arguments of "t.t" cannot be decided about: input` + tt.fault
			switch {
			case tt.fault == "" && err != nil, tt.fault != "" && (err == nil || err.Error() != want):
				t.Errorf("got error %v, want %q", err, tt.fault)
			default:
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
	if got, err := set.Input("t.none", []byte(`{"a": 1}`)); err != nil || got == nil || len(got) != 0 {
		t.Errorf("a tool without arguments: %v, %v", got, err)
	}
	for action, want := range map[string]string{
		"t.t2": `no action "t.t2" of a tool or connector; did you mean t.t?`, "fileRead": `no action "fileRead" of a tool`, "any connectorRead": "no action", "": "no action",
	} {
		if _, err := set.Input(action, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", action, err, want)
		}
	}
	for _, broken := range []string{`{`, `{"s": "x"} {}`, `{"s": 01}`, "\x00"} {
		if _, err := set.Input("t.t", []byte(broken)); err == nil || err.Error() != `the arguments of "t.t" are no JSON; send a JSON object` {
			t.Errorf("%q: got %v", broken, err)
		}
	}
}

func TestExactly(t *testing.T) {
	for number, want := range map[string]string{
		"0": "0.0", "-0": "0.0", "-0.0e-99999999999": "0.0", "1": "1.0", "-1": "-1.0", "1e2": "100.0", "1E+2": "100.0", "12.5": "12.5", "0.0001": "0.0001", "-0.05": "-0.05",
		"1.50000": "1.5", "1e-4": "0.0001", "100000e-9": "0.0001", "00.1": "0.1", "922337203685477.5807": "922337203685477.5807", "-922337203685477.5808": "-922337203685477.5808",
		"0.00001": "", "1e-5": "", "922337203685477.5808": "", "-922337203685477.5809": "", "1e15": "", "1e99999999999999999999": "", "1e-99999999999999999999": "", "1e1073741823": "", "1e-1073741823": "",
		"1.00001": "", "123456789012345678901234567890": "",
	} {
		got, err := decimal(number)
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", number, got, err, want)
		}
		if err != nil {
			continue
		}
		v, err := types.ParseDecimal(string(got))
		if err != nil || string(v.MarshalCedar()) != `decimal("`+want+`")` {
			t.Errorf("%s: Cedar reads %q as %v, %v", number, got, v, err)
		}
	}
	if n, err := exactly("-9223372036854775808", 0); n != math.MinInt64 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
}

// Against arithmetic of any precision.
func TestExactlyIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	exact := 0
	for range 20_000 {
		number := strconv.FormatInt(r.Int64()>>r.IntN(63), 10)
		if r.IntN(2) == 0 {
			number = "-" + number
		}
		if r.IntN(2) == 0 {
			number += fmt.Sprintf(".%0*d", 1+r.IntN(6), r.IntN(10))
		}
		if r.IntN(2) == 0 {
			number += fmt.Sprintf("e%d", r.IntN(30)-15)
		}
		want, ok := new(big.Rat).SetString(number)
		if !ok {
			t.Fatal(number)
		}
		want.Mul(want, big.NewRat(10_000, 1))
		n, err := exactly(number, decimalPlaces)
		if fits := want.IsInt() && want.Num().IsInt64(); fits != (err == nil) || fits && want.Num().Int64() != n {
			t.Fatalf("%s: got %d, %v, want %v", number, n, err, want)
		} else if fits {
			exact++
		}
	}
	if exact < 2_000 || exact > 18_000 {
		t.Errorf("%d of 20000 are exact: the test says little", exact)
	}
}

func TestDecimalValues(t *testing.T) {
	r := use(t, starterSet(t), "hello.send", `{"to": ["a"], "amount": 12.50}`)
	set := compile(t, `@id("a") permit (principal, action == Action::"hello.send", resource) when { context.input has amount && context.input.amount.lessThanOrEqual(decimal("12.5")) && context.input.amount == decimal("12.5000") };`)
	if d := New(set).Authorize(t.Context(), r); !d.Allowed {
		t.Errorf("%+v", d)
	}
	for amount, want := range map[any]string{
		policy.Decimal("12"): `the context's "input" "amount" is the number "12", which Cedar cannot hold`, policy.Decimal(""): `the context's "input" "amount" is the number ""`,
		"12.5": `Action::"hello.send": context.input.amount is a String where the schema wants a decimal`, int64(12): `Action::"hello.send": context.input.amount is a Long where the schema wants a decimal`,
	} {
		r.Context["input"] = map[string]any{"to": []string{"a"}, "amount": amount}
		if d := New(set).Authorize(t.Context(), r); d.Allowed || len(d.Errors) != 1 || !strings.HasPrefix(d.Errors[0], want) {
			t.Errorf("%v: got %+v, want %q", amount, d, want)
		}
	}
}

// sample makes a JSON Schema at random, and values that it allows.
type sample struct{ r *rand.Rand }

func (s sample) schema(depth int) map[string]any {
	kinds := []string{"string", "integer", "number", "boolean", "enum", "none", "either"}
	if depth > 0 {
		kinds = append(kinds, "object", "object", "array", "array", "nullable")
	}
	switch kind := kinds[s.r.IntN(len(kinds))]; kind {
	case "object":
		return s.object(depth - 1)
	case "array":
		return map[string]any{"type": "array", "items": s.schema(depth - 1)}
	case "nullable":
		return map[string]any{"anyOf": []any{s.schema(depth - 1), map[string]any{"type": "null"}}}
	case "either":
		return map[string]any{"type": []any{"string", "boolean"}}
	case "none":
		return map[string]any{}
	case "enum":
		return map[string]any{"enum": []any{"a", "b\n\""}}
	default:
		return map[string]any{"type": kind}
	}
}

func (s sample) object(depth int) map[string]any {
	properties, required := map[string]any{}, []any{}
	for i := range s.r.IntN(5) {
		name := []string{"a", "b c", "if", "ü", "\"x"}[i]
		if properties[name] = s.schema(depth); s.r.IntN(2) == 0 {
			required = append(required, name)
		}
	}
	return map[string]any{"type": "object", "properties": properties, "required": required}
}

func (s sample) value(schema map[string]any) any {
	if either, ok := schema["anyOf"].([]any); ok {
		if s.r.IntN(3) == 0 {
			return nil
		}
		return s.value(either[0].(map[string]any))
	}
	if values, ok := schema["enum"].([]any); ok {
		return values[s.r.IntN(len(values))]
	}
	switch schema["type"] {
	case "string":
		return []string{"", "x", "ü\u2028\x00", "\"\\", "\uFFFD"}[s.r.IntN(5)]
	case "integer":
		return s.r.Int64() >> s.r.IntN(63)
	case "number":
		return json.Number(fmt.Sprintf("%d.%d", s.r.IntN(100)-50, s.r.IntN(10_000)))
	case "boolean":
		return s.r.IntN(2) == 0
	case "array":
		list := make([]any, s.r.IntN(4))
		for i := range list {
			list[i] = s.value(schema["items"].(map[string]any))
		}
		return list
	case "object":
		return s.fields(schema)
	default:
		return []any{nil, "x", true}[s.r.IntN(3)]
	}
}

func (s sample) fields(schema map[string]any) map[string]any {
	out := map[string]any{}
	for name, of := range schema["properties"].(map[string]any) {
		if slices.Contains(schema["required"].([]any), any(name)) || s.r.IntN(2) == 0 {
			out[name] = s.value(of.(map[string]any))
		}
	}
	if s.r.IntN(3) == 0 {
		out["more"] = []any{map[string]any{"a": 1}}
	}
	return out
}

// What a JSON Schema allows has the type that is made of it.
func TestInputOfWhatIsAllowed(t *testing.T) {
	attrs := 0
	for seed := range uint64(200) {
		s := sample{rand.New(rand.NewPCG(seed, 5))}
		jsonSchema := s.object(4)
		src, err := json.Marshal(jsonSchema)
		if err != nil {
			t.Fatal(err)
		}
		set, err := Compile(nil, Action{Name: "a.b", Resource: "Tool", Input: src})
		if err != nil {
			t.Fatalf("%v in %s", err, src)
		}
		declared, _ := set.words.input("a.b")
		for range 20 {
			arguments, err := json.Marshal(s.fields(jsonSchema))
			if err != nil {
				t.Fatal(err)
			}
			input, err := set.Input("a.b", arguments)
			if err != nil {
				t.Fatalf("%v: %s of %s", err, arguments, src)
			}
			converted, err := record(input, 0)
			if err != nil {
				t.Fatal(err)
			}
			if m := recordMismatch("input", converted, declared); m != "" {
				t.Fatalf("%s: %s of %s", m, arguments, src)
			}
			attrs += len(input)
		}
	}
	if attrs < 2_000 {
		t.Errorf("%d attributes in all: the test says little", attrs)
	}
}

// FuzzInput looks for arguments that two readers could take for different ones.
func FuzzInput(f *testing.F) {
	set, err := Compile(nil, tools...)
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{`{"name":"x","times":1}`, `{"name":"\ud800","NAME":1}`, `{"to":["a",null],"amount":1e400}`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, arguments []byte) {
		for _, a := range tools {
			input, err := set.Input(a.Name, arguments)
			if err != nil {
				continue
			}
			got, err := record(input, 0)
			if err != nil {
				t.Fatal(err)
			}
			declared, _ := set.words.input(a.Name)
			if m := recordMismatch("input", got, declared); m != "" {
				t.Error(m)
			}
		}
	})
}
