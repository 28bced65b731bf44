package cedar

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
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

// manyPolicies is the starter set and scoped policies in a realistic mix, n in all.
func manyPolicies(b *testing.B, n int) map[string][]byte {
	b.Helper()
	files := map[string][]byte{}
	for _, name := range []string{"limits.cedar", "agents.cedar", "approvals.cedar", "files.cedar", "tools.cedar"} {
		src, err := fs.ReadFile(Starter(), name)
		if err != nil {
			b.Fatal(err)
		}
		files[name] = src
	}
	r := rand.New(rand.NewPCG(1, uint64(n)))
	var src strings.Builder
	for i := len(starterSet(b).policies); i < n; i++ {
		agent, set := r.IntN(max(1, n/10)), r.IntN(20)
		fmt.Fprintf(&src, "@id(\"g%d\") ", i)
		switch x := r.IntN(100); {
		case x < 50:
			fmt.Fprintf(&src, `permit (principal in Agent::"a%d", action == Action::"invokeWriteTool", resource == Tool::"s%d.t%d");`, agent, set, r.IntN(20))
		case x < 65:
			fmt.Fprintf(&src, `permit (principal in Agent::"a%d", action == Action::"invokeWriteTool", resource in ToolSet::"s%d") when { context.flow.control >= 1 && context.left.calls > 2 };`, agent, set)
		case x < 85:
			fmt.Fprintf(&src, `permit (principal in Task::"t%d", action in Action::"effect", resource in ToolSet::"s%d") when { resource.source == "s%d" };`, agent, set, set)
		case x < 92:
			fmt.Fprintf(&src, `permit (principal in Role::"r%d", action in [Action::"invokeReadTool", Action::"invokeWriteTool"], resource is Tool) when { resource.readOnly || principal.depth < 1 };`, r.IntN(50))
		default:
			fmt.Fprintf(&src, `forbid (principal in Agent::"a%d", action in Action::"effect", resource in ToolSet::"s%d") when { context.flow.control < 2 && !context.flow.isPublic };`, agent, set)
		}
		src.WriteString("\n")
	}
	files["generated.cedar"] = []byte(src.String())
	return files
}

// manyRequests use tools from runs of the agents that manyPolicies names.
func manyRequests(n int) []*policy.Request {
	r := rand.New(rand.NewPCG(2, uint64(n)))
	all := make([]*policy.Request, 256)
	for i := range all {
		set := fmt.Sprintf("s%d", r.IntN(20))
		q := ask("invokeWriteTool", writeTool(fmt.Sprintf("%s.t%d", set, r.IntN(20)), set), base(nil))
		agent, task := u("Agent", fmt.Sprintf("a%d", r.IntN(max(1, n/10)))), u("Task", fmt.Sprintf("t%d", r.IntN(max(1, n/10))))
		for j := range q.Known.Entities {
			switch e := &q.Known.Entities[j]; e.UID.Type {
			case "Agent":
				e.UID, e.Parents = agent, append(e.Parents, u("Role", fmt.Sprintf("r%d", r.IntN(50))))
			case "Task":
				e.UID = task
			case "Run":
				e.Parents, e.Attrs["agent"], e.Attrs["task"] = []policy.UID{agent, task}, agent, task
			}
		}
		all[i] = q
	}
	return all
}

// BenchmarkSize compares a whole Authorize, deciding alone, and Cedar's own linear
// pass over the same request and entities.
func BenchmarkSize(b *testing.B) {
	for _, n := range []int{15, 100, 1_000, 10_000} {
		files := manyPolicies(b, n)
		set, err := Compile(files)
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
		requests := manyRequests(n)
		queries := make([]*query, len(requests))
		for i, r := range requests {
			q, faults := set.words.query(r)
			if len(faults) > 0 {
				b.Fatal(faults)
			}
			queries[i] = q
		}
		engine := New(set)
		b.Run(fmt.Sprintf("authorize/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				engine.Authorize(b.Context(), requests[i%len(requests)])
			}
		})
		b.Run(fmt.Sprintf("decide/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				set.decide(queries[i%len(queries)])
			}
		})
		b.Run(fmt.Sprintf("linear/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				q := queries[i%len(queries)]
				cedarlang.Authorize(plain, &q.entities, q.request)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{15, 1_000, 10_000} {
		files := manyPolicies(b, n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				if _, err := Compile(files); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
