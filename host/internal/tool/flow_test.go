package tool

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// mailSchema marks a property in every way that there is, and in some that there are not.
const mailSchema = `{"type":"object","properties":{
	"to":{"type":["string","array","object"],"x-vespiary":"recipient"},
	"cc":{"x-vespiary":"recipient"},
	"body":{"x-vespiary":"data"},
	"folder":{"type":"string","x-vespiary":"control"},
	"plain":{},
	"odd":{"x-vespiary":"nonsense"},
	"list":{"x-vespiary":["data"]},
	"deep":{"type":"object","properties":{"inner":{"x-vespiary":"data"}}}
}}`

func declaredMail(t *testing.T) *declared {
	t.Helper()
	d, err := declareOne(declareTool("mail", mailSchema))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFlow(t *testing.T) {
	d := declaredMail(t)
	for _, test := range []struct {
		arguments                 string
		control, data, recipients []string
	}{
		{arguments: `{}`, control: []string{}, data: []string{}},
		{arguments: `{"body":"b"}`, control: []string{}, data: []string{"b"}},
		{arguments: `{"folder":"f"}`, control: []string{"f"}, data: []string{}},
		{arguments: `{"plain":"p","body":"b"}`, control: []string{"p"}, data: []string{"b"}},
		{arguments: `{"odd":"o","list":"l"}`, control: []string{"o", "l"}, data: []string{}},
		// Marks further down are not read: what is around them says where and how much.
		{arguments: `{"deep":{"inner":"i"}}`, control: []string{"i"}, data: []string{}},
		{arguments: `{"to":"u1"}`, control: []string{"u1"}, data: []string{}, recipients: []string{"u1"}},
		{arguments: `{"to":["u2","u1"],"cc":"u2","body":"u3"}`, control: []string{"u2", "u1", "u2"}, data: []string{"u3"}, recipients: []string{"u1", "u2"}},
		// Every kind of value is a word.
		{arguments: `{"plain":[1,-2.50,1e3,true,false,null,"",[],{}]}`, control: []string{"1", "-2.50", "1e3", "true", "false", "null", ""}, data: []string{}},
		{arguments: `{"plain":"\u00e9\n"}`, control: []string{"é\n"}, data: []string{}},
		// A name that the schema does not have was made up, like a value.
		{arguments: `{"to":{"u1":true}}`, control: []string{"u1", "true"}, data: []string{}, recipients: []string{"true", "u1"}},
		{arguments: `{"plain":{"x":[{"y":"z"}],"inner":"i"}}`, control: []string{"x", "y", "z", "i"}, data: []string{}},
		{arguments: `{"body":{"x":1}}`, control: []string{}, data: []string{"x", "1"}},
		{arguments: `{"new":"n","Body":"b"}`, control: []string{"new", "n", "Body", "b"}, data: []string{}},
		// Nobody knows which of two a tool takes.
		{arguments: `{"to":"u1","to":"u2"}`, control: []string{"u1", "u2"}, data: []string{}, recipients: []string{"u1", "u2"}},
		{arguments: `{"plain":{"x":"1","x":"2"}}`, control: []string{"x", "1", "x", "2"}, data: []string{}},
		// What is no object is not known.
		{arguments: `["u1"]`},
		{arguments: `"u1"`},
		{arguments: ``},
		{arguments: `{"plain":"p","body":`},
		{arguments: `{"plain"`},
	} {
		control, data, recipients := d.flow([]byte(test.arguments))
		for _, part := range []struct {
			name      string
			want, got []string
		}{{"control", test.control, control}, {"data", test.data, data}, {"recipients", test.recipients, recipients}} {
			if diff := cmp.Diff(part.want, part.got); diff != "" {
				t.Errorf("%s of %s (-want +got):\n%s", part.name, test.arguments, diff)
			}
		}
	}
}

// numbered is a JSON list of n strings.
func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"u%03d"`, i)
	}
	return "[" + strings.TrimPrefix(b.String(), ",") + "]"
}

func TestFlowIsBounded(t *testing.T) {
	d := declaredMail(t)
	half := numbered(maxLeaves / 2)
	for _, test := range []struct {
		arguments string
		known     bool
	}{
		{`{"plain":` + numbered(maxLeaves) + `}`, true},
		{`{"plain":` + numbered(maxLeaves+1) + `}`, false},
		{`{"plain":` + half + `,"body":` + half + `}`, true},
		{`{"plain":` + half + `,"body":` + half + `,"folder":"f"}`, false},
		{`{"body":` + numbered(10*maxLeaves) + `}`, false},
	} {
		control, data, _ := d.flow([]byte(test.arguments))
		if (control != nil) != test.known || (data != nil) != test.known {
			t.Errorf("%.60s…: %d and %d values, want them known: %v", test.arguments, len(control), len(data), test.known)
		}
	}
	// A value at the bottom of many lists is read in one pass.
	deep := `{"plain":` + strings.Repeat("[", 5000) + `"` + strings.Repeat("x", 1<<20) + `"` + strings.Repeat("]", 5000) + `}`
	if control, _, _ := d.flow([]byte(deep)); len(control) != 1 || len(control[0]) != 1<<20 {
		t.Errorf("a value far down: %d values", len(control))
	}
}

// TestRecipientsAreAllThere: a policy that looks at who gets the arguments sees each of
// them, or the call is refused.
func TestRecipientsAreAllThere(t *testing.T) {
	p := &plugins{tools: map[string]abi.ToolList{"sha256:mail": {Tools: []abi.Tool{declareTool("send", mailSchema)}}}}
	k := p.catalog(Source{Name: "mail", Module: "sha256:mail"}).Capabilities()[abi.CallToolCall]
	classify := func(arguments string) (host.Class, error) {
		return k.Classify(t.Context(), &host.Call{Run: runOf("mail"), Name: abi.CallToolCall, Request: []byte(`{"name":"mail_send","arguments":` + arguments + `}`)})
	}
	// The values are too many to be known, and yet all recipients are.
	class, err := classify(`{"to":` + numbered(maxLeaves) + `,"body":"b"}`)
	if err != nil || len(class.Recipient) != maxLeaves || !slices.IsSorted(class.Recipient) || class.Control != nil || class.Data != nil {
		t.Errorf("%d recipients, control %v, data %v: %v", len(class.Recipient), class.Control, class.Data, err)
	}
	_, err = classify(`{"to":` + numbered(maxLeaves+1) + `}`)
	if err == nil || code(t, err) != abi.CodeInvalid || !strings.Contains(err.Error(), "name 65 who would get them, over the limit of 64") {
		t.Errorf("one too many: %v", err)
	}
}

// FuzzFlow: whatever the arguments are, both parts are known or neither is, and who gets
// them is part of what says to whom.
func FuzzFlow(f *testing.F) {
	d, err := declareOne(declareTool("mail", mailSchema))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{`{"to":["a",{"b":1}],"body":null,"x":{"y":[true]}}`, `{"to":"a","to":"b"}`, `[]`, `{`, `{"a":"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arguments string) {
		control, data, recipients := d.flow([]byte(arguments))
		if (control == nil) != (data == nil) {
			t.Fatalf("control %v, data %v", control, data)
		}
		if len(control)+len(data) > maxLeaves {
			t.Fatalf("%d values", len(control)+len(data))
		}
		if control != nil && len(recipients) > 0 {
			for _, r := range recipients {
				if !slices.Contains(control, r) {
					t.Fatalf("recipient %q is not among control %q", r, control)
				}
			}
		}
	})
}
