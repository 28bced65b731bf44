package cedar

import (
	"fmt"
	"maps"
	"math"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/policy"
)

// open permits everything, so that what is denied below is denied by the engine.
const open = `@id("open") permit (principal, action, resource);`

func TestDefaultIsDenial(t *testing.T) {
	r := ask("callModel", model(), base(nil))
	set := compile(t, "")
	if diff := cmp.Diff(policy.Decision{Set: set.Digest()}, New(set).Authorize(t.Context(), r)); diff != "" {
		t.Error(diff)
	}
	for _, e := range []*Engine{New(nil), {}} {
		if d := e.Authorize(t.Context(), r); d.Allowed || len(d.Errors) != 1 {
			t.Errorf("without a set: %+v", d)
		}
	}
	if d := New(compile(t, open)).Authorize(t.Context(), nil); d.Allowed || len(d.Errors) != 1 {
		t.Errorf("without a request: %+v", d)
	}
}

func TestDecision(t *testing.T) {
	set := compile(t, open+"\n"+`@id("also") permit (principal in Agent::"support", action, resource);
@id("no") forbid (principal, action == Action::"embed", resource);`)
	got := New(set).Authorize(t.Context(), ask("callModel", model(), base(nil)))
	want := policy.Decision{Allowed: true, Set: set.Digest(), Policies: []policy.Cause{{ID: "open", File: "p.cedar", Line: 1}, {ID: "also", File: "p.cedar", Line: 2}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = New(set).Authorize(t.Context(), ask("embed", model(), base(nil)))
	want = policy.Decision{Set: set.Digest(), Policies: []policy.Cause{{ID: "no", File: "p.cedar", Line: 3}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Cedar leaves out a policy that errs and would permit here, for a forbid and for
// an unrelated permit alike.
func TestEvaluationErrorDenies(t *testing.T) {
	for _, effect := range []string{"forbid", "permit"} {
		set := compile(t, open+"\n@id(\"errs\") "+effect+` (principal is Run, action, resource) when { context.left.tokens + 1 == 0 };`)
		r := ask("callModel", model(), base(map[string]any{"left": budget(math.MaxInt64, 1, 1)}))
		d := New(set).Authorize(t.Context(), r)
		if d.Allowed || len(d.Policies) > 0 || len(d.Errors) != 1 || !strings.HasPrefix(d.Errors[0], `policy "errs" (p.cedar:2) could not be evaluated, which denies: `) {
			t.Errorf("%s: %+v", effect, d)
		}
		if got := set.Explain(r, d).Lines; len(got) == 0 || got[0] != d.Errors[0] {
			t.Errorf("explained as %q", got)
		}
	}
}

// A forbid on an ancestor must not be escaped by leaving an entity out.
func TestAbsentEntitiesDeny(t *testing.T) {
	engine := New(compile(t, open+`@id("no-helpers") forbid (principal in Role::"helper", action, resource);`))
	without := func(kind string) *policy.Request {
		r := ask("callModel", model(), base(nil))
		known := &policy.Known{}
		for _, e := range r.Known.Entities {
			if e.UID.Type != kind {
				known.Entities = append(known.Entities, e)
			}
		}
		r.Known = known
		return r
	}
	for kind, want := range map[string]string{
		"Run":   `Run::"r1" is needed to decide about Run::"r1" and is not among the entities of the request; add it`,
		"Agent": `Agent::"support" is needed to decide about Run::"r1" and is not among the entities of the request; add it`,
	} {
		d := engine.Authorize(t.Context(), without(kind))
		if d.Allowed || len(d.Errors) != 1 || d.Errors[0] != want {
			t.Errorf("without %s: %+v", kind, d)
		}
	}
	r := ask("callModel", model(), base(nil))
	r.Entities = nil
	if d := engine.Authorize(t.Context(), r); d.Allowed || len(d.Errors) != 1 || !strings.HasPrefix(d.Errors[0], `Model::"main" is needed`) {
		t.Errorf("without the resource: %+v", d)
	}
	if d := engine.Authorize(t.Context(), without("Tenant")); len(d.Errors) > 0 || ids(d) != "no-helpers" {
		t.Errorf("a tenant is in nothing and may be absent: %+v", d)
	}
}

func TestOddRequestsDeny(t *testing.T) {
	loop := map[string]any{}
	loop["loop"] = loop
	with := func(key string, v any) func(*policy.Request) {
		return func(r *policy.Request) { r.Context[key] = v }
	}
	attr := func(v any) func(*policy.Request) {
		return func(r *policy.Request) { r.Entities[0].Attrs["name"] = v }
	}
	tests := []struct {
		name   string
		change func(*policy.Request)
		want   string
	}{
		{"unknown action", func(r *policy.Request) { r.Action.ID = "callModl" }, `the schema has no action Action::"callModl"; did you mean callModel?`},
		{"no action", func(r *policy.Request) { r.Action = policy.UID{} }, `the schema has no action ::"";`},
		{"action group", func(r *policy.Request) { r.Action.ID = "egress" }, `Action::"egress" is a group of actions, not one that can be asked for`},
		{"principal type", func(r *policy.Request) { r.Principal = u("User", "owner") }, `User::"owner" cannot be the principal of Action::"callModel"; that is a Run`},
		{"resource type", func(r *policy.Request) { r.Resource = u("User", "owner") }, `User::"owner" cannot be the resource of Action::"callModel"; that is a Model`},
		{"unknown resource type", func(r *policy.Request) { r.Resource = u("Wombat", "a") }, `Wombat::"a" cannot be the resource of`},
		{"context key missing", func(r *policy.Request) { delete(r.Context, "flow") }, `Action::"callModel": context.flow is missing`},
		{"context key nested", with("left", map[string]any{"tokens": 1, "calls": 1}), `Action::"callModel": context.left.usdMicros is missing`},
		{"context key unknown", with("ip", netip.MustParseAddr("::1")), `Action::"callModel": context.ip is not in the schema; leave it out, or use one of agents, approval, argsDigest,`},
		{"context type", with("now", "today"), `Action::"callModel": context.now is a String where the schema wants a datetime`},
		{"context element", with("chain", []policy.UID{u("User", "owner")}), `Action::"callModel": context.chain[] is a User where the schema wants a Run`},
		{"no context", func(r *policy.Request) { r.Context = nil }, `Action::"callModel": context.agents is missing`},

		{"nil value", with("path", nil), `the context's "path" is nil; leave the key out if there is no value`},
		{"unsupported type", with("path", 1.5), `the context's "path" has the Go type float64, which policies do not know; see policy.Entity`},
		{"named type", with("path", time.Second), `the context's "path" has the Go type time.Duration`},
		{"pointer", with("path", new(string)), `the context's "path" has the Go type *string`},
		{"function", with("path", func() {}), `the context's "path" has the Go type func()`},
		{"element", with("chain", []any{u("Run", "r1"), struct{}{}}), `the context's "chain" element 1 has the Go type struct {}`},
		{"contains itself", with("left", loop), `the context's "left" "loop"`},
		{"no address", with("path", netip.Addr{}), `the context's "path" is the zero netip.Addr, which is no address`},
		{"far future", with("now", time.Unix(math.MaxInt64/2, 0)), `the context's "now" is the time`},

		{"attribute type", attr(7), `entity Model::"main": name is a Long where the schema wants a String`},
		{"attribute of no type", attr([]float32{1}), `entity Model::"main": attribute "name" has the Go type []float32`},
		{"attribute unknown", func(r *policy.Request) { r.Entities[0].Attrs["size"] = 1 }, `entity Model::"main": size is not in the schema; leave it out, or use one of name`},
		{"attribute missing", func(r *policy.Request) { r.Entities[0].Attrs = nil }, `entity Model::"main": name is missing`},
		{"parent type", func(r *policy.Request) { r.Entities[0].Parents = []policy.UID{u("Agent", "support")} }, `entity Model::"main": invalid parent type "Agent"`},
		{"entity type", func(r *policy.Request) { r.Entities = append(r.Entities, policy.Entity{UID: u("Wombat", "w")}) }, `entity Wombat::"w": the schema has no type Wombat;`},
		{"entity twice", func(r *policy.Request) { r.Entities = append(r.Entities, model()) }, `entity Model::"main" is given twice; keep one`},
		{"known twice", func(r *policy.Request) {
			r.Known.Entities = append(r.Known.Entities, r.Known.Entities[0])
		}, `an entity is twice among the known ones; keep one`},
		{"known at odds", func(r *policy.Request) { r.Known.Entities[0].Attrs["name"] = true }, `entity User::"owner": name is a Bool where the schema wants a String`},
		{"an action of its own", func(r *policy.Request) {
			r.Entities = append(r.Entities, policy.Entity{UID: u("Action", "callModel"), Parents: []policy.UID{u("Action", "observe")}})
		}, `entity Action::"callModel": actions and their groups come from the schema alone`},
		{"too many entities", func(r *policy.Request) {
			for i := range maxOwn {
				r.Entities = append(r.Entities, policy.Entity{UID: u("Tenant", fmt.Sprint(i))})
			}
		}, `the request brings 65 entities, more than 64; put shared ones into Known`},
	}
	engine := New(compile(t, open))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := ask("callModel", model(), base(nil))
			if d := engine.Authorize(t.Context(), r); !d.Allowed {
				t.Fatalf("denied as it is: %+v", d)
			}
			r = ask("callModel", model(), base(nil))
			tt.change(r)
			d := engine.Authorize(t.Context(), r)
			if d.Allowed || len(d.Policies) > 0 || len(d.Errors) == 0 || !strings.HasPrefix(d.Errors[0], tt.want) {
				t.Errorf("got %+v, want %q", d, tt.want)
			}
		})
	}
}

// Each Go type arrives as the Cedar type that it stands for.
func TestValues(t *testing.T) {
	r := ask("httpGet", netHost(), net("10.1.2.3"))
	r.Context["approval"] = map[string]any{"by": u("User", "owner"), "digest": "d"}
	r.Context["chain"] = []any{u("Run", "r1")}
	for _, condition := range []string{
		`context.ip == ip("10.1.2.3")`,
		`context.now == datetime("2026-11-24T12:00:00Z")`,
		`context.left.tokens == 1000 && context.left == {tokens: 1000, usdMicros: -1, calls: 50}`,
		`context.flow.readers == ["owner"] && context.flow.named && context.flow.pc == 2`,
		`context.chain.contains(principal) && principal.depth == 0`,
		`context has approval && context.approval.by == principal.user`,
		`principal in [Agent::"support"] && principal in Role::"helper" && principal in Tenant::"home" && principal in Task::"t1"`,
		`action in Action::"egress" && action in Action::"observe" && !(action in Action::"effect")`,
		`resource.tls && resource.port == 443 && resource.host like "docs.*"`,
	} {
		set := compile(t, `@id("a") permit (principal, action == Action::"httpGet", resource) when { `+condition+` };`)
		if d := New(set).Authorize(t.Context(), r); !d.Allowed {
			t.Errorf("%s: %+v", condition, d)
		}
	}
}

// An entity of the request hides the known one of the same name.
func TestOwnEntitiesHideKnown(t *testing.T) {
	r := ask("callModel", model(), base(nil))
	for _, e := range r.Known.Entities {
		if e.UID == u("Task", "t1") {
			e.Attrs = maps.Clone(e.Attrs)
			e.Attrs["state"] = "completed"
			r.Entities = append(r.Entities, e)
		}
	}
	if d := New(starterSet(t)).Authorize(t.Context(), r); ids(d) != "task-is-over" {
		t.Errorf("%+v", d)
	}
}

// Known sets are shared: by engines with different sets, and with an Authorizer
// that keeps a form of its own.
func TestKnownIsShared(t *testing.T) {
	r := ask("callModel", model(), base(nil))
	if d := New(compile(t, open)).Authorize(t.Context(), r); !d.Allowed {
		t.Errorf("%+v", d)
	}
	if d := New(starterSet(t)).Authorize(t.Context(), r); ids(d) != "agents-call-models" {
		t.Errorf("%+v", d)
	}
	r = ask("callModel", model(), base(nil))
	r.Known.Prepared.Get(func() any { return "another's" })
	if d := New(starterSet(t)).Authorize(t.Context(), r); ids(d) != "agents-call-models" {
		t.Errorf("%+v", d)
	}
}

// Every decision comes whole from one set, while sets are replaced.
func TestReplace(t *testing.T) {
	allow, deny := compile(t, open), compile(t, `@id("shut") forbid (principal, action, resource);`)
	engine := New(allow)
	r := ask("callModel", model(), base(nil))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				d := engine.Authorize(t.Context(), r)
				if whole := d.Allowed && d.Set == allow.Digest() && ids(d) == "open" || !d.Allowed && d.Set == deny.Digest() && ids(d) == "shut"; !whole {
					t.Errorf("%+v", d)
				}
			}
		})
	}
	for range 500 {
		engine.Replace(deny, nil)
		engine.Replace(allow, nil)
	}
	wg.Wait()
	if engine.Set() != allow {
		t.Error("the last set is not in force")
	}
}
