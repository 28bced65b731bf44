package tool

import (
	"fmt"
	"strings"
	"testing"
)

func TestSchemas(t *testing.T) {
	for _, test := range []struct{ schema, arguments, wrong string }{
		{`{"$schema":"http://json-schema.org/draft-07/schema#","properties":{"n":{"type":"integer","minimum":1}}}`, `{"n":0}`, "at /n: minimum: got 0, want 1"},
		{`{"properties":{"n":{"type":"integer"}}}`, `{"n":1.0}`, ""},
		{`{"$defs":{"p":{"type":"object","properties":{"next":{"$ref":"#/$defs/p"},"v":{"type":"string"}}}},"$ref":"#/$defs/p"}`, `{"next":{"next":{"v":1}}}`, "at /next/next/v: got number, want string"},
		{`{"properties":{"a":{"pattern":"^x+$"}}}`, `{"a":"y"}`, "at /a: 'y' does not match pattern '^x+$'"},
		{`{"oneOf":[{"required":["a"]},{"required":["b"]}]}`, `{}`, "at /: missing property 'a'; at /: missing property 'b'"},
		{`{"properties":{"a/b":{"type":"string"}}}`, `{"a/b":1}`, "at /a~1b: got number"},
		{`{"unevaluatedProperties":false}`, `{"a":1}`, "at /a: false schema"},
	} {
		s, err := compile([]byte(test.schema))
		if err != nil {
			t.Errorf("%s: %v", test.schema, err)
			continue
		}
		got := s.check([]byte(test.arguments))
		if (got == "") != (test.wrong == "") || !strings.Contains(got, test.wrong) {
			t.Errorf("%s for %s: got %q, want %q", test.schema, test.arguments, got, test.wrong)
		}
	}
}

// A short schema can ask for more steps than there is time for.
func TestSchemaThatExplodes(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"$ref":"#/$defs/0","$defs":{`)
	for i := range 60 {
		fmt.Fprintf(&b, `"%d":{"anyOf":[{"$ref":"#/$defs/%d"},{"$ref":"#/$defs/%d"}]},`, i, i+1, i+1)
	}
	b.WriteString(`"60":{"type":"string"}}}`)
	for name, schema := range map[string]string{
		"references": b.String(),
		"recursion":  `{"allOf":[{"properties":{"a":{"$ref":"#"}}},{"properties":{"a":{"$ref":"#"}}}]}`,
	} {
		s, err := compile([]byte(schema))
		if err != nil {
			t.Fatal(err)
		}
		arguments := strings.Repeat(`{"a":`, 60) + `1` + strings.Repeat(`}`, 60)
		if got := s.check([]byte(arguments)); !strings.Contains(got, "too many steps") {
			t.Errorf("%s: got %q", name, got)
		}
		if got := s.check([]byte(`"x"`)); name == "recursion" && got != "" {
			t.Errorf("%s: afterwards the schema says %q", name, got)
		}
	}
}

// FuzzSchema feeds what a plugin may say of itself and what a model may ask.
func FuzzSchema(f *testing.F) {
	f.Add([]byte(`{"type":"object","properties":{"a":{"$ref":"#"}}}`), []byte(`{"a":{"a":1}}`))
	f.Add([]byte(`{"$schema":"http://json-schema.org/draft-04/schema#","dependencies":{"a":["b"]}}`), []byte(`{"a":1e400}`))
	f.Add([]byte(`{"pattern":"(a+)+$","minimum":1e9,"multipleOf":0.1}`), []byte(`"aaaaaaaaaaaaaaaa!"`))
	f.Fuzz(func(t *testing.T, schema, arguments []byte) {
		if len(schema) > maxSchema {
			return
		}
		s, err := compile(schema)
		if err != nil {
			return
		}
		if got := s.check(arguments); strings.Contains(got, "\n") {
			t.Errorf("more than one line: %q", got)
		}
	})
}
