package tool

import (
	"context"
	"encoding/json"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/tool/fetch"
	"github.com/vespiary/vespiary/host/internal/tool/file"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/cedar"
)

// public resolves every name to one public address.
type public struct{}

func (public) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
}

func uid(t, id string) policy.UID { return policy.UID{Type: t, ID: id} }

// knownRun is a run with all that it belongs to, as sessions describe it.
func knownRun() *host.Run {
	agent := &host.Agent{Name: "support", Module: "sha256:aa", Tools: []string{"github"}, Roles: []string{"helper"}, Folders: map[string]string{"docs": "/srv/docs"}}
	run := &host.Run{ID: "S/1", Session: "S", Task: "T", Tenant: "home", User: "owner", Owner: "owner", Agent: agent, Module: "sha256:aa"}
	run.Known = &policy.Known{Entities: []policy.Entity{
		{UID: uid("Tenant", "home")},
		{UID: uid("Task", "T"), Attrs: map[string]any{"state": "active", "user": uid("User", "owner"), "restricted": false, "grants": []string{}}},
		{UID: uid("User", "owner"), Parents: []policy.UID{uid("Tenant", "home")}, Attrs: map[string]any{"name": "owner"}},
		{UID: uid("Role", "helper")},
		{UID: uid("Agent", "support"), Parents: []policy.UID{uid("Tenant", "home"), uid("Role", "helper")}, Attrs: map[string]any{"module": uid("Module", "sha256:aa"), "external": false}},
		{UID: uid("Module", "sha256:aa"), Attrs: map[string]any{"name": "loop", "version": ""}},
		{UID: uid("Run", "S/1"), Parents: []policy.UID{uid("Agent", "support"), uid("Task", "T")}, Attrs: map[string]any{
			"agent": uid("Agent", "support"), "task": uid("Task", "T"), "user": uid("User", "owner"), "module": uid("Module", "sha256:aa"), "depth": int64(0),
		}},
	}}
	return run
}

// decide asks a policy about a class as the gate does.
func decide(engine *cedar.Engine, run *host.Run, class host.Class) policy.Decision {
	ctx := map[string]any{
		"now": time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC),
		"flow": map[string]any{
			"pc": int64(2), "control": int64(2), "data": int64(2), "isPublic": false, "readers": []string{"owner"},
			"recipients": class.Recipient, "named": false, "sources": []string{},
		},
		"chain": []policy.UID{uid("Run", run.ID)}, "agents": []policy.UID{uid("Agent", run.Agent.Name)}, "left": map[string]any{"tokens": int64(-1), "usdMicros": int64(-1), "calls": int64(-1)},
		"path": "1/1", "argsDigest": "x",
	}
	maps.Copy(ctx, class.Context)
	return engine.Authorize(context.Background(), &policy.Request{
		Principal: uid("Run", run.ID), Action: uid("Action", class.Action), Resource: class.Resource.UID,
		Context: ctx, Known: run.Known, Entities: append(class.Entities, class.Resource),
	})
}

// actionsOf are the actions that policies get for the tools of all sources.
func actionsOf(t *testing.T, c *Catalog) []cedar.Action {
	t.Helper()
	tools, err := c.Declared(t.Context(), sources())
	if err != nil {
		t.Fatal(err)
	}
	var out []cedar.Action
	for _, d := range tools {
		group := "invokeWriteTool"
		if d.ReadOnly {
			group = "invokeReadTool"
		}
		out = append(out, cedar.Action{Name: d.Action, Groups: []string{group}, Resource: "Tool", Input: d.Schema})
	}
	return out
}

// judged is the catalog of someTools with the arguments of calls as policies see them, and
// a compiler of policies about these tools.
func judged(t *testing.T) (*Catalog, func(policies string) (*cedar.Set, error)) {
	t.Helper()
	plain := someTools().catalog(sources()...)
	actions := actionsOf(t, plain)
	build := func(policies string) (*cedar.Set, error) {
		return cedar.Compile(map[string][]byte{"p.cedar": []byte(policies)}, actions...)
	}
	set, err := build("")
	if err != nil {
		t.Fatal(err)
	}
	opt := plain.opt
	opt.Input = set.Input
	c := New(opt)
	c.Replace(sources())
	return c, build
}

// Every class must be one that the schema knows, and policies that name what they are
// about must find it under that name, and nothing else.
func TestClassesFitTheSchema(t *testing.T) {
	web, err := fetch.New(fetch.Options{Resolver: public{}})
	if err != nil {
		t.Fatal(err)
	}
	tools, compile := judged(t)
	capabilities := map[string]host.Capability{}
	for _, m := range []map[string]host.Capability{tools.Capabilities(), file.New(file.Options{}).Capabilities(), web.Capabilities()} {
		maps.Copy(capabilities, m)
	}
	helper := `principal in Role::"helper", `
	tests := []struct {
		name    string
		request any
		permit  string // the policy that fits this call and no other here
		class   host.Class
		run     *host.Run
	}{
		{name: abi.CallToolList, request: struct{}{}, permit: `permit (` + helper + `action == Action::"listTools", resource == Agent::"support");`},
		{name: abi.CallToolCall, request: abi.ToolCallParams{Name: "github_search_issues"}, permit: `permit (` + helper + `action in Action::"invokeReadTool", resource in ToolSet::"github") when { resource.readOnly && resource.source == "github" };`},
		{name: abi.CallToolCall, request: abi.ToolCallParams{Name: "github_create_issue", Arguments: json.RawMessage(`{"title":"a"}`)}, permit: `permit (` + helper + `action == Action::"github.create_issue", resource) when { context.input.title == "a" && !(context.input has labels) };`},
		{name: abi.CallToolCall, request: abi.ToolCallParams{Name: "github_create_issue", Arguments: json.RawMessage(`{"title":"b","labels":["x","y"]}`)}, permit: `permit (` + helper + `action in Action::"invokeWriteTool", resource == Tool::"github.create_issue") when { action == Action::"github.create_issue" && context.input has labels && context.input.labels.contains("x") };`},
		{name: abi.CallFileRead, request: abi.FileRead{Path: "docs/a.md"}, permit: `permit (` + helper + `action == Action::"fileRead", resource in Folder::"docs") when { resource.inside && resource.readOnly && resource.path like "docs/*.md" };`},
		{name: abi.CallFileRead, request: abi.FileRead{Path: "../x"}, permit: `permit (` + helper + `action == Action::"fileRead", resource == File::"../x") when { !resource.inside };`},
		{name: abi.CallFileList, request: abi.FileList{}, permit: `permit (` + helper + `action in Action::"observe", resource == File::".") when { resource in Folder::"workspace" };`},
		{name: abi.CallFileWrite, request: abi.FileWrite{Path: "a"}, permit: `permit (` + helper + `action == Action::"fileWrite", resource in Folder::"workspace") when { resource.inside && !resource.readOnly };`},
		{name: abi.CallHTTPFetch, request: abi.HTTPRequest{URL: "https://a.example/x?y"}, permit: `permit (` + helper + `action == Action::"httpGet", resource == NetHost::"a.example:443") when { resource.tls && resource.port == 443 && resource.host == "a.example" && context.method == "GET" && context.scheme == "https" && context.urlPath == "/x" && !context.ip.isLoopback() && context.flow.recipients.contains("a.example") };`},
		{name: abi.CallHTTPFetch, request: abi.HTTPRequest{Method: "DELETE", URL: "http://[2606:4700::1111]:81/"}, permit: `permit (` + helper + `action == Action::"httpSend", resource == NetHost::"[2606:4700::1111]:81") when { context.ip == ip("2606:4700::1111") && !resource.tls };`},
	}
	for i := range tests {
		test := &tests[i]
		request, err := json.Marshal(test.request)
		if err != nil {
			t.Fatal(err)
		}
		test.run = knownRun()
		test.class, err = capabilities[test.name].Classify(t.Context(), &host.Call{
			Run: test.run, Name: test.name, Request: request, Ask: func(context.Context, host.Class) error { return nil },
		})
		if err != nil {
			t.Fatalf("%s %s: %v", test.name, request, err)
		}
	}
	for i, test := range tests {
		set, err := compile("@id(\"p\")\n" + test.permit)
		if err != nil {
			t.Errorf("%s: %v", test.permit, err)
			continue
		}
		for j, call := range tests {
			if d := decide(cedar.New(set), call.run, call.class); d.Allowed != (i == j) || len(d.Errors) > 0 {
				t.Errorf("%s %+v: allowed is %v by %s: %v", call.name, call.request, d.Allowed, test.permit, d.Errors)
			}
		}
	}
}

// TestArgumentsThatCannotBeJudged: what policies would see otherwise than the tool does is
// refused before anybody is asked, although the tool's schema takes it.
func TestArgumentsThatCannotBeJudged(t *testing.T) {
	c, _ := judged(t)
	k := c.Capabilities()[abi.CallToolCall]
	for arguments, say := range map[string]string{
		`{"title":"b","title":"a"}`:         "is there twice",
		`{"title":"\ud800"}`:                "no valid text",
		`{"title":"a","labels":["\udfff"]}`: "no valid text",
	} {
		_, err := k.Classify(t.Context(), &host.Call{Run: runOf("github"), Name: abi.CallToolCall, Request: []byte(`{"name":"github_create_issue","arguments":` + arguments + `}`)})
		if err == nil || code(t, err) != abi.CodeInvalid || !strings.Contains(err.Error(), "cannot be judged by policies") || !strings.Contains(err.Error(), say) {
			t.Errorf("%s: got %v, want …%s…", arguments, err, say)
		}
	}
	class, err := k.Classify(t.Context(), &host.Call{Run: runOf("github"), Name: abi.CallToolCall, Request: []byte(`{"name":"github_create_issue","arguments":{"title":"a"}}`)})
	if diff := cmp.Diff(map[string]any{"input": map[string]any{"title": "a"}}, class.Context); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestToolsOfNoUseAreHidden: a tool that the engine could never allow the run is in no list.
func TestToolsOfNoUseAreHidden(t *testing.T) {
	c, compile := judged(t)
	set, err := compile(`@id("p") permit (principal, action == Action::"github.create_issue", resource) when { context.input.title == "a" };`)
	if err != nil {
		t.Fatal(err)
	}
	engine, run := cedar.New(set), knownRun()
	hc := &host.Call{Run: run, Name: abi.CallToolList, Request: []byte("{}"), Could: func(ctx context.Context, class host.Class) bool {
		return engine.Could(ctx, &policy.Request{
			Principal: uid("Run", run.ID), Action: uid("Action", class.Action), Resource: class.Resource.UID,
			Known: run.Known, Entities: append(class.Entities, class.Resource),
		})
	}}
	if diff := cmp.Diff([]string{"github_create_issue"}, listedBy(t, c, hc)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestStarterPoliciesKeepFilesInside(t *testing.T) {
	set, err := cedar.Load(cedar.Starter())
	if err != nil {
		t.Fatal(err)
	}
	engine := cedar.New(set)
	k := file.New(file.Options{}).Capabilities()
	for path, want := range map[string]bool{"notes/x": true, "docs/x": true, "../x": false, "/etc/passwd": false, `..\x`: false} {
		run := knownRun()
		class, err := k[abi.CallFileRead].Classify(t.Context(), &host.Call{Run: run, Name: abi.CallFileRead, Request: []byte(`{"path":` + quote(t, path) + `}`)})
		if err != nil {
			t.Fatal(err)
		}
		if d := decide(engine, run, class); d.Allowed != want || len(d.Errors) > 0 {
			t.Errorf("%s: allowed %v, want %v: %v", path, d.Allowed, want, d.Errors)
		}
	}
}

func quote(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
