package cedar

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	cedarlang "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vespiary/vespiary/policy"
)

// handed is a request of run r1, which acts for r2, which acts for r3, each with its own
// agent and task: a1, t1 and so on.
func handed(action string, resource policy.Entity, context map[string]any, granted ...*policy.Grants) *policy.Request {
	r := ask(action, resource, context)
	r.Principal = u("Run", "r1")
	r.Known = &policy.Known{Entities: []policy.Entity{
		{UID: u("User", "owner"), Attrs: map[string]any{"name": "owner"}},
		{UID: u("Module", "sha256:aa"), Attrs: map[string]any{"name": "loop", "version": "1.0.0"}},
	}}
	for i := range 3 {
		n := fmt.Sprint(i + 1)
		agent, task, run := u("Agent", "a"+n), u("Task", "t"+n), u("Run", "r"+n)
		r.Known.Entities = append(r.Known.Entities,
			policy.Entity{UID: agent, Attrs: map[string]any{"module": u("Module", "sha256:aa"), "external": false}},
			policy.Entity{UID: task, Attrs: map[string]any{"state": "active", "user": u("User", "owner"), "restricted": false, "grants": []string{}}},
			policy.Entity{UID: run, Parents: []policy.UID{agent, task}, Attrs: map[string]any{
				"agent": agent, "task": task, "module": u("Module", "sha256:aa"), "user": u("User", "owner"), "depth": 3 - i,
			}},
		)
		hop := policy.Hop{Principal: run}
		if i < len(granted) {
			hop.Grants = granted[i]
		}
		r.Chain = append(r.Chain, hop)
	}
	return r
}

func given1(task string, list ...policy.Grant) *policy.Grants {
	return &policy.Grants{Task: task, List: list}
}

func reading() policy.Entity { return file("a.md", "docs", true, true) }

func allowing(actions ...string) policy.Grant { return policy.Grant{Actions: actions} }

const writesNeedAYes = `forbid (principal in Agent::%q, action in Action::"effect", resource) unless { context has approval && context.approval.digest == context.argsDigest };` + "\n"

func TestChain(t *testing.T) {
	forbid := func(agent string) string {
		return fmt.Sprintf("@id(%q) forbid (principal in Agent::%q, action, resource);\n", "no-"+agent, agent)
	}
	ask := func(agent string) string {
		return fmt.Sprintf("@id(%q) @needs_approval(%q) ", "ask-"+agent, "of "+agent) + fmt.Sprintf(writesNeedAYes, agent)
	}
	only := func(agents ...string) string {
		var out string
		for _, a := range agents {
			out += fmt.Sprintf("@id(%q) permit (principal in Agent::%q, action, resource);\n", a, a)
		}
		return out
	}
	errs := `@id("errs") forbid (principal in Agent::"a2", action == Action::"fileRead", resource) when { context.left.tokens + 1 == 0 };` + "\n"
	read := func() *policy.Request { return handed("fileRead", reading(), base(nil)) }
	write := func() *policy.Request { return handed("fileWrite", file("a.md", "docs", true, false), base(nil)) }
	tests := []struct {
		name, set string
		request   *policy.Request
		want      policy.Decision
	}{
		{"all permitted", open, read(), policy.Decision{Allowed: true, Policies: causes("open")}},
		{"each by its own", only("a3", "a1", "a2"), read(), policy.Decision{Allowed: true, Policies: causes("a3", "a1", "a2")}},
		{"none", "", read(), policy.Decision{}},
		{"the principal lacks a permit", only("a2", "a3"), read(), policy.Decision{Hop: 0}},
		{"the second lacks a permit", only("a1", "a3"), read(), policy.Decision{Hop: 1}},
		{"the last lacks a permit", only("a1", "a2"), read(), policy.Decision{Hop: 2}},
		{"the principal is forbidden", open + forbid("a1"), read(), policy.Decision{Policies: causes("no-a1")}},
		{"the last is forbidden", open + forbid("a3"), read(), policy.Decision{Policies: causes("no-a3"), Hop: 2}},
		{"two are forbidden", open + forbid("a3") + forbid("a2"), read(), policy.Decision{Policies: causes("no-a2"), Hop: 1}},
		{"a person may lift it", open + ask("a2"), write(), policy.Decision{Policies: causes("ask-a2"), Approval: "of a2", Hop: 1}},
		{"two are left to a person", open + ask("a3") + ask("a2"), write(), policy.Decision{Policies: causes("ask-a2"), Approval: "of a2", Hop: 1}},
		{"one is left to a person and a later one is not", open + ask("a1") + forbid("a3"), write(), policy.Decision{Policies: causes("no-a3"), Hop: 2}},
		{"one is left to a person and a later one lacks a permit", only("a1", "a2") + ask("a1"), write(), policy.Decision{Hop: 2}},
		{"left to a person, but not permitted", only("a1", "a3") + ask("a2"), write(), policy.Decision{Policies: causes("ask-a2"), Hop: 1}},
		{
			"an error at one", open + errs, handed("fileRead", reading(), base(map[string]any{"left": budget(math.MaxInt64, 1, 1)})),
			policy.Decision{Errors: []string{`policy "errs" (p.cedar:1) could not be evaluated, which denies: integer overflow while attempting to add ` + "`9223372036854775807` with `1`"}, Hop: 1},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := compile(t, tt.set)
			tt.want.Set = set.Digest()
			got := New(set).Authorize(t.Context(), tt.request)
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(policy.Cause{}, "File", "Line")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func causes(ids ...string) []policy.Cause {
	var out []policy.Cause
	for _, id := range ids {
		out = append(out, policy.Cause{ID: id})
	}
	return out
}

// Over random policies, worlds and chains, the answer is what Cedar says of every link.
func TestChainDecidesLikeCedar(t *testing.T) {
	const sets, requests = 100, 100
	allowed, hops := 0, map[int]int{}
	for seed := range uint64(sets) {
		r := rand.New(rand.NewPCG(seed, 4))
		all := randomPolicies(t, r, 1+r.IntN(30))
		set := &Set{byID: map[string]int{}, index: newIndex()}
		for id, p := range all.All() {
			set.byID[string(id)] = len(set.policies)
			set.policies = append(set.policies, Policy{ID: string(id)})
			set.index.add(id, p)
		}
		world := randomEntities(r)
		for range requests {
			q := &query{
				request:  types.Request{Action: anyUID(r, "Action"), Resource: anyUID(r, "Doc", "Box"), Context: types.NewRecord(types.RecordMap{"n": types.Long(r.IntN(8))})},
				entities: entities{shared: world, actions: world},
			}
			for range 1 + r.IntN(4) {
				q.links = append(q.links, link{principal: anyUID(r, "User", "Group")})
			}
			q.trace(&vocabulary{lineage: map[types.EntityUID][]types.EntityUID{q.request.Action: closure(world, q.request.Action, nil)}})
			got := set.decide(q)
			want, reasons := -1, map[string]bool{}
			for i, l := range q.links {
				one := q.request
				one.Principal = l.principal
				verdict, diag := cedarlang.Authorize(all, world, one)
				if verdict == cedarlang.Deny || len(diag.Errors) > 0 {
					want = i
					break
				}
				for _, reason := range diag.Reasons {
					reasons[string(reason.PolicyID)] = true
				}
			}
			if got.Allowed != (want < 0) || !got.Allowed && got.Hop != want {
				t.Fatalf("seed %d: got %+v, Cedar denies at %d of %d", seed, got, want, len(q.links))
			}
			if got.Allowed {
				allowed++
				if len(got.Policies) != len(reasons) {
					t.Fatalf("seed %d: by %v, Cedar by %v", seed, got.Policies, reasons)
				}
			} else {
				hops[want]++
			}
		}
	}
	if allowed < 300 || hops[1] < 100 || hops[2] < 30 {
		t.Errorf("%d are allowed, denied at %v: the test says little", allowed, hops)
	}
}

func TestOddChainsDeny(t *testing.T) {
	engine := New(compile(t, open))
	tests := []struct {
		name   string
		change func(*policy.Request)
		want   string
	}{
		{"begins with another", func(r *policy.Request) { r.Chain = r.Chain[1:] }, `the chain begins with Run::"r2" and not with the principal Run::"r1"; put that first`},
		{"begins with nobody", func(r *policy.Request) { r.Chain[0].Principal = policy.UID{} }, `the chain begins with ::"" and not`},
		{"an unknown run", func(r *policy.Request) { r.Chain[2].Principal.ID = "r9" }, `Run::"r9" is needed to decide about Run::"r9" and is not among the entities`},
		{"nobody", func(r *policy.Request) { r.Chain[1].Principal = policy.UID{} }, `::"" cannot be in the chain of Action::"fileRead"; those are of type Run`},
		{"a person", func(r *policy.Request) { r.Chain[2].Principal = u("User", "owner") }, `User::"owner" cannot be in the chain of Action::"fileRead"; those are of type Run`},
		{"what an agent is in is missing", func(r *policy.Request) {
			r.Known.Entities = slices.DeleteFunc(r.Known.Entities, func(e policy.Entity) bool { return e.UID == u("Agent", "a3") })
		}, `Agent::"a3" is needed to decide about Run::"r3"`},
		{"without end", func(r *policy.Request) {
			for len(r.Chain) <= maxChain {
				r.Chain = append(r.Chain, r.Chain[0])
			}
		}, `the chain has 65 links, more than 64`},
		{"granted by itself", func(r *policy.Request) { r.Context["granted"] = true }, `the context's "granted" is there already, which only the grants of the chain can say; leave it out`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := handed("fileRead", reading(), base(nil))
			if d := engine.Authorize(t.Context(), r); !d.Allowed {
				t.Fatalf("denied as it is: %+v", d)
			}
			r = handed("fileRead", reading(), base(nil))
			tt.change(r)
			if d := engine.Authorize(t.Context(), r); d.Allowed || len(d.Policies) > 0 || len(d.Errors) == 0 || !strings.HasPrefix(d.Errors[0], tt.want) {
				t.Errorf("got %+v, want %q", d, tt.want)
			}
		})
	}
}

func TestGrants(t *testing.T) {
	all, none := given1("t9", allowing("observe", "effect", "egress", "control")), given1("t8")
	on := func(grant policy.Grant, resources ...policy.UID) policy.Grant {
		grant.Resources = resources
		return grant
	}
	const covered, uncovered = "open grant of task t1", "grants of task t1"
	tests := []struct {
		name    string
		granted []*policy.Grants
		by      string
		hop     int
	}{
		{"not narrowed", nil, "open", 0},
		{"the action", []*policy.Grants{given1("t1", allowing("fileRead"))}, covered, 0},
		{"its group", []*policy.Grants{given1("t1", allowing("observe"))}, covered, 0},
		{"one of several", []*policy.Grants{given1("t1", allowing("effect"), allowing("fileWrite", "fileRead"))}, covered, 0},
		{"another action", []*policy.Grants{given1("t1", allowing("fileWrite"))}, uncovered, 0},
		{"another group", []*policy.Grants{given1("t1", allowing("effect", "egress"))}, uncovered, 0},
		{"nothing", []*policy.Grants{given1("t1")}, uncovered, 0},
		{"no action", []*policy.Grants{given1("t1", on(policy.Grant{}, u("File", "docs/a.md")))}, uncovered, 0},
		{"an unknown action", []*policy.Grants{given1("t1", allowing("fileRaed", "", "*"))}, uncovered, 0},
		{"the action of a stand-in", []*policy.Grants{given1("t1", allowing("any invokeReadTool"))}, uncovered, 0},
		{"the resource", []*policy.Grants{given1("t1", on(allowing("fileRead"), u("File", "docs/a.md")))}, covered, 0},
		{"what it is in", []*policy.Grants{given1("t1", on(allowing("fileRead"), u("Folder", "docs")))}, covered, 0},
		{"another resource", []*policy.Grants{given1("t1", on(allowing("fileRead"), u("File", "docs/b.md"), u("Folder", "workspace")))}, uncovered, 0},
		{"a resource of another type", []*policy.Grants{given1("t1", on(allowing("fileRead"), u("Folder", "docs/a.md")))}, uncovered, 0},
		{"action and resource in two grants", []*policy.Grants{given1("t1", on(allowing("fileRead"), u("Folder", "workspace")), on(allowing("fileWrite"), u("Folder", "docs")))}, uncovered, 0},
		{"all three", []*policy.Grants{all, all, all}, "open grant of task t9", 0},
		{"of three tasks", []*policy.Grants{given1("t1", allowing("observe")), all, given1("t3", allowing("fileRead"))}, "open grant of task t1 grant of task t9 grant of task t3", 0},
		{"only above", []*policy.Grants{nil, given1("t2", allowing("fileRead"))}, "open grant of task t2", 0},
		{"less above", []*policy.Grants{given1("t1", allowing("observe")), given1("t2", allowing("effect"))}, "grants of task t2", 1},
		{"less at the top", []*policy.Grants{nil, nil, none}, "grants of task t8", 2},
		{"less at two", []*policy.Grants{all, none, given1("t3")}, "grants of task t8", 1},
	}
	engine := New(compile(t, open))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := handed("fileRead", reading(), base(nil), tt.granted...)
			for range 2 { // the second time with what was prepared
				d := engine.Authorize(t.Context(), r)
				if ids(d) != tt.by || d.Hop != tt.hop || len(d.Errors) > 0 || d.Allowed != strings.HasPrefix(tt.by, "open") || d.Approval != "" {
					t.Errorf("got %+v, want by %q at %d", d, tt.by, tt.hop)
				}
			}
		})
	}
}

// Grants narrow and never permit, and no approval lifts what they leave out.
func TestGrantsOnlyNarrow(t *testing.T) {
	full := given1("t1", allowing("observe", "effect", "egress", "control"))
	if d := New(compile(t, "")).Authorize(t.Context(), handed("fileRead", reading(), base(nil), full, full, full)); d.Allowed || len(d.Policies) > 0 {
		t.Errorf("granted, but nothing permits: %+v", d)
	}
	set := compile(t, open+`@id("ask") @needs_approval("a yes")`+fmt.Sprintf(writesNeedAYes, "a1"))
	r := handed("fileWrite", file("a.md", "docs", true, false), base(nil), nil, given1("t2", allowing("observe")))
	if d := New(set).Authorize(t.Context(), r); ids(d) != "grants of task t2" || d.Approval != "" || d.Hop != 1 {
		t.Errorf("%+v", d)
	}
	r.Chain[1].Grants = given1("t2", allowing("effect"))
	if d := New(set).Authorize(t.Context(), r); ids(d) != "ask" || d.Approval != "a yes" {
		t.Errorf("%+v", d)
	}
}

// context.granted is true where every link has grants, and is not asked for where the
// context does not have it.
func TestGrantedInContext(t *testing.T) {
	engine := New(compile(t, `@id("granted") permit (principal is Run, action, resource) when { context.granted };
@id("people") permit (principal is User, action, resource);`))
	full := given1("t1", allowing("fileRead"))
	for _, tt := range []struct {
		granted []*policy.Grants
		want    bool
	}{
		{nil, false},
		{[]*policy.Grants{full}, false},
		{[]*policy.Grants{full, full}, false},
		{[]*policy.Grants{nil, full, full}, false},
		{[]*policy.Grants{full, full, full}, true},
	} {
		if d := engine.Authorize(t.Context(), handed("fileRead", reading(), base(nil), tt.granted...)); d.Allowed != tt.want || len(d.Errors) > 0 {
			t.Errorf("%d grants: %+v", len(tt.granted), d)
		}
	}
	alone := ask("fileRead", reading(), base(nil))
	if d := engine.Authorize(t.Context(), alone); d.Allowed || len(d.Errors) > 0 {
		t.Errorf("without a chain: %+v", d)
	}
	alone.Chain = []policy.Hop{{Principal: alone.Principal, Grants: full}}
	if d := engine.Authorize(t.Context(), alone); !d.Allowed {
		t.Errorf("a chain of one: %+v", d)
	}
	if d := engine.Authorize(t.Context(), approve("owner", "owner", "owner", "fileWrite")); !d.Allowed {
		t.Errorf("a person: %+v", d)
	}
}

// What another Authorizer prepared is not ours to use.
func TestGrantsOfAnother(t *testing.T) {
	g := given1("t1", allowing("fileWrite"))
	g.Prepared.Get(func() any { return "another's" })
	r := handed("fileRead", reading(), base(nil), g)
	if d := New(compile(t, open)).Authorize(t.Context(), r); ids(d) != "grants of task t1" {
		t.Errorf("%+v", d)
	}
}

func TestCandidate(t *testing.T) {
	allow, deny := compile(t, open), compile(t, `@id("shut") forbid (principal, action, resource);`)
	other, err := Compile(map[string][]byte{"p.cedar": []byte(open)}) // without tools
	if err != nil {
		t.Fatal(err)
	}
	engine := New(allow)
	decided := func(r *policy.Request) (policy.Decision, *policy.Decision) {
		d := engine.Authorize(t.Context(), r)
		return d, d.Candidate
	}
	r := handed("fileRead", reading(), base(nil))
	if _, c := decided(r); c != nil || engine.Candidate() != nil {
		t.Errorf("a candidate without a set: %+v", c)
	}
	engine.Replace(allow, deny)
	if d, c := decided(r); !d.Allowed || c == nil || c.Allowed || ids(*c) != "shut" || c.Set != deny.Digest() || d.Set != allow.Digest() || c.Candidate != nil {
		t.Errorf("%+v, candidate %+v", d, c)
	}
	if engine.Set() != allow || engine.Candidate() != deny {
		t.Error("the engine does not tell its sets")
	}
	engine.Replace(deny, allow)
	if d, c := decided(r); d.Allowed || c == nil || !c.Allowed || c.Hop != 0 {
		t.Errorf("%+v, candidate %+v", d, c)
	}
	engine.Replace(allow, other)
	if d, c := decided(r); !d.Allowed || c == nil || !c.Allowed {
		t.Errorf("%+v, candidate %+v", d, c)
	}
	if d, c := decided(use(t, allow, "hello.greet", `{"name": "x"}`)); !d.Allowed || c == nil || c.Allowed || len(c.Errors) == 0 {
		t.Errorf("a tool that the candidate does not know: %+v, candidate %+v", d, c)
	}
	if d, c := decided(nil); d.Allowed || c == nil || len(c.Errors) != 1 {
		t.Errorf("no request: %+v, candidate %+v", d, c)
	}
	engine.Replace(nil, allow)
	if d, c := decided(r); d.Allowed || c != nil {
		t.Errorf("no active set: %+v, candidate %+v", d, c)
	}
	if d, c := new(Engine).Authorize(t.Context(), r), new(Engine).Candidate(); d.Allowed || c != nil {
		t.Errorf("no sets: %+v", d)
	}
}

// A candidate that cannot decide takes nothing from the set that does. This one is
// broken inside, as no set that compiles is.
func TestCandidateThatPanics(t *testing.T) {
	allow := compile(t, open)
	broken := *allow
	broken.index = nil
	engine := New(allow)
	engine.Replace(allow, &broken)
	d := engine.Authorize(t.Context(), ask("fileRead", reading(), base(nil)))
	if !d.Allowed || d.Candidate == nil || d.Candidate.Allowed || len(d.Candidate.Errors) != 1 {
		t.Errorf("%+v, candidate %+v", d, d.Candidate)
	}
}

// One request may be decided by many at once, as runs share what is prepared.
func TestPreparedIsShared(t *testing.T) {
	set := compile(t, open)
	engine := New(set)
	engine.Replace(set, compile(t, ""))
	g := given1("t1", allowing("fileRead"))
	r := handed("fileRead", reading(), base(nil), g, g, g)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				if d := engine.Authorize(t.Context(), r); !d.Allowed || d.Candidate.Allowed {
					t.Errorf("%+v", d)
				}
				if !engine.Could(t.Context(), r) {
					t.Error("it could not be allowed")
				}
			}
		})
	}
	wg.Wait()
}
