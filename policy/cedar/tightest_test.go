package cedar

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/policy"
)

// asOf is a past call as set decides it.
func asOf(t *testing.T, set *Set, requests ...*policy.Request) []Past {
	t.Helper()
	var past []Past
	for i, r := range requests {
		past = append(past, Past{ID: fmt.Sprint(i), Request: *r, Decision: New(set).Authorize(t.Context(), r)})
	}
	return past
}

const (
	wide  = `@id("wide") permit (principal, action, resource);`
	inUse = wide + `@id("over") forbid (principal is Run, action, resource) unless { principal.task.state == "active" };`
)

func read(name string) *policy.Request {
	return ask("fileRead", file(name, "docs", true, false), base(nil))
}

func TestTightest(t *testing.T) {
	for _, tt := range []struct {
		name, set string
		past      []*policy.Request
		want      string
		notes     []string
	}{
		{
			"what was used, once", inUse,
			[]*policy.Request{
				read("a"), read("a"), ask("callModel", model(), base(nil)), ask("reply", session("owner"), base(nil)),
				ask("emit", session("owner"), base(nil)), useTool("m.w", false),
			},
			`// What Agent::"support" did in 6 calls. It needs no other permit.

@id("support-callModel")
permit (
  principal in Agent::"support",
  action == Action::"callModel",
  resource == Model::"main"
);

@id("support-emit-reply")
permit (
  principal in Agent::"support",
  action in [Action::"emit", Action::"reply"],
  resource is Session
)
when { resource.owner == principal.user };

@id("support-fileRead")
permit (
  principal in Agent::"support",
  action == Action::"fileRead",
  resource == File::"docs/a"
);

@id("support-m-w")
permit (
  principal in Agent::"support",
  action == Action::"m.w",
  resource == Tool::"m.w"
);
`, nil,
		},
		{
			"many of a folder", inUse,
			[]*policy.Request{read("a"), read("b"), read("c")},
			`// What Agent::"support" did in 3 calls. It needs no other permit.

// 3 were asked for; this covers all of Folder::"docs"
@id("support-fileRead")
permit (
  principal in Agent::"support",
  action == Action::"fileRead",
  resource in Folder::"docs"
);
`, nil,
		},
		{
			"many of a folder in which one was denied",
			`@id("some") permit (principal, action == Action::"fileRead", resource) when { resource.path != "secret" };`,
			[]*policy.Request{read("a"), read("b"), read("c"), read("secret")},
			`// What Agent::"support" did in 3 calls. It needs no other permit.

@id("support-fileRead")
permit (
  principal in Agent::"support",
  action == Action::"fileRead",
  resource is File
)
when { resource in [File::"docs/a", File::"docs/b", File::"docs/c"] };
`, nil,
		},
		{
			"sometimes denied",
			`@id("paid") permit (principal is Run, action == Action::"fileRead", resource) when { context.left.calls > 1 };`,
			[]*policy.Request{read("a"), ask("fileRead", file("a", "docs", true, false), base(map[string]any{"left": budget(1, 1, 1)}))},
			`// What Agent::"support" did in 1 call. It needs no other permit.

@id("support-fileRead")
permit (
  principal in Agent::"support",
  action == Action::"fileRead",
  resource == File::"docs/a"
);
`,
			[]string{`Agent::"support" fileRead File::"docs/a": was also denied at other times, under conditions that this permit does not have; add them by hand`},
		},
		{
			"nothing allowed", inUse,
			[]*policy.Request{during(read("a"), "completed", nil)},
			"",
			[]string{`nothing that Agent::"support" was allowed is on record, so there is nothing to permit it`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := toolSet(t, tt.set)
			got, err := set.Tightest("support", pairs(asOf(t, set, tt.past...)))
			if diff := cmp.Diff(Suggestion{Policies: tt.want, Notes: tt.notes}, got); diff != "" || err != nil {
				t.Error(diff, err)
			}
		})
	}
}

// What is forbidden today is said, and what cannot be decided any more.
func TestTightestNotes(t *testing.T) {
	past := asOf(t, toolSet(t, wide), read("a"), useTool("m.a", true))
	set := compile(t, `@id("no-docs") forbid (principal, action, resource in Folder::"docs");`) // without the tools of m
	got, err := set.Tightest("support", pairs(past))
	want := []string{
		`Agent::"support" fileRead File::"docs/a": was allowed, but is forbidden today by policy "no-docs" (p.cedar:1)`,
		`m.a Tool::"m.a": was allowed and cannot be decided now: the schema has no action Action::"m.a"`,
	}
	if err != nil || len(got.Notes) != 2 || got.Notes[0] != want[0] || !strings.HasPrefix(got.Notes[1], want[1]) || !strings.Contains(got.Policies, `File::"docs/a"`) {
		t.Errorf("%+v, %v", got, err)
	}
	broken := errors.New("broken")
	if _, err := set.Tightest("support", func(yield func(Past, error) bool) { yield(Past{}, broken) }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

// An agent that acts through another needs its own permit, and gets none for what only
// others do.
func TestTightestLooksAtChains(t *testing.T) {
	set, err := Compile(map[string][]byte{"p.cedar": []byte(wide)}, officeActions()...)
	if err != nil {
		t.Fatal(err)
	}
	r, err := set.words.caseRequest(&Case{Agent: "child", ActsFor: []CaseHop{{Agent: "parent"}}, Action: "jira.get_issue", Resource: "jira/OPS"})
	if err != nil {
		t.Fatal(err)
	}
	for agent, permits := range map[string]int{"child": 1, "parent": 1, "stranger": 0} {
		got, err := set.Tightest(agent, pairs(asOf(t, set, r)))
		if n := strings.Count(got.Policies, "permit ("); n != permits || err != nil || permits == 1 && !strings.Contains(got.Policies, "principal in Agent::\""+agent+"\"") {
			t.Errorf("%s: %+v, %v", agent, got, err)
		}
	}
}

// Random agents under random policies: the permits for all agents together, with the
// forbids, allow all that was allowed, and what was denied for lack of a permit to an agent
// stays denied to it.
func TestTightestAllowsWhatWasAllowed(t *testing.T) {
	allowed, denied := 0, 0
	for seed := range uint64(8) {
		r, set := randomSet(t, 300+seed)
		known := r.world()
		var past []Past
		for p, err := range recording(set, 150, func(int) *policy.Request { return r.request(known) }) {
			if err != nil {
				t.Fatal(err)
			}
			if p.Request.Principal.Type == "Run" {
				past = append(past, p)
			}
		}
		text := string(set.forbids())
		for _, agent := range letters {
			got, err := set.Tightest(agent, pairs(past))
			if err != nil {
				t.Fatal(err)
			}
			text += strings.ReplaceAll(got.Policies, `@id("`, fmt.Sprintf(`@id("s%d-`, seed))
		}
		tight, err := set.words.compile(map[string][]byte{"p.cedar": []byte(text)})
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		for _, p := range past {
			now := New(tight).Authorize(t.Context(), &p.Request)
			if p.Decision.Allowed {
				if allowed++; !now.Allowed && nameable(set, &p.Request) {
					t.Fatalf("seed %d: %v %v %v was allowed, and is denied by %+v under\n%s", seed, p.Request.Principal, p.Request.Action, p.Request.Resource, now, text)
				}
			} else if now.Allowed {
				denied++
			}
		}
	}
	if allowed < 100 {
		t.Errorf("only %d were allowed", allowed)
	}
	t.Logf("%d allowed, %d denied before and allowed now", allowed, denied)
}

// nameable reports whether all runs of a request are in an agent that a policy could name.
func nameable(set *Set, r *policy.Request) bool {
	q, _ := set.words.query(r)
	for i := range q.links {
		q.stand(i)
		if _, ok := agentOf(q); !ok {
			return false
		}
	}
	return true
}
