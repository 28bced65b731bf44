package tool

import (
	"context"
	"encoding/json"
	"maps"
	"net/netip"
	"testing"
	"time"

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
		{UID: uid("Task", "T"), Attrs: map[string]any{"state": "active", "user": uid("User", "owner")}},
		{UID: uid("User", "owner"), Parents: []policy.UID{uid("Tenant", "home")}, Attrs: map[string]any{"name": "owner"}},
		{UID: uid("Role", "helper")},
		{UID: uid("Agent", "support"), Parents: []policy.UID{uid("Tenant", "home"), uid("Role", "helper")}, Attrs: map[string]any{"module": uid("Module", "sha256:aa")}},
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
		"chain": []policy.UID{uid("Run", run.ID)}, "left": map[string]any{"tokens": int64(-1), "usdMicros": int64(-1), "calls": int64(-1)},
		"path": "1/1", "argsDigest": "x",
	}
	maps.Copy(ctx, class.Context)
	return engine.Authorize(context.Background(), &policy.Request{
		Principal: uid("Run", run.ID), Action: uid("Action", class.Action), Resource: class.Resource.UID,
		Context: ctx, Known: run.Known, Entities: append(class.Entities, class.Resource),
	})
}

// Every class must be one that the schema knows, and policies that name what they are
// about must find it under that name.
func TestClassesFitTheSchema(t *testing.T) {
	web, err := fetch.New(fetch.Options{Resolver: public{}})
	if err != nil {
		t.Fatal(err)
	}
	capabilities := map[string]host.Capability{}
	for _, m := range []map[string]host.Capability{someTools().catalog(sources()...).Capabilities(), file.New(file.Options{}).Capabilities(), web.Capabilities()} {
		maps.Copy(capabilities, m)
	}
	helper := `principal in Role::"helper", `
	for _, test := range []struct {
		name    string
		request any
		permit  string // the policy that fits this call and no other here
	}{
		{abi.CallToolList, struct{}{}, `permit (` + helper + `action == Action::"listTools", resource == Agent::"support");`},
		{abi.CallToolCall, abi.ToolCallParams{Name: "github_search_issues"}, `permit (` + helper + `action == Action::"invokeReadTool", resource in ToolSet::"github") when { resource.readOnly && resource.source == "github" };`},
		{abi.CallToolCall, abi.ToolCallParams{Name: "github_create_issue", Arguments: json.RawMessage(`{"title":"a"}`)}, `permit (` + helper + `action in Action::"effect", resource == Tool::"github.create_issue");`},
		{abi.CallFileRead, abi.FileRead{Path: "docs/a.md"}, `permit (` + helper + `action == Action::"fileRead", resource in Folder::"docs") when { resource.inside && resource.readOnly && resource.path like "docs/*.md" };`},
		{abi.CallFileRead, abi.FileRead{Path: "../x"}, `permit (` + helper + `action == Action::"fileRead", resource == File::"../x") when { !resource.inside };`},
		{abi.CallFileList, abi.FileList{}, `permit (` + helper + `action in Action::"observe", resource == File::".") when { resource in Folder::"workspace" };`},
		{abi.CallFileWrite, abi.FileWrite{Path: "a"}, `permit (` + helper + `action == Action::"fileWrite", resource in Folder::"workspace") when { resource.inside && !resource.readOnly };`},
		{abi.CallHTTPFetch, abi.HTTPRequest{URL: "https://a.example/x?y"}, `permit (` + helper + `action == Action::"httpGet", resource == NetHost::"a.example:443") when { resource.tls && resource.port == 443 && resource.host == "a.example" && context.method == "GET" && context.scheme == "https" && context.urlPath == "/x" && !context.ip.isLoopback() };`},
		{abi.CallHTTPFetch, abi.HTTPRequest{Method: "DELETE", URL: "http://[2606:4700::1111]:81/"}, `permit (` + helper + `action == Action::"httpSend", resource == NetHost::"[2606:4700::1111]:81") when { context.ip == ip("2606:4700::1111") && !resource.tls };`},
	} {
		request, err := json.Marshal(test.request)
		if err != nil {
			t.Fatal(err)
		}
		run := knownRun()
		class, err := capabilities[test.name].Classify(t.Context(), &host.Call{
			Run: run, Name: test.name, Request: request, Ask: func(context.Context, host.Class) error { return nil },
		})
		if err != nil {
			t.Errorf("%s %s: %v", test.name, request, err)
			continue
		}
		set, err := cedar.Compile(map[string][]byte{"p.cedar": []byte("@id(\"p\")\n" + test.permit)})
		if err != nil {
			t.Errorf("%s: %v", test.permit, err)
			continue
		}
		if d := decide(cedar.New(set), run, class); !d.Allowed || len(d.Errors) > 0 {
			t.Errorf("%s %s is not allowed by %s: %v", test.name, request, test.permit, d.Errors)
		}
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
