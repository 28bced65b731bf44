package cedar

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/policy"
)

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

// useTool asks to use a tool of toolSet.
func useTool(name string, readOnly bool) *policy.Request {
	r := ask(name, writeTool(name), base(map[string]any{"input": map[string]any{}}))
	r.Entities[0].Attrs["readOnly"] = readOnly
	return r
}

// toolSet compiles a policy with the tools a, b, c and d of source m, which only read, and
// w, x and y, which write.
func toolSet(tb testing.TB, src string) *Set {
	tb.Helper()
	var actions []Action
	for _, name := range []string{"a", "b", "c", "d", "w", "x", "y"} {
		group := "invokeReadTool"
		if name >= "w" {
			group = "invokeWriteTool"
		}
		actions = append(actions, Action{Name: "m." + name, Groups: []string{group}, Resource: "Tool"})
	}
	actions = append(actions, Action{Name: odd, Groups: []string{"invokeWriteTool"}, Resource: "Tool"})
	set, err := Compile(map[string][]byte{"p.cedar": []byte(src)}, actions...)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// odd is the name of a tool that tries to end its policy and begin another.
const odd = "a\");permit(principal,action,resource);//\u202e"

func writeTool(name string) policy.Entity {
	source, _, _ := strings.Cut(name, ".")
	return policy.Entity{UID: u("Tool", name), Parents: []policy.UID{u("ToolSet", source)}, Attrs: map[string]any{"source": source, "readOnly": false}}
}

func TestSuggest(t *testing.T) {
	mount := func(n int) *policy.Request {
		return ask("fileRead", file(fmt.Sprintf("%d.txt", n), "docs", true, false), base(nil))
	}
	tests := []struct {
		name   string
		set    string
		denied []*policy.Request
		want   string
		notes  []string
	}{
		{
			name: "one tool", denied: []*policy.Request{useTool("m.w", false)},
			want: `@id("support-m-w")
permit (
  principal in Agent::"support",
  action == Action::"m.w",
  resource == Tool::"m.w"
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
			name: "tools that write are listed, never widened", denied: []*policy.Request{
				useTool("m.w", false), useTool("m.x", false), useTool("m.y", false),
			},
			want: `@id("support-m-w")
permit (
  principal in Agent::"support",
  action == Action::"m.w",
  resource == Tool::"m.w"
);

@id("support-m-x")
permit (
  principal in Agent::"support",
  action == Action::"m.x",
  resource == Tool::"m.x"
);

@id("support-m-y")
permit (
  principal in Agent::"support",
  action == Action::"m.y",
  resource == Tool::"m.y"
);
`,
		},
		{
			name: "files that are written are listed", denied: []*policy.Request{
				ask("fileWrite", file("a", "docs", true, false), base(nil)), ask("fileWrite", file("b", "docs", true, false), base(nil)),
				ask("fileWrite", file("c", "docs", true, false), base(nil)),
			},
			want: `@id("support-fileWrite")
permit (
  principal in Agent::"support",
  action == Action::"fileWrite",
  resource is File
)
when { resource in [File::"docs/a", File::"docs/b", File::"docs/c"] };
`,
		},
		{
			name: "few tools that read are listed", denied: []*policy.Request{useTool("m.b", true), useTool("m.a", true), useTool("m.b", true)},
			want: `@id("support-m-a")
permit (
  principal in Agent::"support",
  action == Action::"m.a",
  resource == Tool::"m.a"
);

@id("support-m-b")
permit (
  principal in Agent::"support",
  action == Action::"m.b",
  resource == Tool::"m.b"
);
`,
		},
		{
			name: "many tools that read become their source", denied: []*policy.Request{useTool("m.b", true), useTool("m.a", true), useTool("m.c", true)},
			want: `// 3 were asked for; this covers all of ToolSet::"m"
@id("support-invokeReadTool")
permit (
  principal in Agent::"support",
  action in Action::"invokeReadTool",
  resource in ToolSet::"m"
);
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
			name: "names are quoted", denied: []*policy.Request{useTool(odd, false)},
			want: `@id("support-a---permit-principal-action-resource-----")
permit (
  principal in Agent::"support",
  action == Action::"a\");permit(principal,action,resource);//\u{202e}",
  resource == Tool::"a\");permit(principal,action,resource);//\u{202e}"
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
			set := toolSet(t, tt.set)
			got := set.Suggest(recorded(t, set, tt.denied...))
			if diff := cmp.Diff(Suggestion{Policies: tt.want, Notes: tt.notes}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A suggestion must permit what was denied and leave everything else denied.
func TestSuggestIsNarrow(t *testing.T) {
	set := toolSet(t, `@id("task-is-over") forbid (principal is Run, action, resource) unless { principal.task.state == "active" };`)
	denied := useTool("m.w", false)
	text := set.Suggest(recorded(t, set, denied)).Policies
	wider, err := set.words.compile(map[string][]byte{"p.cedar": set.files["p.cedar"], "more.cedar": []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	engine := New(wider)
	if d := engine.Authorize(t.Context(), denied); !d.Allowed || ids(d) != "support-m-w" {
		t.Errorf("still denied: %+v", d)
	}
	others := []*policy.Request{
		useTool("m.x", false), useTool("m.a", true),
		during(useTool("m.w", false), "completed", nil),
	}
	for _, r := range others {
		if d := engine.Authorize(t.Context(), r); d.Allowed || len(d.Errors) > 0 {
			t.Errorf("%v %v: %+v", r.Action, r.Resource, d)
		}
	}
}
