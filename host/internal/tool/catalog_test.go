package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// plugins are what Describe and Activate know, by digest.
type plugins struct {
	mu        sync.Mutex
	tools     map[string]abi.ToolList
	fail      map[string]error
	described map[string]int

	activate func(ctx context.Context, c *host.Call, child host.Child, export string, input []byte) ([]byte, error)
}

func (p *plugins) Describe(_ context.Context, digest string) (abi.ToolList, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.described == nil {
		p.described = map[string]int{}
	}
	p.described[digest]++
	return p.tools[digest], p.fail[digest]
}

func (p *plugins) Activate(ctx context.Context, c *host.Call, child host.Child, export string, input []byte) ([]byte, error) {
	return p.activate(ctx, c, child, export, input)
}

func (p *plugins) catalog(sources ...Source) *Catalog {
	c := New(Options{Describe: p.Describe, Activator: p, GuestFault: func(err error) (string, bool) {
		return err.Error(), errors.Is(err, errTrap)
	}})
	c.Replace(sources)
	return c
}

var errTrap = errors.New("the plugin trapped")

func declareTool(name, schema string) abi.Tool {
	return abi.Tool{Name: name, InputSchema: json.RawMessage(schema)}
}

func someTools() *plugins {
	issue := declareTool("create_issue", `{"type":"object","properties":{"title":{"type":"string","maxLength":5},"labels":{"type":"array","items":{"type":"string"}}},"required":["title"],"additionalProperties":false}`)
	search := declareTool("search_issues", `{"type":"object"}`)
	search.Annotations = &abi.ToolAnnotations{ReadOnlyHint: true}
	return &plugins{tools: map[string]abi.ToolList{
		"sha256:github": {Tools: []abi.Tool{issue, search}},
		"sha256:hello":  {Tools: []abi.Tool{{Name: "hello"}}},
		"sha256:basic":  {Tools: []abi.Tool{{Name: "files_read"}, {Name: "files_write"}, {Name: "clock_now"}}},
	}}
}

func sources() []Source {
	return []Source{
		{Name: "github", Plugin: "github", Module: "sha256:github", Needs: []string{"http_fetch"}},
		{Name: "hello", Plugin: "hello", Module: "sha256:hello"},
		{Name: "files", Plugin: "basic", Module: "sha256:basic", Prefix: "files_"},
	}
}

func runOf(selectors ...string) *host.Run {
	return &host.Run{Agent: &host.Agent{Name: "support", Tools: selectors}}
}

func listed(t *testing.T, c *Catalog, selectors ...string) []string {
	t.Helper()
	return listedBy(t, c, &host.Call{Run: runOf(selectors...), Name: abi.CallToolList, Request: []byte("{}")})
}

// listedBy are the names of the tools that a call of tool_list gets.
func listedBy(t *testing.T, c *Catalog, hc *host.Call) []string {
	t.Helper()
	out, err := c.Capabilities()[abi.CallToolList].Perform(t.Context(), hc)
	if err != nil {
		t.Fatal(err)
	}
	var list abi.ToolList
	if err := json.Unmarshal(out.OK, &list); err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, tool := range list.Tools {
		if !validName.MatchString(tool.Name) || len(tool.InputSchema) == 0 {
			t.Errorf("tool %q cannot be shown to a model", tool.Name)
		}
		names = append(names, tool.Name)
	}
	return names
}

func callTool(t *testing.T, c *Catalog, run *host.Run, name, arguments string) (*host.Call, abi.ToolResult, error) {
	t.Helper()
	request, err := json.Marshal(abi.ToolCallParams{Name: name, Arguments: json.RawMessage(arguments)})
	if err != nil {
		t.Fatal(err)
	}
	hc := &host.Call{Run: run, Name: abi.CallToolCall, Request: request}
	k := c.Capabilities()[abi.CallToolCall]
	if hc.Class, err = k.Classify(t.Context(), hc); err != nil {
		return hc, abi.ToolResult{}, err
	}
	out, err := k.Perform(t.Context(), hc)
	if err != nil {
		return hc, abi.ToolResult{}, err
	}
	if want := (abi.Labels{"": {Integrity: abi.Untrusted, Sources: []string{"tool:" + hc.Class.Resource.UID.ID}}}); !cmp.Equal(want, out.Labels) || out.Derived {
		t.Errorf("labels are %v, derived %v", out.Labels, out.Derived)
	}
	var r abi.ToolResult
	return hc, r, errors.Join(json.Unmarshal(out.OK, &r))
}

func code(t *testing.T, err error) abi.Code {
	t.Helper()
	e, ok := errors.AsType[*abi.Error](err)
	if !ok {
		t.Fatalf("error %v is no *abi.Error", err)
	}
	return e.Code
}

func TestSelectors(t *testing.T) {
	c := someTools().catalog(sources()...)
	for _, test := range []struct{ selectors, want []string }{
		{nil, []string{}},
		{[]string{"github"}, []string{"github_create_issue", "github_search_issues"}},
		{[]string{"github.search_issues"}, []string{"github_search_issues"}},
		{[]string{"github.github_search_issues"}, []string{"github_search_issues"}},
		{[]string{"github.search_issues", "github"}, []string{"github_create_issue", "github_search_issues"}},
		{[]string{"github", "github.search_issues"}, []string{"github_create_issue", "github_search_issues"}},
		{[]string{"hello", "files", "github.create_issue"}, []string{"files_read", "files_write", "github_create_issue", "hello"}},
		{[]string{"files.clock_now", "files.read"}, []string{}},
		{[]string{"nothing", "hello.nothing"}, []string{}},
	} {
		if diff := cmp.Diff(test.want, listed(t, c, test.selectors...)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.selectors, diff)
		}
	}
}

func TestVisibleNames(t *testing.T) {
	for _, test := range []struct{ source, own, want string }{
		{"hello", "hello", "hello"},
		{"hello", "hello_again", "hello_again"},
		{"hello", "helloes", "hello_helloes"},
		{"my-tools", "my-tools_a", "my-tools_a"},
		{"s", "a.b/c", "s_a_b_c_15d29afe"},
		{"s", "a b/c", "s_a_b_c_aabfe2a7"},
		{"s", strings.Repeat("x", 70), "s_" + strings.Repeat("x", 53) + "_0e4ee2c0"},
		{"s", strings.Repeat("x", 62), "s_" + strings.Repeat("x", 62)},
	} {
		got := visibleName(test.source, test.own)
		same := got == test.want
		if i := strings.LastIndexByte(test.want, '_'); len(test.want)-i == 9 && test.own != "hello_again" {
			same = strings.HasPrefix(got, test.want[:i+1]) && len(got) == len(test.want)
		}
		if !same || !validName.MatchString(got) {
			t.Errorf("%s of %s: got %s, want %s", test.own, test.source, got, test.want)
		}
	}
	if visibleName("s", "a.b") == visibleName("s", "a/b") {
		t.Error("two tools have one name")
	}
}

func TestEqualNamesAreMadeDifferent(t *testing.T) {
	p := &plugins{tools: map[string]abi.ToolList{
		"sha256:1": {Tools: []abi.Tool{{Name: "b_c"}}}, "sha256:2": {Tools: []abi.Tool{{Name: "c"}}},
	}}
	c := p.catalog(Source{Name: "a", Module: "sha256:1"}, Source{Name: "a_b", Module: "sha256:2"})
	got := listed(t, c, "a", "a_b")
	if len(got) != 2 || got[0] != "a_b_c" || got[1] == got[0] || !slices.Equal(got, listed(t, c, "a_b", "a")) {
		t.Errorf("names are %q", got)
	}
	called := ""
	p.activate = func(_ context.Context, _ *host.Call, child host.Child, _ string, _ []byte) ([]byte, error) {
		called = child.Module
		return []byte(`{"content":[]}`), nil
	}
	for i, name := range got {
		if _, _, err := callTool(t, c, runOf("a", "a_b"), name, `{}`); err != nil || called != []string{"sha256:1", "sha256:2"}[i] {
			t.Errorf("%s calls %s, %v", name, called, err)
		}
	}
}

func TestCall(t *testing.T) {
	p := someTools()
	c := p.catalog(sources()...)
	run := runOf("github")
	p.activate = func(_ context.Context, hc *host.Call, child host.Child, export string, input []byte) ([]byte, error) {
		want := host.Child{Module: "sha256:github", Plugin: "github", Needs: []string{"http_fetch"}}
		if diff := cmp.Diff(want, child); diff != "" || export != "call" || hc.Run != run {
			t.Errorf("activated %s of (-want +got):\n%s", export, diff)
		}
		return []byte(`{"content":[{"type":"text","text":"made"}],"structuredContent":` + string(input) + `,"_meta":{}}`), nil
	}
	hc, got, err := callTool(t, c, run, "github_create_issue", `{"title":"a"}`)
	if err != nil {
		t.Fatal(err)
	}
	want := abi.ToolResult{Content: []abi.Content{abi.Text("made")}, StructuredContent: json.RawMessage(`{"name":"create_issue","arguments":{"title":"a"}}`)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	set := policy.UID{Type: "ToolSet", ID: "github"}
	class := host.Class{
		Action: "github.create_issue", Kind: host.Effect, Recovery: host.RecoverNested,
		Resource: policy.Entity{UID: policy.UID{Type: "Tool", ID: "github.create_issue"}, Parents: []policy.UID{set}, Attrs: map[string]any{"source": "github", "readOnly": false}},
		Entities: []policy.Entity{{UID: set}},
		Child:    &host.Child{Module: "sha256:github", Plugin: "github", Needs: []string{"http_fetch"}},
		Control:  []string{"a"}, Data: []string{},
	}
	if diff := cmp.Diff(class, hc.Class, cmpopts.IgnoreFields(host.Class{}, "State")); diff != "" {
		t.Errorf("class (-want +got):\n%s", diff)
	}
	hc, _, err = callTool(t, c, run, "github.search_issues", `null`)
	if err != nil || hc.Class.Action != "github.search_issues" || hc.Class.Kind != host.Observe || hc.Class.Resource.Attrs["readOnly"] != true {
		t.Errorf("a tool that reads: %+v, %v", hc.Class, err)
	}
}

func TestToolsThatNeedNothingOnlyRead(t *testing.T) {
	p := someTools()
	p.activate = func(context.Context, *host.Call, host.Child, string, []byte) ([]byte, error) {
		return []byte(`{"content":[]}`), nil
	}
	c := p.catalog(sources()...)
	hc, _, err := callTool(t, c, runOf("hello"), "hello", `{}`)
	if err != nil || hc.Class.Action != "hello.hello" || hc.Class.Kind != host.Observe || hc.Class.Resource.Attrs["readOnly"] != true {
		t.Errorf("%+v, %v", hc.Class, err)
	}
}

func TestCallRefused(t *testing.T) {
	p := someTools()
	p.fail = map[string]error{"sha256:broken": errors.New("it does not compile")}
	c := p.catalog(append(sources(), Source{Name: "broken", Module: "sha256:broken"})...)
	for _, test := range []struct {
		selectors       []string
		name, arguments string
		code            abi.Code
		say             string
	}{
		{[]string{"github"}, "github_create_isue", `{}`, abi.CodeNotFound, "it has github_create_issue, github_search_issues"},
		{[]string{"github.search_issues"}, "github_create_issue", `{}`, abi.CodeNotFound, "it has github_search_issues"},
		{[]string{"github.search_issues"}, "github.create_issue", `{}`, abi.CodeNotFound, "github_search_issues"},
		{nil, "hello", `{}`, abi.CodeNotFound, "has no tools"},
		{[]string{"github", "broken"}, "broken_x", `{}`, abi.CodeUnavailable, "it does not compile"},
		{[]string{"gone"}, "gone_x", `{}`, abi.CodeUnavailable, "no tools named gone"},
		{[]string{"github"}, "github_create_issue", `{}`, abi.CodeInvalid, "at /: missing property 'title'"},
		{[]string{"github"}, "github_create_issue", `{"title":"too long"}`, abi.CodeInvalid, "at /title: maxLength"},
		{[]string{"github"}, "github_create_issue", `{"title":"a","labels":["x",1]}`, abi.CodeInvalid, "at /labels/1: got number, want string"},
		{[]string{"github"}, "github_create_issue", `{"title":"a","x":1}`, abi.CodeInvalid, "additional properties 'x' not allowed"},
		{[]string{"github"}, "github_create_issue", `[]`, abi.CodeInvalid, "at /: got array, want object"},
	} {
		_, _, err := callTool(t, c, runOf(test.selectors...), test.name, test.arguments)
		if code(t, err) != test.code || !strings.Contains(err.Error(), test.say) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s %s with %q: got %v, want %s: …%s…", test.name, test.arguments, test.selectors, err, test.code, test.say)
		}
	}
	for _, raw := range []string{`{`, `{"name":"hello","args":{}}`, `{} {}`} {
		hc := &host.Call{Run: runOf("hello"), Name: abi.CallToolCall, Request: []byte(raw)}
		if _, err := c.Capabilities()[abi.CallToolCall].Classify(t.Context(), hc); code(t, err) != abi.CodeInvalid {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestResults(t *testing.T) {
	p := someTools()
	c := p.catalog(sources()...)
	big := `{"content":[{"type":"text","text":"` + strings.Repeat("a", maxResult) + `"}]}`
	for _, test := range []struct{ out, say string }{
		{`{"content":[{"type":"text","text":"no"}],"isError":true}`, "no"},
		{`{`, "hello returned no tool result: unexpected end of JSON input"},
		{``, "no tool result"},
		{`[]`, "no tool result"},
		{`{}`, "neither content nor structuredContent"},
		{`{"content":"text"}`, "no tool result"},
		{`{"content":[{"type":"html"}]}`, `part 0 of its content has the type "html"`},
		{`{"content":[{"type":"image","data":"%"}]}`, "no tool result"},
		{`{"content":[]} {}`, "no tool result"},
		{big, "over the limit of 1048576"},
	} {
		p.activate = func(context.Context, *host.Call, host.Child, string, []byte) ([]byte, error) {
			return []byte(test.out), nil
		}
		_, got, err := callTool(t, c, runOf("hello"), "hello", `{}`)
		if err != nil || !got.IsError || !strings.Contains(abi.TextOf(got.Content), test.say) {
			t.Errorf("%.40s: got %.200v, %v; want %s", test.out, got, err, test.say)
		}
	}
	p.activate = func(context.Context, *host.Call, host.Child, string, []byte) ([]byte, error) {
		return []byte(`{"structuredContent":{"n":1}}`), nil
	}
	if _, got, err := callTool(t, c, runOf("hello"), "hello", `{}`); err != nil || got.IsError || got.Content == nil {
		t.Errorf("structured content alone: %+v, %v", got, err)
	}
}

func TestFaultsOfActivations(t *testing.T) {
	p := someTools()
	c := p.catalog(sources()...)
	fail := func(err error) (abi.ToolResult, error) {
		p.activate = func(context.Context, *host.Call, host.Child, string, []byte) ([]byte, error) { return nil, err }
		_, got, err := callTool(t, c, runOf("hello"), "hello", `{}`)
		return got, err
	}
	if got, err := fail(fmt.Errorf("call: %w", errTrap)); err != nil || !got.IsError || !strings.Contains(abi.TextOf(got.Content), "trapped") {
		t.Errorf("a trap: %+v, %v", got, err)
	}
	for _, cause := range []error{host.ErrStopping, errors.New("disk"), &abi.Error{Code: abi.CodeUnavailable, Message: "x"}} {
		if _, err := fail(cause); !errors.Is(err, cause) {
			t.Errorf("%v becomes %v", cause, err)
		}
	}
}

func TestDescribeIsAskedOnce(t *testing.T) {
	p := someTools()
	entered, release := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	c := New(Options{Describe: func(ctx context.Context, digest string) (abi.ToolList, error) {
		if first.CompareAndSwap(false, true) {
			close(entered)
			<-release
		}
		return p.Describe(ctx, digest)
	}})
	c.Replace(sources())
	impatient, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := c.described.get(impatient, "sha256:hello"); !errors.Is(err, context.Canceled) {
			t.Errorf("who gave up got %v", err)
		}
	})
	<-entered
	for range 8 {
		wg.Go(func() {
			if tools, err := c.described.get(t.Context(), "sha256:hello"); err != nil || len(tools) != 1 {
				t.Errorf("got %v, %v", tools, err)
			}
		})
	}
	cancel()
	close(release)
	wg.Wait()
	if n := p.described["sha256:hello"]; n != 1 {
		t.Errorf("the plugin was asked %d times", n)
	}
}

func TestDescribeFailsAndRecovers(t *testing.T) {
	p := someTools()
	p.fail = map[string]error{"sha256:hello": errors.New("no memory")}
	c := p.catalog(sources()...)
	if got := listed(t, c, "hello", "files"); !slices.Equal(got, []string{"files_read", "files_write"}) {
		t.Errorf("with a broken source: %q", got)
	}
	p.mu.Lock()
	p.fail = nil
	p.mu.Unlock()
	if got := listed(t, c, "hello"); !slices.Equal(got, []string{"hello"}) {
		t.Errorf("once it works: %q", got)
	}
}

func TestReplace(t *testing.T) {
	p := someTools()
	c := p.catalog(sources()...)
	listed(t, c, "hello", "github")
	c.Replace([]Source{{Name: "hello", Module: "sha256:hello"}, {Name: "github", Module: "sha256:basic"}})
	if got := listed(t, c, "hello", "github"); !slices.Equal(got, []string{"github_clock_now", "github_files_read", "github_files_write", "hello"}) {
		t.Errorf("after a reload: %q", got)
	}
	if p.described["sha256:hello"] != 1 {
		t.Error("a plugin that stayed was asked again")
	}
	if len(c.described.all) != 2 {
		t.Errorf("%d descriptions are kept, want 2", len(c.described.all))
	}
}

func TestDescriptionsRefused(t *testing.T) {
	many := abi.ToolList{}
	for i := range maxTools + 1 {
		many.Tools = append(many.Tools, abi.Tool{Name: fmt.Sprint(i)})
	}
	for say, list := range map[string]abi.ToolList{
		"no name":                 {Tools: []abi.Tool{{}}},
		"two tools named a":       {Tools: []abi.Tool{{Name: "a"}, {Name: "a"}}},
		`"a\n": its name`:         {Tools: []abi.Tool{{Name: "a\n"}}},
		`"a\x1b[2J": its name`:    {Tools: []abi.Tool{{Name: "a\x1b[2J"}}},
		`"a\u0085b": its name`:    {Tools: []abi.Tool{{Name: "a\u0085b"}}},
		`"a\xff": its name`:       {Tools: []abi.Tool{{Name: "a\xff"}}},
		"is over 128 bytes":       {Tools: []abi.Tool{{Name: strings.Repeat("x", maxToolName+1)}}},
		"describes 257 tools":     many,
		"description are over":    {Tools: []abi.Tool{{Name: "a", Description: strings.Repeat("x", maxToolText)}}},
		"schemas are over":        {Tools: []abi.Tool{declareTool("a", `{"x":"`+strings.Repeat("x", maxSchema)+`"}`)}},
		"is not an object":        {Tools: []abi.Tool{declareTool("a", `true`)}},
		"is not JSON":             {Tools: []abi.Tool{declareTool("a", `{`)}},
		"not a JSON Schema":       {Tools: []abi.Tool{declareTool("a", `{"type":"strin"}`)}},
		"refers to file:":         {Tools: []abi.Tool{declareTool("a", `{"$ref":"file:///etc/passwd"}`)}},
		"refers to http:":         {Tools: []abi.Tool{declareTool("a", `{"$ref":"http://127.0.0.1/schema"}`)}},
		"refers to https://x.org": {Tools: []abi.Tool{declareTool("a", `{"$schema":"https://x.org/draft"}`)}},
	} {
		if _, err := declare(list); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("got %v, want …%s…", err, say)
		}
	}
}

func TestNear(t *testing.T) {
	names := []string{"files_read", "github_create_issue", "hello", "github_search_issues", "a", "b", "c"}
	got := near("github_create", names)
	if len(got) != maxNear || got[0] != "github_create_issue" {
		t.Errorf("got %q", got)
	}
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"abc", "abc", 0}, {"abc", "abd", 1}, {"abc", "", 3}, {"kitten", "sitting", 3}} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("from %q to %q: got %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

func BenchmarkClassifyCall(b *testing.B) {
	c := someTools().catalog(sources()...)
	k := c.Capabilities()[abi.CallToolCall]
	hc := &host.Call{Run: runOf("github", "hello", "files"), Name: abi.CallToolCall, Request: []byte(`{"name":"github_create_issue","arguments":{"title":"a","labels":["x"]}}`)}
	for b.Loop() {
		if _, err := k.Classify(b.Context(), hc); err != nil {
			b.Fatal(err)
		}
	}
}
