package cedar

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// messages are the lines of a joined error, each of which must be a *Problem.
func messages(tb testing.TB, err error) []string {
	tb.Helper()
	if err == nil {
		return nil
	}
	var many interface{ Unwrap() []error }
	if !errors.As(err, &many) {
		tb.Fatalf("not a joined error: %v", err)
	}
	var out []string
	for _, e := range many.Unwrap() {
		var p *Problem
		if !errors.As(e, &p) {
			tb.Fatalf("%v is a %T", e, e)
		}
		out = append(out, p.Error())
	}
	return out
}

func TestCompileProblems(t *testing.T) {
	tests := []struct {
		name, src string
		want      []string
	}{
		{"sound", `@id("a") permit (principal, action, resource);`, nil},
		{"nothing", " // only a comment\n/* ; */", nil},
		{
			"no id", "// note\n\npermit (principal, action, resource);",
			[]string{`p.cedar:3: the policy has no @id, so decisions could not name it; write @id("what-it-does") on the line before permit`},
		},
		{
			"empty id", `@id forbid (principal, action, resource);`,
			[]string{`p.cedar:1: the policy has no @id, so decisions could not name it; write @id("what-it-does") on the line before forbid`},
		},
		{
			"same id", "@id(\"a\") permit (principal, action, resource);\n@id(\"a\") forbid (principal, action, resource);",
			[]string{`p.cedar:2: policy "a": the @id is also that of p.cedar:1; give one of them another @id`},
		},
		{
			"missing bracket", "@id(\"a\")\npermit (principal, action, resource\nwhen { true };",
			[]string{`p.cedar:3: found "when" where ")" was expected; see docs.cedarpolicy.com/policies/syntax-grammar.html`},
		},
		{
			"missing semicolon", "@id(\"a\") permit (principal, action, resource)",
			[]string{`p.cedar:1: the file ends where ";" was expected; see docs.cedarpolicy.com/policies/syntax-grammar.html`},
		},
		{
			"missing semicolon between two", "@id(\"a\") permit (principal, action, resource)\n@id(\"b\") forbid (principal, action, resource);",
			[]string{`p.cedar:2: found "@" where ";" was expected; see docs.cedarpolicy.com/policies/syntax-grammar.html`},
		},
		{
			"open string", "@id(\"a) permit (principal, action, resource);\n@id(\"b\") permit (principal, action, resourc);",
			[]string{
				`p.cedar:1: cannot be read: near literal not terminated; see docs.cedarpolicy.com/policies/syntax-grammar.html`,
			},
		},
		{
			"unknown words", `@id("a") permit (principal in Agnet::"x", action == Action::"fileReed", resource);`,
			[]string{
				"p.cedar:1: policy \"a\": unrecognized action `Action::\"fileReed\"`; did you mean fileRead?",
				"p.cedar:1: policy \"a\": unrecognized entity type `Agnet`; did you mean Agent?",
			},
		},
		{
			"far from any word", `@id("a") permit (principal in Wombat::"x", action, resource);`,
			[]string{"p.cedar:1: policy \"a\": unrecognized entity type `Wombat`; use one of Agent, Approval, Connector, ConnectorScope, File, Folder, Group, Handle, Host, MemorySpace, Model, Module, NetHost, Peer, Provider, Role, Run, Session, Task, Tenant, Tool, ToolSet, User"},
		},
		{
			"unknown attribute", `@id("a") permit (principal, action == Action::"fileRead", resource) when { resource.insde };`,
			[]string{"p.cedar:1: policy \"a\": attribute `insde` on entity type `File` not found; File has inside, path, readOnly"},
		},
		{
			"context of some actions", `@id("a") forbid (principal, action in Action::"egress", resource) when { context.method == "PUT" };`,
			[]string{"p.cedar:1: policy \"a\": attribute `method` is not in the context of any connectorSend, callModel, delegateRemote, embed, emit, reply, resolveName; name in the scope the actions that have it"},
		},
		{
			"optional attribute", `@id("a") permit (principal is Run, action, resource) when { context.now < principal.task.expiresAt };`,
			[]string{"p.cedar:1: policy \"a\": unable to guarantee safety of access to optional attribute `expiresAt` on entity type `Task`; test for it first: write if … has expiresAt then … else …"},
		},
		{
			"group as an action", `@id("a") permit (principal, action == Action::"observe", resource);`,
			[]string{`p.cedar:1: policy "a": Action::"observe" is a group of actions, and no action is equal to it; write action in Action::"observe"`},
		},
		{
			"group of tools as an action", `@id("a") permit (principal, action == Action::"invokeReadTool", resource);`,
			[]string{`p.cedar:1: policy "a": Action::"invokeReadTool" is a group of actions, and no action is equal to it; write action in Action::"invokeReadTool"`},
		},
		{
			"group in conditions", `@id("a") permit (principal, action, resource) when { action == Action::"effect" } unless { Action::"observe" != action };`,
			[]string{
				`p.cedar:1: policy "a": Action::"effect" is a group of actions, and no action is equal to it; write action in Action::"effect"`,
				`p.cedar:1: policy "a": Action::"observe" is a group of actions, and no action is equal to it; write action in Action::"observe"`,
			},
		},
		{
			"group in a list", `@id("a") permit (principal, action in [Action::"invokeReadTool", Action::"fileRead"], resource) when { action in Action::"observe" };`, nil,
		},
		{
			"groups without members", `@id("a") forbid (principal, action in [Action::"connectorSend", Action::"invokeWriteTool"], resource) when { context.left.calls == 0 && context.input == {} };`, nil,
		},
		{
			"tool that is not configured", `@id("a") permit (principal, action == Action::"hello.greet", resource);`,
			[]string{"p.cedar:1: policy \"a\": unrecognized action `Action::\"hello.greet\"`; no tool or connector is configured; add it to the configuration first"},
		},
		{
			"id like a task's", `@id("grants of task 1") permit (principal, action, resource);`,
			[]string{`p.cedar:1: policy "grants of task 1": the @id begins like what a decision says of the grants of a task; give it another @id`},
		},
		{
			"agent as principal", `@id("a") permit (principal == Agent::"x", action, resource);`,
			[]string{"p.cedar:1: policy \"a\": unable to find an applicable action given the policy scope constraints; the principal of a call is a Run (write principal in Agent::\"name\"), who asks something of the host is a User, and each action takes the resource that vespiary.cedarschema says"},
		},
		{
			"no action at all", `@id("a") permit (principal, action in [], resource);`,
			[]string{
				"p.cedar:1: policy \"a\": empty set literals are forbidden in policies; name at least one element",
				"p.cedar:1: policy \"a\": unable to find an applicable action given the policy scope constraints; the principal of a call is a Run (write principal in Agent::\"name\"), who asks something of the host is a User, and each action takes the resource that vespiary.cedarschema says",
			},
		},
		{
			"a run's words about a person", `@id("a") forbid (principal, action, resource) when { principal.depth > 1 || context.left.calls == 0 };`,
			[]string{
				"p.cedar:1: policy \"a\": attribute `depth` on entity type `User` not found; write principal is Run in the scope, since a User asks for some of these actions",
				"p.cedar:1: policy \"a\": attribute `left` is not in the context of what people ask of the host; write principal is Run in the scope, or name there the actions that have it",
			},
		},
		{
			"attribute of no principal", `@id("a") permit (principal, action, resource) when { principal.nope };`,
			[]string{"p.cedar:1: policy \"a\": attribute `nope` on entity type `Run` not found; Run has agent, depth, module, parent, task, user"},
		},
		{
			"wrong types", `@id("a") permit (principal is Run, action, resource) when { principal.depth == "0" };`,
			[]string{"p.cedar:1: policy \"a\": the types Long and String are not compatible; compare it with vespiary.cedarschema"},
		},
		{
			"too deep", `@id("a") permit (principal, action, resource) when { ` + strings.Repeat("(", 100_000) + `true };`,
			[]string{`p.cedar:1: the policy has 100060 bytes, more than 65536; split it, or end it with a semicolon`},
		},
		{
			"too nested", `@id("a") permit (principal, action, resource) when { ` + strings.Repeat("(", 100) + `true };`,
			[]string{`p.cedar:1: brackets are nested more than 64 deep; split the policy`},
		},
		{
			"a semicolon that is none", "@id(\"a;\\\";\") permit (principal, action, resource) // ;\n/* ; \n ; */ when { \"a\" like \";\\*;*\" }; @id(\"a\") permit (principal, action, resource);\n permit",
			[]string{`p.cedar:4: the file ends where "(" was expected; see docs.cedarpolicy.com/policies/syntax-grammar.html`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set, err := Compile(map[string][]byte{"p.cedar": []byte(tt.src)})
			if diff := cmp.Diff(tt.want, messages(t, err)); diff != "" {
				t.Error(diff)
			}
			if (set == nil) != (err != nil) {
				t.Errorf("set %v with error %v", set, err)
			}
		})
	}
}

// One run reports the faults of all files, in order.
func TestCompileReportsAll(t *testing.T) {
	_, err := Compile(map[string][]byte{
		"b.cedar": []byte("permit (principal, action, resource);\n@id(\"x\") permit (principal, action, resource) when { principal.nope };"),
		"a.cedar": []byte("@id(\"x\") permit (principal action, resource);\n\n@id(\"x\") permit (principal, action, resource) when { 1 };"),
	})
	var where []string
	for _, m := range messages(t, err) {
		where = append(where, strings.SplitN(m, ": ", 2)[0])
	}
	// x is named first, though wrongly, in a.cedar:3; a.cedar:1 could not be read.
	want := []string{"a.cedar:1", "a.cedar:3", "b.cedar:1", "b.cedar:2", "b.cedar:2"}
	if diff := cmp.Diff(want, where); diff != "" {
		t.Errorf("%s\n%v", diff, err)
	}
}

func TestLoad(t *testing.T) {
	policyText := func(id string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(`@id("` + id + `") @why("so") permit (principal, action, resource);`)}
	}
	fsys := fstest.MapFS{
		"b.cedar": policyText("b"), "a.cedar": policyText("a"), "sub/c.cedar": policyText("c"), "sub/README.md": policyText("a"),
		".git/x.cedar": policyText("a"), ".hidden.cedar": policyText("a"),
	}
	set, err := Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, p := range set.Policies() {
		order = append(order, p.File)
	}
	if diff := cmp.Diff([]string{"a.cedar", "b.cedar", "sub/c.cedar"}, order); diff != "" {
		t.Error(diff)
	}
	got, _ := set.Policy("c")
	want := Policy{
		ID: "c", File: "sub/c.cedar", Line: 1, Effect: "permit", Annotations: map[string]string{"id": "c", "why": "so"},
		Text: `@id("c") @why("so") permit (principal, action, resource);`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := Load(os.DirFS(filepath.Join(t.TempDir(), "none"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that the folder does not exist", err)
	}
}

func TestDigest(t *testing.T) {
	digest := func(files ...string) string {
		m := map[string][]byte{}
		for i := 0; i < len(files); i += 2 {
			m[files[i]] = []byte(files[i+1])
		}
		s, err := Compile(m)
		if err != nil {
			t.Fatal(err)
		}
		return s.Digest()
	}
	if got, want := digest(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"; got != want {
		t.Errorf("empty: got %s, want %s", got, want)
	}
	if digest("a", "//x", "b", "//y") != digest("b", "//y", "a", "//x") {
		t.Error("the order of files matters")
	}
	distinct := map[string]bool{
		digest("a", "//x", "b", "//y"): true, digest("a", "//y", "b", "//x"): true, digest("a", "//x\n//y"): true,
		digest("a", "", "b", ""): true, digest("ab", ""): true, digest("a", "//xb//y"): true,
		digest("a", "//x"): true, digest("b", "//x"): true,
	}
	if len(distinct) != 8 {
		t.Errorf("%d digests of 8 sets", len(distinct))
	}
}

// What the set holds must not change with the caller's bytes.
func TestCompileKeepsItsOwnBytes(t *testing.T) {
	src := []byte(`@id("a") permit (principal, action, resource);`)
	set, err := Compile(map[string][]byte{"p.cedar": src})
	if err != nil {
		t.Fatal(err)
	}
	copy(src, "XXXX")
	if string(set.files["p.cedar"][:4]) != "@id(" {
		t.Error("the set sees later changes")
	}
}

// Inputs on which recursion could run away, each as large as the limits allow. All
// but those that break a limit are grammatical, so that checker and evaluator run.
func TestCompileHostileInput(t *testing.T) {
	const room = maxStatement - 150
	chain := func(unit, end string) string {
		return strings.Repeat(unit, room/len(unit)) + end
	}
	nested := func(left, inner, right string) string {
		return strings.Repeat(left, maxNesting-4) + inner + strings.Repeat(right, maxNesting-4)
	}
	dots := strings.Repeat(".a", maxDots)
	for name, condition := range map[string]string{
		"not":           chain("!", "true"),
		"minus":         chain("-", "(1)==1"),
		"and":           chain("true&&", "true"),
		"or":            chain("principal.depth==1||", "true"),
		"plus":          chain("1+", "1==1"),
		"path":          "principal" + strings.Repeat(".parent", maxDots) + ".depth == 1",
		"path too long": "principal" + chain(".parent", ""),
		"has":           "context has a" + dots,
		"has, hidden":   "context has a" + chain("./**/a", ""),
		"has, many":     "true" + strings.Repeat("||context has a"+dots, room/200),
		"ifs":           chain("if true then true else ", "true"),
		"then ifs":      strings.Repeat("if true then ", room/25) + "true" + strings.Repeat(" else false", room/25),
		"brackets":      nested("(", "true", ")"),
		"and tree":      nested("(true&&", "true", "&&true)"),
		"or tree":       nested("(principal.depth==1||", "true", "||true)"),
		"if tree":       nested("(if ", "true", " then true else true)"),
		"sets":          nested("[", "1", "]") + " == [[1]]",
		"records":       nested("{a:", "1", "}") + " == {a:1}",
	} {
		t.Run(name, func(t *testing.T) {
			set, err := Compile(map[string][]byte{"p.cedar": []byte(`@id("a") @needs_approval forbid (principal is Run, action, resource) when { ` + condition + ` } unless { context has approval };`)})
			if err != nil {
				messages(t, err)
				return
			}
			New(set).Authorize(t.Context(), ask("fileRead", file("a", "docs", true, false), base(nil)))
		})
	}
}

func FuzzCompile(f *testing.F) {
	for _, name := range []string{"limits.cedar", "agents.cedar", "approvals.cedar", "tools.cedar", "files.cedar"} {
		src, err := fs.ReadFile(Starter(), name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Add([]byte("@id(\"\\u{1}\") permit(principal is Run in Agent::\"a\",action in[],resource)when{if 1 then[]else{a:-1}};"))
	f.Add([]byte("@id(\"a\") @needs_approval(\"\") forbid(principal,action in Action::\"effect\",resource)unless{context has approval.by};"))
	f.Fuzz(func(t *testing.T, src []byte) {
		set, err := Compile(map[string][]byte{"p.cedar": src})
		if err != nil {
			for _, m := range messages(t, err) {
				if !strings.HasPrefix(m, "p.cedar") {
					t.Errorf("no file in %q", m)
				}
			}
			return
		}
		// What compiles must also be decided without a panic, and never by an
		// unnamed policy.
		r := ask("fileRead", file("a", "docs", true, false), base(nil))
		for _, c := range New(set).Authorize(t.Context(), r).Policies {
			if c.ID == "" || c.Line < 1 || c.Line > 1+strings.Count(string(src), "\n") {
				t.Errorf("cause %+v", c)
			}
		}
	})
}
