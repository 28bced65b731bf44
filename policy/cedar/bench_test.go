package cedar

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	cedarlang "github.com/cedar-policy/cedar-go"

	"github.com/vespiary/vespiary/policy"
)

func BenchmarkAuthorizeStarter(b *testing.B) {
	engine := New(starterSet(b))
	r := ask("fileRead", file("a", "docs", true, true), base(nil))
	if d := engine.Authorize(b.Context(), r); !d.Allowed {
		b.Fatal(d)
	}
	b.ReportAllocs()
	for b.Loop() {
		engine.Authorize(b.Context(), r)
	}
}

func BenchmarkConvert(b *testing.B) {
	set := starterSet(b)
	r := ask("fileRead", file("a", "docs", true, true), base(nil))
	b.ReportAllocs()
	for b.Loop() {
		if _, faults := set.words.query(r); len(faults) > 0 {
			b.Fatal(faults)
		}
	}
}

const benchSources, benchTools = 20, 20

// manyTools are actions of that many sources with as many tools, each with arguments of
// its own.
func manyTools() []Action {
	var all []Action
	for s := range benchSources {
		for t := range benchTools {
			all = append(all, Action{
				Name: fmt.Sprintf("s%d.t%d", s, t), Groups: []string{"invokeWriteTool"}, Resource: "Tool",
				Input: fmt.Appendf(nil, `{"type":"object","properties":{"to":{"type":"string"},"amount%d":{"type":"integer"},"tags":{"type":"array","items":{"type":"string"}}},"required":["to"]}`, s*benchTools+t),
			})
		}
	}
	return all
}

// manyPolicies is the starter set and scoped policies in a realistic mix, n in all.
func manyPolicies(b *testing.B, n int) map[string][]byte {
	b.Helper()
	files := map[string][]byte{}
	maps.Copy(files, starterSet(b).files)
	r := rand.New(rand.NewPCG(1, uint64(n)))
	var src strings.Builder
	for i := len(starterSet(b).policies); i < n; i++ {
		agent, set := r.IntN(max(1, n/10)), r.IntN(benchSources)
		fmt.Fprintf(&src, "@id(\"g%d\") ", i)
		switch x := r.IntN(100); {
		case x < 50:
			fmt.Fprintf(&src, `permit (principal in Agent::"a%d", action in Action::"invokeWriteTool", resource == Tool::"s%d.t%d");`, agent, set, r.IntN(benchTools))
		case x < 65:
			fmt.Fprintf(&src, `permit (principal in Agent::"a%d", action == Action::"s%d.t%d", resource) when { context.flow.control >= 1 && context.input.to like "*@example.com" };`, agent, set, r.IntN(benchTools))
		case x < 85:
			fmt.Fprintf(&src, `permit (principal in Task::"t%d", action in Action::"effect", resource in ToolSet::"s%d") when { resource.source == "s%d" };`, agent, set, set)
		case x < 92:
			fmt.Fprintf(&src, `permit (principal in Role::"r%d", action in [Action::"invokeReadTool", Action::"invokeWriteTool"], resource is Tool) when { resource.readOnly || principal.depth < 1 };`, r.IntN(50))
		default:
			fmt.Fprintf(&src, `forbid (principal in Agent::"a%d", action in Action::"effect", resource in ToolSet::"s%d") when { context.flow.control < 2 && !context.flow.isPublic };`, agent, set)
		}
		src.WriteString("\n")
	}
	src.WriteString(`@id("staff") permit (principal in Role::"staff", action in Action::"invokeWriteTool", resource is Tool) when { context.left.calls > 1 };`)
	if n < len(starterSet(b).policies) { // the first files of the starter
		files = map[string][]byte{"limits.cedar": files["limits.cedar"], "tools.cedar": files["tools.cedar"], "agents.cedar": files["agents.cedar"]}
	}
	files["generated.cedar"] = []byte(src.String())
	return files
}

// manyRequests use tools from runs of the agents that manyPolicies names, each of which
// acts for links-1 others. A policy permits them all, so that most are decided to the end
// of the chain.
func manyRequests(n, links int) []*policy.Request {
	r := rand.New(rand.NewPCG(2, uint64(n)))
	all := make([]*policy.Request, 256)
	for i := range all {
		set := fmt.Sprintf("s%d", r.IntN(benchSources))
		name := fmt.Sprintf("%s.t%d", set, r.IntN(benchTools))
		resource := policy.Entity{UID: u("Tool", name), Parents: []policy.UID{u("ToolSet", set)}, Attrs: map[string]any{"source": set, "readOnly": false}}
		q := handed(name, resource, base(map[string]any{"input": map[string]any{"to": "user1@example.com"}}))
		q.Chain = q.Chain[:links]
		for j := range q.Known.Entities {
			e := &q.Known.Entities[j]
			if e.UID.Type != "Run" {
				continue
			}
			agent, task := u("Agent", fmt.Sprintf("a%d", r.IntN(max(1, n/10)))), u("Task", fmt.Sprintf("t%d", r.IntN(max(1, n/10))))
			e.Parents, e.Attrs["agent"], e.Attrs["task"] = []policy.UID{agent, task}, agent, task
		}
		var entities []policy.Entity
		seen := map[policy.UID]bool{}
		for _, e := range q.Known.Entities {
			if e.UID.Type != "Run" {
				continue
			}
			for _, more := range []policy.Entity{
				{UID: e.Parents[0], Parents: []policy.UID{u("Role", fmt.Sprintf("r%d", r.IntN(50))), u("Role", "staff")}, Attrs: map[string]any{"module": u("Module", "sha256:aa"), "external": false}},
				{UID: e.Parents[1], Attrs: map[string]any{"state": "active", "user": u("User", "owner"), "restricted": false, "grants": []string{}}},
			} {
				if !seen[more.UID] {
					seen[more.UID] = true
					entities = append(entities, more)
				}
			}
		}
		q.Known.Entities = append(slices.DeleteFunc(q.Known.Entities, func(e policy.Entity) bool { return e.UID.Type == "Agent" || e.UID.Type == "Task" }), entities...)
		all[i] = q
	}
	return all
}

// BenchmarkSize compares a whole Authorize, with a chain of three and with a candidate,
// deciding alone, and Cedar's own linear pass over the same request and entities.
func BenchmarkSize(b *testing.B) {
	for _, n := range []int{10, 100, 1_000, 10_000} {
		set, err := Compile(manyPolicies(b, n), manyTools()...)
		if err != nil {
			b.Fatal(err)
		}
		plain := cedarlang.NewPolicySet()
		for _, p := range set.policies {
			var parsed cedarlang.Policy
			if err := parsed.UnmarshalCedar([]byte(p.Text)); err != nil {
				b.Fatal(err)
			}
			plain.Add(cedarlang.PolicyID(p.ID), &parsed)
		}
		engine, both := New(set), New(set)
		both.Replace(set, set)
		for _, links := range []int{1, 3} {
			requests := manyRequests(n, links)
			queries := make([]*query, len(requests))
			for i, r := range requests {
				q, faults := set.words.query(r)
				if len(faults) > 0 {
					b.Fatal(faults)
				}
				queries[i] = q
			}
			run := func(name string, do func(i int)) {
				b.Run(fmt.Sprintf("%s/chain=%d/policies=%d", name, links, n), func(b *testing.B) {
					b.ReportAllocs()
					for i := 0; b.Loop(); i++ {
						do(i % len(requests))
					}
				})
			}
			run("authorize", func(i int) { engine.Authorize(b.Context(), requests[i]) })
			run("candidate", func(i int) { both.Authorize(b.Context(), requests[i]) })
			run("could", func(i int) { engine.Could(b.Context(), requests[i]) })
			run("decide", func(i int) { set.decide(queries[i]) })
			run("linear", func(i int) {
				q := queries[i]
				for j := range q.links {
					q.stand(j)
					cedarlang.Authorize(plain, &q.entities, q.request)
				}
			})
		}
	}
}

// BenchmarkInput converts the arguments of a call.
func BenchmarkInput(b *testing.B) {
	set, err := Compile(nil, manyTools()...)
	if err != nil {
		b.Fatal(err)
	}
	arguments := []byte(`{"to": "user1@example.com", "amount7": 12, "tags": ["a", "b"], "more": {"x": [1, 2, 3]}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := set.Input("s0.t7", arguments); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{15, 1_000, 10_000} {
		files, tools := manyPolicies(b, n), manyTools()
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if _, err := Compile(files, tools...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkVocabulary builds the schema with the tools of a host, which a reload does when
// a tool changed.
func BenchmarkVocabulary(b *testing.B) {
	for _, n := range []int{0, 10, 400} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if _, err := newVocabulary(schemaText, manyTools()[:n]...); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkToolList asks for each of 100 tools whether a run could ever use it.
func BenchmarkToolList(b *testing.B) {
	set, err := Compile(manyPolicies(b, 100), manyTools()...)
	if err != nil {
		b.Fatal(err)
	}
	engine, requests := New(set), manyRequests(100, 1)[:100]
	known := requests[0].Known
	for _, r := range requests {
		r.Known = known
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, r := range requests {
			engine.Could(b.Context(), r)
		}
	}
}
