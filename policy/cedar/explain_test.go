package cedar

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/policy"
)

func TestExplain(t *testing.T) {
	set := starterSet(t)
	engine := New(set)
	broken := ask("callModel", model(), base(nil))
	delete(broken.Context, "now")
	tests := []struct {
		name    string
		request *policy.Request
		want    string
	}{
		{"permitted", ask("callModel", model(), base(nil)), `permitted by policy "agents-call-models" (agents.cedar:`},
		{"forbidden, with its why", ask("fileRead", file("../a", "docs", false, false), base(nil)), `forbidden by policy "files-stay-inside" (limits.cedar:28): the path leads out of its folder`},
		{"nothing permits", ask("invokeWriteTool", tool(false), base(nil)), `no policy permits Agent::"support" to invokeWriteTool Tool::"hello.greet"`},
		{"near miss", ask("reply", session("other"), base(nil)), "no policy permits Agent::\"support\" to reply Session::\"s1\"\npolicy \"agents-answer-their-user\" (agents.cedar:31) is about this, but its conditions do not hold"},
		{"invalid", broken, `Action::"callModel": context.now is missing`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := set.Explain(tt.request, engine.Authorize(t.Context(), tt.request))
			if !strings.HasPrefix(got, tt.want) || strings.Count(got, "\n") != strings.Count(tt.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// A permit for a parent run alone is not about its children, though they are in it.
func TestExplainLeavesOutOtherScopes(t *testing.T) {
	r := ask("callModel", model(), base(nil))
	for i, e := range r.Known.Entities {
		if e.UID == u("Run", "r1") {
			parent := e
			parent.UID = u("Run", "r0")
			r.Known.Entities[i].Parents = append(e.Parents, parent.UID)
			r.Known.Entities = append(r.Known.Entities, parent)
		}
	}
	set := compile(t, `@id("parent") permit (principal == Run::"r0", action, resource);
@id("family") permit (principal in Run::"r0", action, resource) when { principal.depth > 7 };`)
	want := `no policy permits Agent::"support" to callModel Model::"main"
policy "family" (p.cedar:2) is about this, but its conditions do not hold`
	if diff := cmp.Diff(want, set.Explain(r, New(set).Authorize(t.Context(), r))); diff != "" {
		t.Error(diff)
	}
}

// recorded sends requests through JSON, as a journal would.
func recorded(t *testing.T, set *Set, requests ...*policy.Request) []Recorded {
	t.Helper()
	var out []Recorded
	for _, r := range requests {
		rec, err := set.Record(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		var back Recorded
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatalf("%v in %s", err, b)
		}
		out = append(out, back)
	}
	return out
}

func writeTool(name, set string) policy.Entity {
	return policy.Entity{UID: u("Tool", name), Parents: []policy.UID{u("ToolSet", set)}, Attrs: map[string]any{"source": set, "readOnly": false}}
}

func TestSuggest(t *testing.T) {
	mount := func(n int) *policy.Request {
		return ask("fileRead", file(fmt.Sprintf("%d.txt", n), "docs", true, false), base(nil))
	}
	odd := "a\"\n);permit(principal,action,resource);//\u202e"
	tests := []struct {
		name   string
		set    string
		denied []*policy.Request
		want   string
		notes  []string
	}{
		{
			name: "one tool", denied: []*policy.Request{ask("invokeWriteTool", writeTool("mail.send", "mail"), base(nil))},
			want: `@id("support-invokeWriteTool")
permit (
  principal in Agent::"support",
  action == Action::"invokeWriteTool",
  resource == Tool::"mail.send"
);
`,
		},
		{
			name: "the same twice is one", denied: []*policy.Request{mount(1), mount(1)},
			want: `@id("support-fileRead")
permit (
  principal in Agent::"support",
  action == Action::"fileRead",
  resource == File::"docs/1.txt"
);
`,
		},
		{
			name: "many that are read become their folder", denied: []*policy.Request{mount(1), mount(2), mount(3)},
			want: `// 3 were asked for; this covers all of Folder::"docs"
@id("support-fileRead")
permit (
  principal in Agent::"support",
  action == Action::"fileRead",
  resource in Folder::"docs"
);
`,
		},
		{
			name: "writes are listed, never widened", denied: []*policy.Request{
				ask("invokeWriteTool", writeTool("m.a", "m"), base(nil)), ask("invokeWriteTool", writeTool("m.b", "m"), base(nil)),
				ask("invokeWriteTool", writeTool("m.c", "m"), base(nil)),
			},
			want: `@id("support-invokeWriteTool")
permit (
  principal in Agent::"support",
  action == Action::"invokeWriteTool",
  resource is Tool
)
when { resource in [Tool::"m.a", Tool::"m.b", Tool::"m.c"] };
`,
		},
		{
			name: "sessions by owner, actions together", denied: []*policy.Request{
				ask("reply", session("owner"), base(nil)), ask("emit", session("owner"), base(nil)),
				ask("memoryWrite", memory("owner", "episodic"), base(nil)),
			},
			want: `@id("support-emit-reply")
permit (
  principal in Agent::"support",
  action in [Action::"emit", Action::"reply"],
  resource is Session
)
when { resource.owner == principal.user };

@id("support-memoryWrite")
permit (
  principal in Agent::"support",
  action == Action::"memoryWrite",
  resource is MemorySpace
)
when { resource.owner == principal.user && resource.tier == "episodic" };
`,
		},
		{
			name: "the name is taken", set: `@id("support-httpGet") permit (principal in Agent::"other", action == Action::"httpGet", resource);`,
			denied: []*policy.Request{ask("httpGet", netHost(), net("1.1.1.1"))},
			want: `@id("support-httpGet-2")
permit (
  principal in Agent::"support",
  action == Action::"httpGet",
  resource == NetHost::"docs.example.com:443"
);
`,
		},
		{
			name: "names are quoted", denied: []*policy.Request{ask("invokeWriteTool", writeTool(odd, "m"), base(nil))},
			want: `@id("support-invokeWriteTool")
permit (
  principal in Agent::"support",
  action == Action::"invokeWriteTool",
  resource == Tool::"a\"\n);permit(principal,action,resource);//\u{202e}"
);
`,
		},
		{
			name:   "a forbid is named and not worked around",
			set:    `@id("no-web") forbid (principal, action == Action::"httpGet", resource);`,
			denied: []*policy.Request{ask("httpGet", netHost(), net("1.1.1.1"))},
			notes:  []string{`Agent::"support" httpGet NetHost::"docs.example.com:443": forbidden by policy "no-web" (p.cedar:1), which no permit overrides; change that policy if it is wrong`},
		},
		{
			name:   "already permitted",
			set:    `@id("web") permit (principal, action == Action::"httpGet", resource);`,
			denied: []*policy.Request{ask("httpGet", netHost(), net("1.1.1.1"))},
			notes:  []string{`Agent::"support" httpGet NetHost::"docs.example.com:443": already permitted by policy "web" (p.cedar:1)`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := compile(t, tt.set)
			got := set.Suggest(recorded(t, set, tt.denied...))
			if diff := cmp.Diff(Suggestion{Policies: tt.want, Notes: tt.notes}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A suggestion must permit what was denied and leave everything else denied.
func TestSuggestIsNarrow(t *testing.T) {
	set := starterSet(t)
	denied := ask("invokeWriteTool", writeTool("mail.send", "mail"), base(nil))
	text := set.Suggest(recorded(t, set, denied)).Policies
	files := map[string][]byte{"more.cedar": []byte(text)}
	for _, p := range set.Policies() {
		files[p.File] = set.files[p.File]
	}
	wider, err := Compile(files)
	if err != nil {
		t.Fatal(err)
	}
	engine := New(wider)
	if d := engine.Authorize(t.Context(), denied); !d.Allowed || ids(d) != "support-invokeWriteTool" {
		t.Errorf("still denied: %+v", d)
	}
	others := []*policy.Request{
		ask("invokeWriteTool", writeTool("mail.delete", "mail"), base(nil)),
		ask("invokeReadTool", writeTool("mail.send", "mail"), base(nil)),
		during(ask("invokeWriteTool", writeTool("mail.send", "mail"), base(nil)), "completed", nil),
	}
	for _, r := range others {
		if d := engine.Authorize(t.Context(), r); d.Allowed {
			t.Errorf("%v %v is permitted by %s", r.Action, r.Resource, ids(d))
		}
	}
}
