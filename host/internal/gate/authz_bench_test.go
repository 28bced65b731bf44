package gate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	cedarlang "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/gate"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/audit"
	"github.com/vespiary/vespiary/policy/cedar"
)

// manyPolicies are those of the world and others in a realistic mix, n in all: they name
// other agents, tasks and roles, but for ten at most, which could be about the requests here.
func manyPolicies(n int) string {
	var b strings.Builder
	b.WriteString(policies)
	b.WriteString("\n")
	for i := strings.Count(policies, "@id("); i < n; i++ {
		fmt.Fprintf(&b, "@id(\"g%d\") ", i)
		switch agent := i % 997; i % 10 {
		case 0, 1, 2, 3:
			fmt.Fprintf(&b, `permit (principal in Agent::"g%d", action in [Action::"fileRead", Action::"fileList"], resource in Folder::"f%d");`, agent, i%53)
		case 4, 5:
			fmt.Fprintf(&b, `permit (principal in Agent::"g%d", action == Action::"callModel", resource == Model::"m%d");`, agent, i%7)
		case 6, 7:
			fmt.Fprintf(&b, `permit (principal in Task::"t%d", action in Action::"effect", resource) when { context.flow.control >= 1 };`, agent)
		case 8:
			fmt.Fprintf(&b, `permit (principal in Role::"r%d", action in Action::"observe", resource is File) when { resource.inside && resource.path like "notes/*" };`, i%31)
		case 9:
			who := fmt.Sprintf("g%d", agent)
			if i%100 == 99 && i < 1000 {
				who = "a"
			}
			fmt.Fprintf(&b, `forbid (principal in Agent::"%s", action == Action::"fileRead", resource) when { resource.path like "secret-%d/*" };`, who, i)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// watched keeps the last request that was decided.
type watched struct {
	policy.Authorizer
	last atomic.Pointer[policy.Request]
}

func (w *watched) Authorize(ctx context.Context, r *policy.Request) policy.Decision {
	w.last.Store(r)
	return w.Authorizer.Authorize(ctx, r)
}

// audited gives the world's gate a log of records in its store, and seals their evidence.
func (w *world) audited(p policy.Authorizer) {
	w.t.Helper()
	key, err := audit.GenerateKey(strings.NewReader(strings.Repeat("k", 100)), "bench")
	if err != nil {
		w.t.Fatal(err)
	}
	signer, err := audit.NewSigner(key)
	if err != nil {
		w.t.Fatal(err)
	}
	log, err := audit.New(audit.Options{Store: w.store, Signer: signer, Now: now})
	if err != nil {
		w.t.Fatal(err)
	}
	w.gate = gate.New(gate.Options{
		Capabilities: w.caps, Policy: p, Audit: log, Seal: w.journals.Wrap, Observer: &w.seen, Now: now, Log: discard,
	})
}

// linear is Cedar's own pass over all policies, for each link of a request's chain.
type linear struct {
	set      *cedarlang.PolicySet
	request  types.Request
	entities types.EntityMap
	links    []types.EntityUID
}

func newLinear(b *testing.B, text string, set *cedar.Set, r *policy.Request) *linear {
	b.Helper()
	recorded, err := set.Record(r)
	if err != nil {
		b.Fatal(err)
	}
	doc, err := json.Marshal(recorded)
	if err != nil {
		b.Fatal(err)
	}
	l := &linear{}
	var same struct {
		types.Request
		Entities types.EntityMap `json:"entities"`
	}
	if err := json.Unmarshal(doc, &same); err != nil {
		b.Fatal(err)
	}
	l.request, l.entities = same.Request, same.Entities
	for _, hop := range r.Chain {
		l.links = append(l.links, types.NewEntityUID("Vespiary::Run", types.String(hop.Principal.ID)))
	}
	if l.links[0] != l.request.Principal {
		l.links[0] = l.request.Principal
	}
	if l.set, err = cedarlang.NewPolicySetFromBytes("all.cedar", []byte(text)); err != nil {
		b.Fatal(err)
	}
	return l
}

func (l *linear) authorize(b *testing.B) {
	b.Helper()
	r := l.request
	for _, r.Principal = range l.links {
		if ok, why := cedarlang.Authorize(l.set, l.entities, r); ok != cedarlang.Allow {
			b.Fatalf("Cedar denies: %+v", why)
		}
	}
}

// chained is a run that acts for links-1 others.
func chained(links int) *host.Run {
	r := run(nil, "1")
	for range links - 1 {
		r = run(r, r.Path+"/1")
	}
	return r
}

// BenchmarkDecision is a whole call through the gate: classified, decided, recorded in
// journal and audit with sealed evidence, performed and recorded again. What waits for the
// disk is written beside the clock. Between them, Cedar's own linear pass decides the same
// requests and does nothing else. gate-µs and linear-µs are medians, which neighbours on the
// machine do not move much, and x-linear is how many of the gate's calls a pass takes.
func BenchmarkDecision(b *testing.B) {
	for _, n := range []int{10, 100, 1_000, 10_000} {
		text := manyPolicies(n)
		set, err := cedar.Compile(map[string][]byte{"all.cedar": []byte(text)})
		if err != nil {
			b.Fatal(err)
		}
		for _, links := range []int{1, 3} {
			for _, candidate := range []*cedar.Set{nil, set} {
				b.Run(fmt.Sprintf("policies=%d/chain=%d/candidate=%v", n, links, candidate != nil), func(b *testing.B) {
					decisions(b, text, set, candidate, links)
				})
			}
		}
	}
}

func decisions(b *testing.B, text string, set, candidate *cedar.Set, links int) {
	b.Helper()
	w := newWorld(b)
	w.policy.Replace(set, candidate)
	asked := &watched{Authorizer: w.policy}
	w.audited(asked)
	w.caps["read"].(*capability).perform = func(context.Context, *host.Call) (host.Output, error) {
		return host.Output{OK: []byte(`{"text":"x"}`)}, nil
	}
	turn, _ := w.begin(gate.TurnOptions{})
	g := turn.Guest(chained(links), time.Unix(1, 0))
	request := []byte(`{"path":"notes/today.md"}`)
	w.call(g, "read", string(request))
	cedarAlone := newLinear(b, text, set, asked.last.Load())
	const batch = 100
	var gates, passes []time.Duration
	b.ReportAllocs()
	begun := time.Now()
	for i := 0; b.Loop(); i++ {
		if _, err := g.Call(context.Background(), "read", request); err != nil {
			b.Fatal(err)
		}
		if i%batch != batch-1 {
			continue
		}
		gates = append(gates, time.Since(begun)/batch)
		b.StopTimer()
		passes = append(passes, w.between(b, g, request, cedarAlone))
		b.StartTimer()
		begun = time.Now()
	}
	if len(gates) == 0 {
		return
	}
	slices.Sort(gates)
	slices.Sort(passes)
	gated, pass := gates[len(gates)/2], passes[len(passes)/2]
	b.ReportMetric(float64(gated.Nanoseconds())/1000, "gate-µs")
	b.ReportMetric(float64(pass.Nanoseconds())/1000, "linear-µs")
	b.ReportMetric(float64(pass)/float64(gated), "x-linear")
}

// between writes what waits, times a linear pass, and warms the gate again.
func (w *world) between(b *testing.B, g *gate.Guest, request []byte, l *linear) time.Duration {
	b.Helper()
	begun := time.Now()
	l.authorize(b)
	took := time.Since(begun)
	for range 20 {
		if _, err := g.Call(context.Background(), "read", request); err != nil {
			b.Fatal(err)
		}
	}
	w.commit()
	w.took()
	return took
}
