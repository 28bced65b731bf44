package cedar

import (
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/vespiary/vespiary/policy"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func u(t, id string) policy.UID { return policy.UID{Type: t, ID: id} }

// world is a run of agent support for owner, with the entities a host would share
// among its requests.
func world(state string, expires *time.Time) *policy.Known {
	task := map[string]any{"state": state, "user": u("User", "owner"), "restricted": false, "grants": []string{}}
	if expires != nil {
		task["expiresAt"] = *expires
	}
	return &policy.Known{Entities: []policy.Entity{
		{UID: u("User", "owner"), Parents: []policy.UID{u("Tenant", "home")}, Attrs: map[string]any{"name": "owner"}},
		{UID: u("Tenant", "home")},
		{UID: u("Module", "sha256:aa"), Attrs: map[string]any{"name": "loop", "version": "1.0.0"}},
		{UID: u("Agent", "support"), Parents: []policy.UID{u("Role", "helper"), u("Tenant", "home")}, Attrs: map[string]any{"module": u("Module", "sha256:aa"), "external": false}},
		{UID: u("Task", "t1"), Attrs: task},
		{UID: u("Run", "r1"), Parents: []policy.UID{u("Agent", "support"), u("Task", "t1")}, Attrs: map[string]any{
			"agent": u("Agent", "support"), "task": u("Task", "t1"), "module": u("Module", "sha256:aa"), "user": u("User", "owner"), "depth": 0,
		}},
	}}
}

func budget(tokens, usd, calls int64) map[string]any {
	return map[string]any{"tokens": tokens, "usdMicros": usd, "calls": calls}
}

func base(extra map[string]any) map[string]any {
	c := map[string]any{
		"now": noon,
		"flow": map[string]any{
			"pc": 2, "control": 2, "data": 2, "isPublic": false, "readers": []string{"owner"},
			"recipients": []string{"owner"}, "named": true, "sources": []string{"user"},
		},
		"chain": []policy.UID{u("Run", "r1")}, "agents": []policy.UID{u("Agent", "support")}, "left": budget(1000, -1, 50),
		"path": "1/2", "argsDigest": "sha256:bb",
	}
	maps.Copy(c, extra)
	return c
}

// asked is the context of what people ask of the host.
func asked(extra map[string]any) map[string]any {
	c := map[string]any{"now": noon, "via": "key", "scopes": []string{}, "actors": []string{}}
	maps.Copy(c, extra)
	return c
}

func net(addr string) map[string]any {
	return base(map[string]any{"method": "GET", "scheme": "https", "urlPath": "/", "ip": netip.MustParseAddr(addr)})
}

func file(path, folder string, inside, readOnly bool) policy.Entity {
	return policy.Entity{UID: u("File", folder+"/"+path), Parents: []policy.UID{u("Folder", folder)}, Attrs: map[string]any{"path": path, "inside": inside, "readOnly": readOnly}}
}

func ask(action string, resource policy.Entity, context map[string]any) *policy.Request {
	return &policy.Request{
		Principal: u("Run", "r1"), Action: u("Action", action), Resource: resource.UID, Context: context,
		Known: world("active", nil), Entities: []policy.Entity{resource},
	}
}

// tools are actions of two tools, of which one reads and one writes.
var tools = []Action{
	{Name: "hello.greet", Groups: []string{"invokeReadTool"}, Resource: "Tool", Input: []byte(`{"type":"object","properties":{"name":{"type":"string"},"times":{"type":"integer"}},"required":["name"]}`)},
	{Name: "hello.send", Groups: []string{"invokeWriteTool"}, Resource: "Tool", Input: []byte(`{"type":"object","properties":{"to":{"type":"array","items":{"type":"string"}},"amount":{"type":"number"}},"required":["to"]}`)},
}

// use asks to call one of tools with arguments.
func use(tb testing.TB, set *Set, action, arguments string) *policy.Request {
	tb.Helper()
	input, err := set.Input(action, []byte(arguments))
	if err != nil {
		tb.Fatal(err)
	}
	return ask(action, tool(action == "hello.greet"), base(map[string]any{"input": input}))
}

func starterSet(tb testing.TB) *Set {
	tb.Helper()
	s, err := Load(Starter(), tools...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func compile(tb testing.TB, src string) *Set {
	tb.Helper()
	s, err := Compile(map[string][]byte{"p.cedar": []byte(src)}, tools...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}
