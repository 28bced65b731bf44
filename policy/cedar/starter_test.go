package cedar

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/policy"
)

func model() policy.Entity {
	return policy.Entity{UID: u("Model", "main"), Attrs: map[string]any{"name": "gpt"}}
}

func tool(readOnly bool) policy.Entity {
	return policy.Entity{UID: u("Tool", "hello.greet"), Parents: []policy.UID{u("ToolSet", "hello")}, Attrs: map[string]any{"source": "hello", "readOnly": readOnly}}
}

func memory(owner, tier string) policy.Entity {
	return policy.Entity{UID: u("MemorySpace", owner+"/"+tier), Attrs: map[string]any{"owner": u("User", owner), "tier": tier}}
}

func session(owner string) policy.Entity {
	return policy.Entity{UID: u("Session", "s1"), Attrs: map[string]any{"owner": u("User", owner), "agent": u("Agent", "support")}}
}

func netHost() policy.Entity {
	return policy.Entity{UID: u("NetHost", "docs.example.com:443"), Attrs: map[string]any{"host": "docs.example.com", "port": 443, "tls": true}}
}

func during(r *policy.Request, state string, expires *time.Time) *policy.Request {
	r.Known = world(state, expires)
	return r
}

func another(r *policy.Request, agent string) *policy.Request {
	r.Resource = u("Agent", agent)
	r.Entities = []policy.Entity{{UID: r.Resource, Attrs: map[string]any{"module": u("Module", "sha256:aa"), "external": false}}}
	return r
}

func TestStarterPolicies(t *testing.T) {
	before, after := noon.Add(-time.Millisecond), noon.Add(time.Millisecond)
	broke := func(tokens, usd, calls int64) map[string]any {
		return base(map[string]any{"left": budget(tokens, usd, calls)})
	}
	self := policy.Entity{UID: u("Agent", "support"), Parents: []policy.UID{u("Tenant", "home")}, Attrs: map[string]any{"module": u("Module", "sha256:aa"), "external": false}}
	tests := []struct {
		name    string
		request *policy.Request
		allowed bool
		by      string // ids of the deciding policies
	}{
		{"model", ask("callModel", model(), base(nil)), true, "agents-call-models"},
		{"embed", ask("embed", model(), base(nil)), true, "agents-call-models"},
		{"own tools", ask("listTools", self, base(nil)), true, "agents-list-their-tools"},
		{"another's tools", another(ask("listTools", self, base(nil)), "other"), false, ""},

		{"session memory read", ask("memoryRead", memory("owner", "session"), base(nil)), true, "agents-remember-the-session"},
		{"session memory write", ask("memoryWrite", memory("owner", "session"), base(nil)), true, "agents-remember-the-session"},
		{"another's session memory", ask("memoryRead", memory("other", "session"), base(nil)), false, ""},
		{"lasting memory", ask("memoryWrite", memory("owner", "episodic"), base(nil)), false, ""},

		{"emit", ask("emit", session("owner"), base(nil)), true, "agents-answer-their-user"},
		{"reply", ask("reply", session("owner"), base(nil)), true, "agents-answer-their-user"},
		{"await", ask("await", session("owner"), base(nil)), true, "agents-answer-their-user"},
		{"reply to another", ask("reply", session("other"), base(nil)), false, ""},

		{"read file", ask("fileRead", file("a", "docs", true, true), base(nil)), true, "agents-read-files"},
		{"list files", ask("fileList", file("a", "docs", true, true), base(nil)), true, "agents-read-files"},
		{"read outside", ask("fileRead", file("../a", "docs", false, true), base(nil)), false, "files-stay-inside"},
		{"list outside", ask("fileList", file("../a", "docs", false, false), base(nil)), false, "files-stay-inside"},
		{"write workspace", ask("fileWrite", file("a", "workspace", true, false), base(nil)), true, "agents-write-the-workspace"},
		{"write outside", ask("fileWrite", file("../a", "workspace", false, false), base(nil)), false, "files-stay-inside"},
		{"write mount", ask("fileWrite", file("a", "docs", true, false), base(nil)), false, ""},
		{"write read-only mount", ask("fileWrite", file("a", "docs", true, true), base(nil)), false, "mounts-are-read-only"},
		{"write outside a read-only mount", ask("fileWrite", file("../a", "docs", false, true), base(nil)), false, "files-stay-inside mounts-are-read-only"},

		{"read tool", use(t, starterSet(t), "hello.greet", `{"name": "world"}`), true, "agents-use-read-tools"},
		{"tool that only claims to read", ask("hello.greet", tool(false), base(map[string]any{"input": map[string]any{"name": "world"}})), false, ""},
		{"write tool", use(t, starterSet(t), "hello.send", `{"to": []}`), false, ""},
		{"web unnamed", ask("httpGet", netHost(), net("93.184.216.34")), false, ""},

		{"task completed", during(ask("callModel", model(), base(nil)), "completed", nil), false, "task-is-over"},
		{"task cancelled", during(ask("reply", session("owner"), base(nil)), "cancelled", nil), false, "task-is-over"},
		{"task expired", during(ask("callModel", model(), base(nil)), "active", &before), false, "task-is-over"},
		{"task expires now", during(ask("callModel", model(), base(nil)), "active", &noon), false, "task-is-over"},
		{"task expires soon", during(ask("callModel", model(), base(nil)), "active", &after), true, "agents-call-models"},

		{"no calls left", ask("fileRead", file("a", "docs", true, true), broke(9, 9, 0)), false, "budget-is-used-up"},
		{"no calls left, reply", ask("reply", session("owner"), broke(0, 0, 0)), true, "agents-answer-their-user"},
		{"no tokens left", ask("callModel", model(), broke(0, 9, 9)), false, "budget-is-used-up"},
		{"no money left", ask("embed", model(), broke(9, 0, 9)), false, "budget-is-used-up"},
		{"no tokens left, file", ask("fileRead", file("a", "docs", true, true), broke(0, 0, 9)), true, "agents-read-files"},
		{"no limit", ask("callModel", model(), broke(-1, -1, -1)), true, "agents-call-models"},
	}
	engine := New(starterSet(t))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := engine.Authorize(t.Context(), tt.request)
			if d.Allowed != tt.allowed || ids(d) != tt.by || len(d.Errors) > 0 {
				t.Errorf("got allowed=%v by %q, errors %v; want allowed=%v by %q", d.Allowed, ids(d), d.Errors, tt.allowed, tt.by)
			}
		})
	}
}

func ids(d policy.Decision) string {
	var out []string
	for _, c := range d.Policies {
		out = append(out, c.ID)
	}
	return strings.Join(out, " ")
}

// Every range is tried at its edges, with the web otherwise open.
func TestStarterNetworks(t *testing.T) {
	files := map[string][]byte{"web.cedar": []byte(`@id("web") permit (principal, action in [Action::"httpGet", Action::"httpSend"], resource);`)}
	limits, err := fs.ReadFile(Starter(), "limits.cedar")
	if err != nil {
		t.Fatal(err)
	}
	files["limits.cedar"] = limits
	set, err := Compile(files)
	if err != nil {
		t.Fatal(err)
	}
	private := strings.Fields(`
		127.0.0.1 127.255.255.254 0.0.0.0 10.0.0.0 10.255.255.255 100.64.0.1 100.100.100.200 169.254.169.254 172.16.0.1
		172.31.255.255 192.0.0.192 192.168.1.1 198.18.0.1 224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 ::ffff:127.0.0.1
		::ffff:10.0.0.1 ::10.0.0.1 64:ff9b::a00:1 64:ff9b:1::1 2001::1 2002:a00:1:: fc00::1 fd00:ec2::254 fe80::1
		fe80::1%eth0 febf::1 fec0::1 ff02::1`)
	public := strings.Fields("1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0 192.167.0.1 223.255.255.255 2606:4700::1111 2001:db8::1 2003::1 ::ffff:1.1.1.1")
	engine := New(set)
	check := func(addr, by string, allowed bool) {
		for _, action := range []string{"httpGet", "httpSend"} {
			d := engine.Authorize(t.Context(), ask(action, netHost(), net(addr)))
			if d.Allowed != allowed || ids(d) != by {
				t.Errorf("%s %s: got allowed=%v by %q %v, want by %q", action, addr, d.Allowed, ids(d), d.Errors, by)
			}
		}
	}
	for _, a := range private {
		check(a, "no-private-networks", false)
	}
	for _, a := range public {
		check(a, "web", true)
	}
}

// The examples in the comments are what people copy, so they must be valid.
func TestStarterExamples(t *testing.T) {
	files := map[string][]byte{}
	line := regexp.MustCompile(`(?m)^//   (.*)$`)
	err := fs.WalkDir(Starter(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		src, err := fs.ReadFile(Starter(), name)
		files[name] = line.ReplaceAll(src, []byte("$1"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	set, err := Compile(files)
	if err != nil {
		t.Fatal(err)
	}
	var extra []string
	for _, p := range set.Policies() {
		if _, ok := starterSet(t).Policy(p.ID); !ok {
			extra = append(extra, p.ID)
		}
	}
	want := []string{
		"support-calls-main", "writes-need-a-yes", "leads-approve-for-support", "sending-takes-two", "support-asks-research", "nothing-changes-for-the-browser",
		"writer-edits-drafts", "support-staff-use-support", "operators-read-sessions", "support-creates-issues", "support-reads-the-docs",
	}
	if diff := cmp.Diff(want, extra); diff != "" {
		t.Error(diff)
	}
}
