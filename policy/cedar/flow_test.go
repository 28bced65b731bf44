package cedar

import (
	"io/fs"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/policy"
)

// flowing is the set of the ready-made label policies with everything permitted.
func flowing(tb testing.TB) *Set {
	tb.Helper()
	src, err := fs.ReadFile(Flow(), "flow.cedar")
	if err != nil {
		tb.Fatal(err)
	}
	set, err := Compile(map[string][]byte{"flow.cedar": src, "open.cedar": []byte(open)}, tools...)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// labelled is a context whose flow has other values.
func labelled(context map[string]any, pairs ...any) map[string]any {
	flow := maps.Clone(context["flow"].(map[string]any))
	for i := 0; i < len(pairs); i += 2 {
		flow[pairs[i].(string)] = pairs[i+1]
	}
	context["flow"] = flow
	return context
}

func TestFlow(t *testing.T) {
	approved := map[string]any{"approval": map[string]any{"by": u("User", "owner"), "digest": "sha256:bb"}}
	stale := map[string]any{"approval": map[string]any{"by": u("User", "owner"), "digest": "sha256:cc"}}
	input := map[string]any{"input": map[string]any{"to": []string{"a"}}}
	write := func(more map[string]any, pairs ...any) *policy.Request {
		return ask("fileWrite", file("a", "workspace", true, false), labelled(base(more), pairs...))
	}
	send := func(pairs ...any) *policy.Request {
		return ask("httpSend", netHost(), labelled(net("93.184.216.34"), pairs...))
	}
	stranger := []string{"docs.example.com:443"}
	const steered, leak, poison = "untrusted-content-steers-no-effect", "egress-only-to-readers", "lasting-memory-is-trusted"
	tests := []struct {
		name    string
		request *policy.Request
		by      string
		asks    bool
	}{
		{"trusted effect", write(nil), "open", false},
		{"untrusted plan", write(nil, "pc", 0), steered, true},
		{"endorsed plan", write(nil, "pc", 1), steered, true},
		{"untrusted control", write(nil, "control", 0), steered, true},
		{"endorsed control", write(nil, "control", 1), "open", false},
		{"untrusted data", write(nil, "data", 0), "open", false},
		{"approved", write(approved, "pc", 0, "control", 0), "open", false},
		{"another call approved", write(stale, "pc", 0), steered, true},
		{"an observation", ask("fileRead", file("a", "docs", true, true), labelled(base(nil), "pc", 0, "control", 0, "data", 0)), "open", false},
		{"a tool that writes", ask("hello.send", tool(false), labelled(base(input), "control", 0)), steered, true},
		{"a tool that reads", ask("hello.greet", tool(true), labelled(base(map[string]any{"input": map[string]any{"name": "x"}}), "pc", 0)), "open", false},

		{"sent to a reader", send("readers", []string{"owner", "docs.example.com:443"}, "recipients", stranger, "named", false), "open", false},
		{"sent to a stranger", send("recipients", stranger, "named", false), leak, false},
		{"sent to one of two", send("readers", stranger, "recipients", []string{"docs.example.com:443", "b"}, "named", false), leak, false},
		{"sent to a stranger that the user named", send("recipients", stranger), "open", false},
		{"public", send("recipients", stranger, "named", false, "isPublic", true), "open", false},
		{"steered to a stranger", send("recipients", stranger, "named", false, "pc", 0), steered + " " + leak, false},
		{"read from a stranger", ask("httpGet", netHost(), labelled(net("93.184.216.34"), "recipients", stranger, "named", false)), leak, false},
		{"a name asked of a stranger", ask("resolveName", netHost(), labelled(base(nil), "recipients", stranger, "named", false)), leak, false},
		{"said to a stranger", ask("reply", session("other"), labelled(base(nil), "recipients", []string{"other"}, "named", false)), leak, false},
		{"a provider", ask("callModel", model(), labelled(base(nil), "recipients", []string{"openai"}, "named", false, "pc", 0)), "open", false},
		{"a provider of embeddings", ask("embed", model(), labelled(base(nil), "recipients", []string{"openai"}, "named", false)), "open", false},

		{"remembered in the session", ask("memoryWrite", memory("owner", "session"), labelled(base(nil), "pc", 0, "control", 0, "data", 0)), "open", false},
		{"remembered for long", ask("memoryWrite", memory("owner", "semantic"), labelled(base(nil), "data", 1)), "open", false},
		{"remembered for long, by an untrusted plan", ask("memoryWrite", memory("owner", "semantic"), labelled(base(nil), "pc", 1)), steered + " " + poison, false},
		{"untrusted, remembered for long", ask("memoryWrite", memory("owner", "episodic"), labelled(base(nil), "data", 0)), poison, false},
		{"untrusted, remembered for long, approved", ask("memoryWrite", memory("owner", "episodic"), labelled(base(approved), "data", 0)), poison, false},
		{"recalled", ask("memoryRead", memory("owner", "semantic"), labelled(base(nil), "pc", 0)), "open", false},

		{"a person", approve("owner", "owner", "owner", "fileWrite"), "open", false},
	}
	set := flowing(t)
	engine := New(set)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := engine.Authorize(t.Context(), tt.request)
			if ids(d) != tt.by || d.Allowed != (tt.by == "open") || len(d.Errors) > 0 || (d.Approval != "") != tt.asks {
				t.Errorf("got %+v, want by %q", d, tt.by)
			}
		})
	}
}

// The label policies are compiled with those of a project, only forbid, and say why.
func TestFlowBesideStarter(t *testing.T) {
	files := maps.Clone(starterSet(t).files)
	maps.Copy(files, flowing(t).files)
	delete(files, "open.cedar")
	set, err := Compile(files, tools...)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range set.Policies() {
		if p.File != "flow.cedar" {
			continue
		}
		if got = append(got, p.ID); p.Effect != "forbid" || p.Annotations["why"] == "" {
			t.Errorf("%s: %s, why %q", p.ID, p.Effect, p.Annotations["why"])
		}
	}
	if diff := cmp.Diff("untrusted-content-steers-no-effect egress-only-to-readers lasting-memory-is-trusted", strings.Join(got, " ")); diff != "" {
		t.Error(diff)
	}
}
