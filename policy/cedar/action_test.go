package cedar

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/policy"
)

// typesOf are the attributes of context.input with their types, by path. Optional ones
// end with "?".
func typesOf(tb testing.TB, jsonSchema string) map[string]string {
	tb.Helper()
	set, err := Compile(nil, Action{Name: "a.b", Groups: []string{"invokeWriteTool"}, Resource: "Tool", Input: []byte(jsonSchema)})
	if err != nil {
		tb.Fatal(err)
	}
	declared, ok := set.words.input("a.b")
	if !ok {
		tb.Fatal("the action has no input")
	}
	out := map[string]string{}
	describeType(out, "", declared)
	return out
}

func TestInputTypes(t *testing.T) {
	deep := func(n int) string {
		return strings.Repeat(`{"properties":{"p":`, n) + `{"type":"string"}` + strings.Repeat(`}}`, n)
	}
	object := func(properties string) string {
		return `{"type":"object","properties":` + properties + `}`
	}
	tests := []struct {
		name, schema string
		want         map[string]string
	}{
		{"scalars", object(`{"s":{"type":"string"},"i":{"type":"integer"},"n":{"type":"number"},"b":{"type":"boolean"}}`), map[string]string{"s?": "String", "i?": "Long", "n?": "decimal", "b?": "Bool"}},
		{"required", `{"type":"object","properties":{"s":{"type":"string"},"t":{"type":"string"}},"required":["s","u",7]}`, map[string]string{"s": "String", "t?": "String"}},
		{"nullable", `{"properties":{"l":{"type":["string","null"]},"o":{"type":"integer","nullable":true},"a":{"anyOf":[{"type":"boolean"},{"type":"null"}]}},"required":["l","o","a"]}`, map[string]string{"l?": "String", "o?": "Long", "a?": "Bool"}},
		{"lists", object(`{"s":{"type":"array","items":{"type":"string"}},"ss":{"type":"array","items":{"type":"array","items":{"type":"number"}}}}`), map[string]string{"s?": "Set<String>", "ss?": "Set<Set<decimal>>"}},
		{"records", object(`{"r":{"type":"object","properties":{"x":{"type":"integer"},"any":{}},"required":["x"]},"l":{"type":"array","items":{"properties":{"y":{"type":"boolean"}}}}}`), map[string]string{"r?": "Record", "r.x": "Long", "l?": "Set<Record>", "l[].y?": "Bool"}},
		{"enum and const", object(`{"e":{"enum":["a","b"]},"n":{"enum":["a",null]},"i":{"enum":[1,2e0]},"f":{"enum":[1,2.5]},"c":{"const":true},"m":{"enum":["a",1]},"o":{"enum":[{}]},"none":{"enum":[]}}`), map[string]string{"e?": "String", "n?": "String", "i?": "Long", "f?": "decimal", "c?": "Bool"}},
		{"references", `{"properties":{"a":{"$ref":"#/$defs/A~1B"},"b":{"allOf":[{"$ref":"#/$defs/A~1B"}]},"gone":{"$ref":"#/$defs/C"},"far":{"$ref":"https://example.com/x"},"self":{"$ref":"#"}},"$defs":{"A/B":{"type":"string"}}}`, map[string]string{"a?": "String", "b?": "String", "self?": "Record", "self.a?": "String", "self.b?": "String", "self.self?": "Record", "self.self.a?": "String", "self.self.b?": "String", "self.self.self?": "Record", "self.self.self.a?": "String", "self.self.self.b?": "String", "self.self.self.self?": "Record", "self.self.self.self.a?": "String", "self.self.self.self.b?": "String"}},
		{"a circle of references", `{"$ref":"#"}`, nil},
		{"keywords that narrow", object(`{"s":{"type":"string","anyOf":[{"maxLength":3},{"format":"uuid"}],"not":{"const":"x"}}}`), map[string]string{"s?": "String"}},
		{"without a type of ours", object(`{"any":{},"yes":true,"no":false,"null":{"type":"null"},"mixed":{"type":["string","integer"]},"either":{"anyOf":[{"type":"string"},{"type":"integer"}]},"both":{"allOf":[{},{}]},"free":{"type":"object"},"map":{"type":"object","additionalProperties":{"type":"string"}},"list":{"type":"array"},"nulls":{"type":"array","items":{"type":["string","null"]}},"tuple":{"type":"array","prefixItems":[{"type":"string"}],"items":{"type":"string"}},"pair":{"type":"array","items":[{"type":"string"}]},"odd":{"type":7},"odder":{"type":[]},"file":{"type":"file"}}`), nil},
		{"deep", deep(5), map[string]string{"p?": "Record", "p.p?": "Record", "p.p.p?": "Record", "p.p.p.p?": "Record", "p.p.p.p.p?": "String"}},
		{"too deep", deep(6), nil},
		{"lists count", object(`{"l":{"type":"array","items":{"type":"array","items":{"type":"array","items":{"type":"array","items":{"type":"array","items":{"type":"string"}}}}}}}`), nil},
		{"names", object(`{"if":{"type":"string"},"a b":{"type":"string"},"\"}; action x;":{"type":"string"},"ünï":{"type":"string"},"\u0000\n":{"type":"string"},"":{"type":"string"},"\ud800":{"type":"string"},"` + strings.Repeat("n", maxPropertyName+1) + `":{"type":"string"}}`), map[string]string{"if?": "String", "a b?": "String", "\"}; action x;?": "String", "ünï?": "String", "\x00\n?": "String"}},
		{"names that differ in case", object(`{"id":{"type":"string"},"ID":{"type":"integer"},"K":{"type":"string"},"\u212a":{"type":"string"},"ok":{"type":"string"}}`), map[string]string{"ok?": "String"}},
		{"an array", `{"type":"array","items":{"type":"string"}}`, nil},
		{"nothing", ``, nil},
		{"no JSON", `{"type":"object"`, nil},
		{"more than JSON", `{"properties":{"s":{"type":"string"}}} x`, nil},
		{"no object", `["properties"]`, nil},
		{"properties that are none", `{"type":"object","properties":[],"required":"s"}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.want
			if want == nil {
				want = map[string]string{}
			}
			if diff := cmp.Diff(want, typesOf(t, tt.schema)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is too much is left out, always the same.
func TestInputIsBounded(t *testing.T) {
	properties := map[string]any{}
	for i := range 300 {
		properties[fmt.Sprintf("p%03d", i)] = map[string]any{"type": "string"}
	}
	wide, err := json.Marshal(map[string]any{"properties": properties})
	if err != nil {
		t.Fatal(err)
	}
	got := typesOf(t, string(wide))
	if len(got) != maxProperties || got["p000?"] == "" || got["p199?"] == "" {
		t.Errorf("%d properties", len(got))
	}
	// Each level refers to the next twice: 2^30 places, of which few are looked at.
	var defs strings.Builder
	for i := range 30 {
		fmt.Fprintf(&defs, `"d%d":{"properties":{"a":{"$ref":"#/$defs/d%d"},"b":{"$ref":"#/$defs/d%d"}}},`, i, i+1, i+1)
	}
	if got := typesOf(t, `{"$ref":"#/$defs/d0","$defs":{`+defs.String()+`"d30":{"type":"string"}}}`); len(got) != 0 {
		t.Errorf("%d properties of nothing", len(got))
	}
	if got := typesOf(t, `{"properties":{"a":{"type":"string"}},"description":"`+strings.Repeat("x", maxInputSchema)+`"}`); len(got) != 0 {
		t.Errorf("a schema that is too large gave %v", got)
	}
}

func TestGeneratedActions(t *testing.T) {
	set, err := Compile(map[string][]byte{"p.cedar": []byte(`
@id("small") permit (principal, action == Action::"bank.pay", resource) when { context.input.cents <= 100 && context.input.to.contains("a") };
@id("all") permit (principal, action in Action::"connectorSend", resource in Connector::"bank") when { context.input has cents && context.input.cents < 3 };
@id("reads") permit (principal, action in Action::"observe", resource) when { context has input && context.input has q && context.input.q like "*x" };`)},
		Action{Name: "bank.pay", Groups: []string{"connectorSend", "connectorSend"}, Principal: "Run", Resource: "ConnectorScope", Input: []byte(`{"properties":{"cents":{"type":"integer"},"to":{"type":"array","items":{"type":"string"}}},"required":["cents","to"]}`)},
		Action{Name: "wiki.search", Groups: []string{"connectorRead"}, Resource: "ConnectorScope", Input: []byte(`{"properties":{"q":{"type":"string"}}}`)},
		Action{Name: "wiki.list", Groups: []string{"connectorRead"}, Resource: "ConnectorScope"},
	)
	if err != nil {
		t.Fatal(err)
	}
	engine := New(set)
	ask := func(action, arguments string) policy.Decision {
		input, err := set.Input(action, []byte(arguments))
		if err != nil {
			t.Fatal(err)
		}
		scope := policy.Entity{UID: u("ConnectorScope", "bank/main"), Parents: []policy.UID{u("Connector", "bank")}}
		return engine.Authorize(t.Context(), ask(action, scope, base(map[string]any{"input": input})))
	}
	for _, tt := range []struct{ action, arguments, by string }{
		{"bank.pay", `{"cents": 100, "to": ["b", "a"]}`, "small"},
		{"bank.pay", `{"cents": 101, "to": ["a"]}`, ""},
		{"bank.pay", `{"cents": 2, "to": ["a"]}`, "small all"},
		{"bank.pay", `{"cents": 2, "to": []}`, "all"},
		{"wiki.search", `{"q": "find x", "more": 1}`, "reads"},
		{"wiki.search", `{"q": null}`, ""},
		{"wiki.search", ``, ""},
		{"wiki.list", `{"q": "find x"}`, ""},
	} {
		if d := ask(tt.action, tt.arguments); ids(d) != tt.by || len(d.Errors) > 0 {
			t.Errorf("%s %s: %+v", tt.action, tt.arguments, d)
		}
	}
	wrong := ask("wiki.list", "")
	if len(wrong.Errors) > 0 {
		t.Errorf("%+v", wrong)
	}
	r := world("active", nil)
	d := engine.Authorize(t.Context(), &policy.Request{
		Principal: u("Run", "r1"), Action: u("Action", "any invokeReadTool"), Resource: u("Tool", "hello.greet"), Known: r,
		Entities: []policy.Entity{tool(true)}, Context: base(map[string]any{"input": map[string]any{}}),
	})
	if d.Allowed || len(d.Errors) == 0 || !strings.HasPrefix(d.Errors[0], `the schema has no action Action::"any invokeReadTool"`) {
		t.Errorf("a stand-in was asked for: %+v", d)
	}
}

func TestGeneratedActionProblems(t *testing.T) {
	tests := []struct {
		name, src string
		want      []string
	}{
		{"a name near it", `@id("a") permit (principal, action == Action::"hello.gret", resource);`, []string{"p.cedar:1: policy \"a\": unrecognized action `Action::\"hello.gret\"`; no tool or operation of that name is configured; did you mean hello.greet?"}},
		{"a name far from any", `@id("a") permit (principal, action in [Action::"github.create_issue"], resource);`, []string{"p.cedar:1: policy \"a\": unrecognized action `Action::\"github.create_issue\"`; no tool or operation of that name is configured; use one of hello.greet, hello.send"}},
		{"an argument that there is not", `@id("a") permit (principal, action == Action::"hello.greet", resource) when { context.input.nam == "x" };`, []string{"p.cedar:1: policy \"a\": attribute `nam` is not in the context of hello.greet; its context.input has name, times"}},
		{"an argument of one tool", `@id("a") permit (principal, action in Action::"invokeWriteTool", resource) when { context.input.name == "x" };`, []string{"p.cedar:1: policy \"a\": attribute `name` is not in the context of hello.send; its context.input has amount, to"}},
		{"an argument of another type", `@id("a") permit (principal, action == Action::"hello.send", resource) when { context.input.to == "x" };`, []string{"p.cedar:1: policy \"a\": the types String and Set<String> are not compatible; compare it with vespiary.cedarschema"}},
		{"an optional argument", `@id("a") permit (principal, action == Action::"hello.send", resource) when { context.input.amount.lessThan(decimal("1.5")) };`, []string{"p.cedar:1: policy \"a\": unable to guarantee safety of access to optional attribute `input.amount` in context for Action::\"hello.send\"; test for it first: write if … has input.amount then … else …"}},
		{"a resource that it cannot have", `@id("a") permit (principal, action == Action::"hello.send", resource is File);`, []string{"p.cedar:1: policy \"a\": unable to find an applicable action given the policy scope constraints; the principal of a call is a Run (write principal in Agent::\"name\"), who asks something of the host is a User, and each action takes the resource that vespiary.cedarschema says"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Compile(map[string][]byte{"p.cedar": []byte(tt.src)}, tools...)
			if diff := cmp.Diff(tt.want, messages(t, err)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRefusedActions(t *testing.T) {
	tests := []struct {
		name   string
		action Action
		want   string
	}{
		{"no name", Action{Resource: "Tool"}, `has a name of 0 bytes; give it one of 1 to 256`},
		{"a long name", Action{Name: strings.Repeat("n", 257), Resource: "Tool"}, `has a name of 257 bytes`},
		{"a line end", Action{Name: "a\nb", Resource: "Tool"}, `has a name with a control character or of no valid text; rename it`},
		{"no text", Action{Name: "a\xff", Resource: "Tool"}, `has a name with a control character or of no valid text; rename it`},
		{"a fixed action", Action{Name: "fileRead", Resource: "File"}, `has the name of one that the schema has; rename it`},
		{"a group", Action{Name: "observe", Resource: "File"}, `has the name of one that the schema has; rename it`},
		{"a stand-in", Action{Name: "any invokeReadTool", Resource: "Tool"}, `has the name of one that the schema has; rename it`},
		{"twice", tools[0], `is given twice; keep one`},
		{"an unknown resource", Action{Name: "a", Resource: "Wombat"}, `has a resource of type "Wombat", which the schema does not have`},
		{"an unknown principal", Action{Name: "a", Resource: "Tool", Principal: "Run; x"}, `has a principal of type "Run; x", which the schema does not have`},
		{"an unknown group", Action{Name: "a", Resource: "Tool", Groups: []string{"obsrve"}}, `is to be in "obsrve", which is no group of the schema`},
		{"in an action", Action{Name: "a", Resource: "Tool", Groups: []string{"fileRead"}}, `is to be in "fileRead", which is no group of the schema`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Compile(nil, append(slices.Clone(tools), tt.action)...)
			if want := fmt.Sprintf("action %q of the policy schema %s", tt.action.Name, tt.want); err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
	many := make([]Action, maxActions+1)
	for i := range many {
		many[i] = Action{Name: fmt.Sprintf("s.t%d", i), Resource: "Tool"}
	}
	if _, err := Compile(nil, many...); err == nil || !strings.Contains(err.Error(), "2001 actions of tools and connectors, more than 2000") {
		t.Errorf("got %v", err)
	}
}

// Names from outside stay names: whatever a tool calls itself and its arguments, the text
// of the schema reads back as the same schema.
func TestSchemaText(t *testing.T) {
	hostile := []string{`a"; action x appliesTo { principal: Run, resource: Run };`, "a\\", "*/ //", "ünï\u202e", "in", "a.b", "'", `\u{41}`}
	var actions []Action
	for i, name := range hostile {
		input, err := json.Marshal(map[string]any{"properties": map[string]any{name: map[string]any{"type": "string"}, "in\n": map[string]any{"type": "number"}}, "required": []string{name}})
		if err != nil {
			t.Fatal(err)
		}
		actions = append(actions, Action{Name: name, Groups: []string{[]string{"connectorSend", "connectorRead"}[i%2]}, Resource: "ConnectorScope", Input: input})
	}
	set, err := Compile(nil, actions...)
	if err != nil {
		t.Fatal(err)
	}
	checkSchemaText(t, set)
	for _, name := range hostile {
		if _, err := set.Input(name, json.RawMessage(fmt.Sprintf(`{%q: "v"}`, name))); err != nil && !strings.ContainsAny(name, "\\\u202eü") {
			t.Error(err)
		}
	}
	slices.Reverse(actions)
	again, err := Compile(nil, actions...)
	if err != nil || again.Schema() != set.Schema() || again.Digest() != set.Digest() {
		t.Errorf("the order of actions matters: %v", err)
	}
	if empty := compileNone(t); !strings.HasPrefix(empty.Schema(), Schema()) || strings.Count(empty.Schema(), "any ") < len(openGroups) {
		t.Error("without tools the groups have no stand-ins in the schema")
	}
}

func compileNone(t *testing.T) *Set {
	t.Helper()
	set, err := Compile(nil)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// checkSchemaText reads the text of a set's schema back.
func checkSchemaText(tb testing.TB, set *Set) {
	tb.Helper()
	var s schema.Schema
	if err := s.UnmarshalCedar([]byte(set.Schema())); err != nil {
		tb.Fatalf("%v in %s", err, set.Schema())
	}
	read, err := s.Resolve()
	if err != nil {
		tb.Fatal(err)
	}
	if diff := cmp.Diff(set.words.checkable, read, cmp.Comparer(func(a, b types.EntityUIDSet) bool { return a.Equal(b) })); diff != "" {
		tb.Errorf("the text of the schema is another schema: %s", diff)
	}
}

func TestDigestCoversActions(t *testing.T) {
	digest := func(actions ...Action) string {
		set, err := Compile(map[string][]byte{"p.cedar": []byte(open)}, actions...)
		if err != nil {
			t.Fatal(err)
		}
		return set.Digest()
	}
	described := slices.Clone(tools)
	described[0].Input = []byte(`{"type":"object","description":"greets","properties":{"times":{"type":"integer","minimum":1},"name":{"type":"string"}},"required":["name"]}`)
	changed := slices.Clone(tools)
	changed[0].Input = []byte(`{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}`)
	moved := slices.Clone(tools)
	moved[0].Groups = []string{"invokeWriteTool"}
	if digest(tools...) != digest(described...) {
		t.Error("what policies cannot see changes the digest")
	}
	distinct := map[string]bool{digest(): true, digest(tools...): true, digest(tools[0]): true, digest(changed...): true, digest(moved...): true}
	if len(distinct) != 5 {
		t.Errorf("%d digests of 5 sets", len(distinct))
	}
}

// Sets with the same tools share a vocabulary, and it goes with the last of them.
func TestVocabularyIsShared(t *testing.T) {
	first, second := compile(t, open), compile(t, "")
	if first.words != second.words {
		t.Error("two sets with the same tools have two vocabularies")
	}
	if plain := compileNone(t); plain.words == first.words {
		t.Error("two sets with different tools share a vocabulary")
	}
	mine := Action{Name: "only.here", Resource: "Tool"}
	if _, err := Compile(nil, mine); err != nil {
		t.Fatal(err)
	}
	key := digestOf([]Action{mine})
	for range 10 {
		runtime.GC()
		if vocabularies.get(key) == nil {
			return
		}
	}
	t.Error("a vocabulary that nobody uses is kept")
}

// A validator that knows fewer tools finds what one that knows all finds.
func TestCheckersAgree(t *testing.T) {
	var actions []Action
	for i := range 30 {
		a := tools[i%2]
		a.Name = fmt.Sprintf("s%d.t", i)
		if i%5 == 0 {
			a.Input = nil
		}
		actions = append(actions, a)
	}
	words, err := vocabularyOf(actions)
	if err != nil {
		t.Fatal(err)
	}
	few, all := newCheckers(words), validate.New(words.checkable, validate.WithStrict())
	scopes := []string{
		`principal, action, resource`, `principal is Run, action, resource`, `principal, action in Action::"effect", resource`, `principal, action == Action::"s1.t", resource`,
		`principal, action in [Action::"s1.t", Action::"s2.t", Action::"fileRead"], resource`, `principal, action in Action::"invokeReadTool", resource in ToolSet::"s"`,
		`principal, action in [Action::"invokeReadTool", Action::"observe"], resource is Tool`, `principal in Role::"r", action, resource == Tool::"s1.t"`, `principal, action == Action::"nope.t", resource`,
		`principal is User, action in Action::"invokeWriteTool", resource`, `principal, action in [], resource`, `principal, action in [Action::"connectorSend", Action::"nope"], resource`,
	}
	conditions := []string{
		``, `when { context.left.calls > 1 }`, `when { context.nope }`, `when { context.input.name == "x" }`, `when { context has input && context.input has amount }`, `when { context has input.times && context.input.times > 1 }`,
		`when { action == Action::"s3.t" }`, `when { action in [Action::"s3.t", Action::"nope.t"] }`, `when { action == Action::"s4.t" && context.input.name like "*" }`, `when { resource.readOnly }`,
		`when { {c: context}.c has input }`, `when { context == context }`, `when { principal.depth + 1 == "x" }`,
	}
	sound, faulty := 0, 0
	for _, s := range scopes {
		for _, c := range conditions {
			src := `@id("a") permit (` + s + `) ` + c + `;`
			p, problem := parse("p.cedar", statements([]byte(src))[0])
			if problem != nil {
				t.Fatal(problem)
			}
			brief := few.of(asAST(p)).Policy("", asAST(p)) == nil
			if full := all.Policy("", asAST(p)) == nil; brief != full {
				t.Errorf("%s: sound %v, but for all tools %v", src, brief, full)
			} else if full {
				sound++
			} else {
				faulty++
			}
		}
	}
	if sound < 20 || faulty < 20 {
		t.Errorf("only %d are sound and %d are not: the test says little", sound, faulty)
	}
}

func FuzzInputType(f *testing.F) {
	for _, a := range tools {
		f.Add([]byte(a.Input), []byte(`{"name":"x","to":["a"],"amount":1.5}`))
	}
	f.Add([]byte(`{"properties":{"a":{"$ref":"#/properties/b"},"b":{"type":["array","null"],"items":{"properties":{"":{"type":"number"},"\"":{"const":1}},"required":["\""]}}}}`), []byte(`{"b":[{"\"":1e0}]}`))
	f.Add([]byte(`{"properties":{"__cedar":{"type":"string"},"Long":{"enum":[1,2.5,null]},"in":{"nullable":true,"type":"boolean"}}}`), []byte(`{"Long":-0.5,"in":null}`))
	f.Fuzz(func(t *testing.T, jsonSchema, arguments []byte) {
		set, err := Compile(map[string][]byte{"p.cedar": []byte(open)}, Action{Name: "a.b", Groups: []string{"invokeWriteTool"}, Resource: "Tool", Input: jsonSchema})
		if err != nil {
			t.Fatalf("no valid schema: %v", err)
		}
		checkSchemaText(t, set)
		input, err := set.Input("a.b", arguments)
		if err != nil {
			return
		}
		if d := New(set).Authorize(t.Context(), ask("a.b", tool(false), base(map[string]any{"input": input}))); !d.Allowed {
			t.Errorf("input %v does not have its type: %v", input, d.Errors)
		}
	})
}

func FuzzActionName(f *testing.F) {
	f.Add("a.b", "x")
	f.Add("\"", "\\\"\n")
	f.Add("__cedar", "__cedar::x")
	f.Fuzz(func(t *testing.T, name, property string) {
		key, err := json.Marshal(property)
		if err != nil {
			t.Skip()
		}
		set, err := Compile(nil, Action{Name: name, Groups: []string{"connectorSend"}, Resource: "ConnectorScope", Input: fmt.Appendf(nil, `{"properties":{%s:{"type":"string"}}}`, key)})
		if err != nil {
			if !strings.Contains(err.Error(), "of the policy schema") {
				t.Error(err)
			}
			return
		}
		checkSchemaText(t, set)
	})
}
