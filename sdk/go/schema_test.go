package vespiary

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type base struct {
	ID    string `json:"id" doc:"of the thing"`
	Shade string `json:"shade"`
}

type tree struct {
	Name string `json:"name"`
	Kids []tree `json:"kids,omitempty"`
}

type everything struct {
	base
	*Outer
	Shade   int               `json:"shade" doc:"the outer field wins"`
	Level   string            `json:"level,omitempty" enum:"low,high" jsonschema:"how much"`
	Step    int               `json:"step,omitzero" enum:"1,2"`
	Ratio   float64           `json:"ratio"`
	On      bool              `json:"on"`
	Tags    []string          `json:"tags"`
	Pair    [2]int8           `json:"pair"`
	Counts  map[string]uint16 `json:"counts"`
	Due     time.Time         `json:"due"`
	Maybe   *int              `json:"maybe"`
	Raw     json.RawMessage   `json:"raw,omitempty"`
	Any     any               `json:"any,omitempty"`
	Bytes   []byte            `json:"bytes,omitempty"`
	Addr    netip.Addr        `json:"addr"`
	Inner   tree              `json:"inner"`
	Plain   string
	Skipped string `json:"-"`
	Quoted  int64  `json:"quoted,string"`
	private string
}

type Outer struct {
	Far string `json:"far,omitempty"`
}

func TestSchema(t *testing.T) {
	_ = everything{}.private
	tests := []struct {
		name   string
		typ    reflect.Type
		output bool
		want   string
	}{
		{"empty input", reflect.TypeFor[struct{}](), false, `{"type":"object","properties":{},"additionalProperties":false}`},
		{"nothing is null where left out", reflect.TypeFor[struct {
			A []int `json:"a,omitempty"`
			B []int `json:"b"`
			C *bool `json:"c"`
		}](), true, `{"type":"object","properties":{
			"a":{"type":"array","items":{"type":"integer"}},
			"b":{"type":["array","null"],"items":{"type":"integer"}},
			"c":{"type":["boolean","null"]}},
			"required":["b","c"],"additionalProperties":false}`},
		{"a map", reflect.TypeFor[map[string]bool](), true, `{"type":["object","null"],"additionalProperties":{"type":"boolean"}}`},
		{"everything", reflect.TypeFor[everything](), false, `{"type":"object","properties":{
			"shade":{"type":"integer","description":"the outer field wins"},
			"level":{"type":"string","description":"how much","enum":["low","high"]},
			"step":{"type":"integer","enum":[1,2]},
			"ratio":{"type":"number"},
			"on":{"type":"boolean"},
			"tags":{"type":"array","items":{"type":"string"}},
			"pair":{"type":"array","items":{"type":"integer"}},
			"counts":{"type":"object","additionalProperties":{"type":"integer"}},
			"due":{"type":"string","format":"date-time"},
			"maybe":{"type":"integer"},
			"raw":{},
			"any":{},
			"bytes":{"type":"string","contentEncoding":"base64"},
			"addr":{"type":"string"},
			"inner":{"type":"object","properties":{"name":{"type":"string"},"kids":{"type":"array","items":{}}},
				"required":["name"],"additionalProperties":false},
			"Plain":{"type":"string"},
			"quoted":{"type":"string"},
			"id":{"type":"string","description":"of the thing"},
			"far":{"type":"string"}},
			"required":["shade","ratio","on","tags","pair","counts","due","addr","inner","Plain","quoted","id"],
			"additionalProperties":false}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := schemaOf(test.typ, test.output).json()
			var want, have any
			if err := json.Unmarshal([]byte(test.want), &want); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(got, &have); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestSchemaKeepsTheOrderOfFields(t *testing.T) {
	got := string(schemaOf(reflect.TypeFor[struct {
		Z int `json:"z"`
		A int `json:"a"`
	}](), false).json())
	want := `{"type":"object","properties":{"z":{"type":"integer"},"a":{"type":"integer"}},"required":["z","a"],"additionalProperties":false}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// What a schema of an output says must hold for what encoding/json writes.
func TestOutputsFitTheirSchema(t *testing.T) {
	for _, v := range []any{everything{}, everything{Tags: []string{"a"}, Maybe: new(1), Outer: &Outer{}, Step: 1, Level: "low"}, map[string]int(nil)} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		into := reflect.New(reflect.TypeOf(v)).Interface()
		if err := schemaOf(reflect.TypeOf(v), true).decode(b, into); err != nil {
			t.Errorf("%s: %v", b, err)
		}
	}
}

func TestArguments(t *testing.T) {
	type item struct {
		N int `json:"n"`
	}
	type input struct {
		Path  string          `json:"path"`
		Limit int             `json:"limit,omitempty"`
		Mode  string          `json:"mode,omitempty" enum:"a,b"`
		Items []item          `json:"items,omitempty"`
		Sizes map[string]int  `json:"sizes,omitempty"`
		Raw   json.RawMessage `json:"raw,omitempty"`
		Small int8            `json:"small,omitempty"`
	}
	tests := []struct {
		arguments string
		want      string // of the error; "" accepts
	}{
		{`{"path":"x"}`, ""},
		{`{"path":"x","limit":3,"mode":"b","items":[{"n":1}],"sizes":{"a":1},"raw":[{}]}`, ""},
		{`{"path":"x","limit":null,"items":null}`, ""},
		{`{}`, `the arguments must have "path"`},
		{`{"path":null}`, `"path" must be of type string`},
		{`{"path":7}`, `"path" must be of type string`},
		{`{"path":"x","limit":1.5}`, `"limit" must be of type integer`},
		{`{"path":"x","limit":"1"}`, `"limit" must be of type integer`},
		{`{"path":"x","mode":"c"}`, `"mode" must be one of "a", "b"`},
		{`{"path":"x","file":"y"}`, `the arguments must not have "file"; there are: path, limit, mode, items, sizes, raw, small`},
		{`{"path":"x","items":[{"n":1},{}]}`, `"items"[1] must have "n"`},
		{`{"path":"x","items":{}}`, `"items" must be of type array`},
		{`{"path":"x","sizes":{"a":"b"}}`, `"a" must be of type integer`},
		{`{"path":"x","small":1000}`, `the arguments do not decode: json: cannot unmarshal number 1000 into Go struct field input.small of type int8`},
		{`[]`, `the arguments must be of type object`},
		{`{"path":`, `the arguments are not JSON: unexpected EOF`},
		{`{"path":"x"} {}`, `the arguments are more than one JSON value`},
	}
	for _, test := range tests {
		var in input
		err := schemaOf(reflect.TypeFor[input](), false).decode(json.RawMessage(test.arguments), &in)
		switch {
		case err == nil && test.want == "" && in.Path != "x":
			t.Errorf("%s: decoded to %+v", test.arguments, in)
		case err == nil && test.want != "", err != nil && err.Error() != test.want:
			t.Errorf("%s: error %v, want %q", test.arguments, err, test.want)
		}
	}
}

func FuzzArguments(f *testing.F) {
	f.Add(`{"shade":1,"ratio":1,"on":true,"tags":[],"pair":[1,2],"counts":{},"due":"2026-01-01T00:00:00Z","addr":"::1","inner":{"name":"x"},"Plain":"","quoted":"1","id":""}`)
	f.Add(`{"inner":{"name":"x","kids":[{"name":1}]}}`)
	s := schemaOf(reflect.TypeFor[everything](), false)
	f.Fuzz(func(t *testing.T, arguments string) {
		var in everything
		if err := s.decode(json.RawMessage(arguments), &in); err == nil && !json.Valid([]byte(arguments)) {
			t.Errorf("accepted %q", arguments)
		}
	})
}
