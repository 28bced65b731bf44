package cedar

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	cedarlang "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/policy"
)

const (
	writable = `@id("writable") permit (principal, action == Action::"fileWrite", resource);` + "\n"
	ifNotYes = ` forbid (principal, action == Action::"fileWrite", resource) unless { context has approval && context.approval.digest == context.argsDigest };` + "\n"
)

// write asks to write a file, with the approval of a call with the digest, "" for none.
func write(digest string) *policy.Request {
	context := base(nil)
	if digest != "" {
		context["approval"] = map[string]any{"by": u("User", "owner"), "digest": digest}
	}
	return ask("fileWrite", file("a", "workspace", true, false), context)
}

func TestDecisionApproval(t *testing.T) {
	tests := []struct {
		name, set string
		request   *policy.Request
		want      string // Approval
		by        string
	}{
		{"with a text", writable + `@id("a") @needs_approval("writing needs a yes")` + ifNotYes, write(""), "writing needs a yes", "a"},
		{"the text in one line", writable + `@id("a") @needs_approval(" writing\nneeds  a yes")` + ifNotYes, write(""), "writing needs a yes", "a"},
		{"without a value", writable + `@id("a") @needs_approval` + ifNotYes, write(""), "approval", "a"},
		{"with an empty text", writable + `@id("a") @needs_approval("")` + ifNotYes, write(""), "approval", "a"},
		{"approved", writable + `@id("a") @needs_approval` + ifNotYes, write("sha256:bb"), "", "writable"},
		{"approved another call", writable + `@id("a") @needs_approval` + ifNotYes, write("sha256:cc"), "approval", "a"},
		{"the first by id, not by line", writable + `@id("b") @needs_approval("of b")` + ifNotYes + `@id("a") @needs_approval("of a")` + ifNotYes, write(""), "of a", "b a"},
		{
			"one that no person lifts", writable + `@id("a") @needs_approval("of a")` + ifNotYes + `@id("b") forbid (principal, action, resource);`,
			write(""), "", "a b",
		},
		{"by a forbid without it", writable + `@id("a")` + ifNotYes, write(""), "", "a"},
		{"no permit", `@id("a") @needs_approval` + ifNotYes, write(""), "", "a"},
		{"a permit that does not hold", writable[:len(writable)-2] + ` when { resource.readOnly };` + `@id("a") @needs_approval` + ifNotYes, write(""), "", "a"},
		{"by default", "", write(""), "", ""},
		{
			"a permit of several actions", `@id("wide") permit (principal in Agent::"support", action in [Action::"fileWrite", Action::"fileRead"], resource in Folder::"workspace");` + "\n" + `@id("a") @needs_approval` + ifNotYes,
			write(""), "approval", "a",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := compile(t, tt.set)
			d := New(set).Authorize(t.Context(), tt.request)
			if d.Approval != tt.want || ids(d) != tt.by || len(d.Errors) > 0 {
				t.Errorf("got %q by %q %v, want %q by %q", d.Approval, ids(d), d.Errors, tt.want, tt.by)
			}
			if _, again := set.replay(recorded(t, set, tt.request)[0]); !cmp.Equal(d, again) {
				t.Error(cmp.Diff(d, again))
			}
		})
	}
}

// With an error nobody knows what else would deny.
func TestErrorNeedsNoApproval(t *testing.T) {
	set := compile(t, writable+`@id("a") @needs_approval`+ifNotYes+`@id("errs") forbid (principal is Run, action, resource) when { context.left.tokens + 1 == 0 };`)
	r := write("")
	r.Context["left"] = budget(math.MaxInt64, 1, 1)
	d := New(set).Authorize(t.Context(), r)
	if d.Allowed || d.Approval != "" || ids(d) != "a" || len(d.Errors) != 1 {
		t.Errorf("%+v", d)
	}
	r.Context["now"] = "today"
	if d := New(set).Authorize(t.Context(), r); d.Allowed || d.Approval != "" || len(d.Errors) != 1 {
		t.Errorf("%+v", d)
	}
}

// The index leaves out what cannot apply; Approval is what Cedar's own pass over all
// policies gives.
func TestApprovalIndexedLikeLinear(t *testing.T) {
	asked, plain := 0, 0
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 2))
		all := randomPolicies(t, r, 20+r.IntN(60))
		set := &Set{byID: map[string]int{}, index: newIndex()}
		permits := cedarlang.NewPolicySet()
		for _, id := range slices.Sorted(maps.Keys(maps.Collect(all.All()))) {
			p := all.Get(id)
			// Most policies that can err are left out, or few requests would be without an error.
			if strings.Contains(string(p.MarshalCedar()), ".") && r.IntN(8) > 0 {
				all.Remove(id)
				continue
			}
			info := Policy{ID: string(id)}
			if r.IntN(5) > 0 {
				info.Annotations = map[string]string{needsApproval: "of " + info.ID}
			}
			set.byID[info.ID] = len(set.policies)
			set.policies = append(set.policies, info)
			set.index.add(id, p)
			if p.Effect() == cedarlang.Permit {
				permits.Add(id, p)
			}
		}
		world := randomEntities(r)
		for range 100 {
			q := &query{
				request: types.Request{
					Principal: anyUID(r, "User", "Group"), Action: anyUID(r, "Action"), Resource: anyUID(r, "Doc", "Box"),
					Context: types.NewRecord(types.RecordMap{"n": types.Long(r.IntN(8))}),
				},
				entities: entities{shared: world, actions: world},
			}
			q.trace(&vocabulary{})
			q.actions = closure(world, q.request.Action, nil)
			want := linearApproval(set, all, permits, world, q.request)
			if got := set.decide(q).Approval; got != want {
				t.Fatalf("seed %d, request %+v: got %q, want %q", seed, q.request, got, want)
			}
			if want == "" {
				plain++
			} else {
				asked++
			}
		}
	}
	if asked < 400 || plain < 400 {
		t.Errorf("only %d need an approval and %d do not: the test says little", asked, plain)
	}
}

func linearApproval(s *Set, all, permits *cedarlang.PolicySet, world types.EntityMap, r types.Request) string {
	verdict, diag := cedarlang.Authorize(all, world, r)
	if verdict == cedarlang.Allow || len(diag.Errors) > 0 || len(diag.Reasons) == 0 {
		return ""
	}
	var texts []string
	for _, reason := range diag.Reasons {
		text := s.policies[s.byID[string(reason.PolicyID)]].Annotations[needsApproval]
		if text == "" {
			return ""
		}
		texts = append(texts, text)
	}
	if permitted, _ := cedarlang.Authorize(permits, world, r); permitted != cedarlang.Allow {
		return ""
	}
	return slices.Min(texts)
}

func TestCompileApproval(t *testing.T) {
	const (
		dead  = `p.cedar:1: policy "a": it has @needs_approval, but no approval can lift it, because it does not look at context.approval; end it with unless { context has approval && context.approval.digest == context.argsDigest }, or leave @needs_approval out`
		stuck = `p.cedar:1: policy "a": it has @needs_approval and covers approve, which no approval is given for; name in the scope the actions that are meant, or write principal is Run there`
	)
	people := strings.Replace(stuck, "covers approve", "covers what people ask of the host", 1)
	const yes = ` unless { context has approval && context.approval.digest == context.argsDigest };`
	tests := []struct {
		name, src string
		want      []string
	}{
		{"sound", `forbid (principal, action == Action::"fileWrite", resource)` + yes, nil},
		{"in when", `forbid (principal, action == Action::"fileWrite", resource) when { !(context has approval) };`, nil},
		{"has in one", `forbid (principal, action == Action::"fileWrite", resource) unless { context has approval.digest };`, nil},
		{"by index", `forbid (principal, action == Action::"fileWrite", resource) unless { context has "approval" && context["approval"].by == principal.user };`, nil},
		{"deep down", `forbid (principal, action == Action::"fileWrite", resource) unless { if resource.readOnly then false else [context has approval].contains(true) };`, nil},
		{"all that runs do", `forbid (principal is Run, action, resource)` + yes, nil},
		{"an agent's", `forbid (principal in Agent::"support", action, resource)` + yes, nil},
		{"about a resource", `forbid (principal, action, resource is File)` + yes, nil},
		{"a kind of call", `forbid (principal, action in Action::"control", resource)` + yes, nil},
		{
			"on a permit", `permit (principal, action == Action::"fileWrite", resource) when { context has approval };`,
			[]string{`p.cedar:1: policy "a": @needs_approval is on a permit, where it means nothing: a person can lift what is forbidden; leave it out here, and write a second policy with it that forbids the same unless { context has approval && context.approval.digest == context.argsDigest }`},
		},
		{"never looks", `forbid (principal, action == Action::"fileWrite", resource);`, []string{dead}},
		{"looks at the resource", `forbid (principal, action == Action::"fileWrite", resource) unless { resource has approval };`, []string{dead}},
		{"looks elsewhere", `forbid (principal, action == Action::"approve", resource) when { resource.action == "approval" };`, []string{dead, stuck}},
		{"everything", `forbid (principal, action, resource)` + yes, []string{people}},
		{"everything in a tenant", `forbid (principal in Tenant::"home", action in [Action::"fileWrite", Action::"approve"], resource)` + yes, []string{stuck}},
		{"a person", `forbid (principal == User::"owner", action, resource) unless { context has approval };`, []string{people}},
	}
	for _, tt := range tests {
		for _, note := range []string{"@needs_approval ", `@needs_approval("a yes") `} {
			t.Run(tt.name, func(t *testing.T) {
				_, err := Compile(map[string][]byte{"p.cedar": []byte(`@id("a") ` + note + tt.src)})
				if diff := cmp.Diff(tt.want, messages(t, err)); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// approve asks whether user may answer for a call that support makes for asker in a
// session of owner.
func approve(user, asker, owner, action string, groups ...string) *policy.Request {
	home := u("Tenant", "home")
	known := []policy.Entity{
		{UID: home},
		{UID: u("Agent", "support"), Parents: []policy.UID{home}, Attrs: map[string]any{"module": u("Module", "sha256:aa"), "external": false}},
		{UID: u("Session", "s1"), Attrs: map[string]any{"owner": u("User", owner), "agent": u("Agent", "support")}},
	}
	principal := policy.Entity{UID: u("User", user), Parents: []policy.UID{home}, Attrs: map[string]any{"name": user}}
	for _, g := range groups {
		principal.Parents = append(principal.Parents, u("Group", g))
		known = append(known, policy.Entity{UID: u("Group", g), Parents: []policy.UID{home}})
	}
	question := policy.Entity{UID: u("Approval", "sha256:cc"), Attrs: map[string]any{
		"session": u("Session", "s1"), "owner": u("User", owner), "user": u("User", asker), "agent": u("Agent", "support"),
		"action": action, "resource": "File workspace/a", "call": "file_write",
	}}
	return &policy.Request{
		Principal: principal.UID, Action: u("Action", "approve"), Resource: question.UID,
		Context: asked(nil), Entities: append(known, principal, question),
	}
}

func TestApprove(t *testing.T) {
	const more = `
@id("leads") permit (principal in Group::"leads", action == Action::"approve", resource) when { resource.agent in Tenant::"home" && resource.resource like "File *" && resource.call == "file_write" };
@id("takes-two") @why("ask another") forbid (principal, action == Action::"approve", resource) when { resource.action == "httpSend" && resource.user == principal };
@id("hours") forbid (principal, action == Action::"approve", resource) unless { context.now < datetime("2026-12-01") && resource.session.owner == resource.owner };`
	files := map[string][]byte{"more.cedar": []byte(more)}
	maps.Copy(files, starterSet(t).files)
	set, err := Compile(files)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		request *policy.Request
		by      string
		explain string
	}{
		{"owner", approve("owner", "owner", "owner", "fileWrite"), "owners-approve", `permitted by policy "owners-approve" (approvals.cedar:12)`},
		{"owner, of another's call", approve("owner", "guest", "owner", "httpSend"), "owners-approve", `permitted by policy "owners-approve" (approvals.cedar:12)`},
		{"lead", approve("lead", "owner", "owner", "fileWrite", "leads"), "leads", `permitted by policy "leads" (more.cedar:2)`},
		{"owner, but it takes two", approve("owner", "owner", "owner", "httpSend"), "takes-two", `forbidden by policy "takes-two" (more.cedar:3): ask another`},
		{
			"of another session", approve("owner", "owner", "guest", "fileWrite"), "",
			"no policy permits User::\"owner\" to approve Approval::\"sha256:cc\"\npolicy \"owners-approve\" (approvals.cedar:12) is about this, but its conditions do not hold",
		},
		{
			"who asked", approve("guest", "guest", "owner", "fileWrite"), "",
			"no policy permits User::\"guest\" to approve Approval::\"sha256:cc\"\npolicy \"owners-approve\" (approvals.cedar:12) is about this, but its conditions do not hold",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := New(set).Authorize(t.Context(), tt.request)
			if ids(d) != tt.by || len(d.Errors) > 0 || d.Approval != "" {
				t.Errorf("got %+v, want by %q", d, tt.by)
			}
			if diff := cmp.Diff(tt.explain, headlines(set.Explain(tt.request, d))); diff != "" {
				t.Error(diff)
			}
			if _, again := set.replay(recorded(t, set, tt.request)[0]); !cmp.Equal(d, again) {
				t.Error(cmp.Diff(d, again))
			}
		})
	}
}

func TestOddApproveDenies(t *testing.T) {
	engine := New(compile(t, open))
	tests := []struct {
		name   string
		change func(*policy.Request)
		want   string
	}{
		{"a run", func(r *policy.Request) { r.Principal = u("Run", "r1") }, `Run::"r1" cannot be the principal of Action::"approve"; that is a User`},
		{"a session", func(r *policy.Request) { r.Resource = u("Session", "s1") }, `Session::"s1" cannot be the resource of Action::"approve"; that is a Approval`},
		{"more context", func(r *policy.Request) { r.Context["path"] = "1/2" }, `Action::"approve": context.path is not in the schema; leave it out, or use one of actors, now, scopes, via`},
		{"unknown person", func(r *policy.Request) { r.Principal = u("User", "nobody") }, `User::"nobody" is needed to decide about User::"nobody" and is not among the entities of the request; add it`},
		{"unknown group", func(r *policy.Request) {
			p := &r.Entities[len(r.Entities)-2]
			p.Parents = append(p.Parents, u("Group", "leads"))
		}, `Group::"leads" is needed to decide about User::"owner" and is not among the entities of the request; add it`},
		{"no owner", func(r *policy.Request) { delete(r.Entities[len(r.Entities)-1].Attrs, "owner") }, `entity Approval::"sha256:cc": owner is missing`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := approve("owner", "owner", "owner", "fileWrite")
			if d := engine.Authorize(t.Context(), r); !d.Allowed {
				t.Fatalf("denied as it is: %+v", d)
			}
			tt.change(r)
			d := engine.Authorize(t.Context(), r)
			if d.Allowed || len(d.Errors) == 0 || d.Errors[0] != tt.want {
				t.Errorf("got %+v, want %q", d, tt.want)
			}
		})
	}
}

// No group of actions has approve in it: who permits agents a kind of call must not
// make all people judges of it.
func TestApproveIsInNoGroup(t *testing.T) {
	for _, group := range []string{"observe", "effect", "egress", "control"} {
		set := compile(t, fmt.Sprintf(`@id("wide") permit (principal, action in Action::%q, resource);`, group))
		if d := New(set).Authorize(t.Context(), approve("owner", "owner", "owner", "fileWrite")); d.Allowed || len(d.Errors) > 0 {
			t.Errorf("%s: %+v", group, d)
		}
	}
}

func TestExplainApproval(t *testing.T) {
	forbidden := `forbidden by policy "a" (p.cedar:%d)`
	for _, tt := range []struct{ name, set, want string }{
		{"with a text", writable + `@id("a") @needs_approval("a yes")` + ifNotYes, fmt.Sprintf(forbidden, 2) + "\na person may approve this call: a yes"},
		{"without a text", writable + `@id("a") @needs_approval` + ifNotYes, fmt.Sprintf(forbidden, 2) + "\na person may approve this call"},
		{
			"not permitted either", `@id("a") @needs_approval` + ifNotYes + writable[:len(writable)-2] + " when { resource.readOnly };",
			fmt.Sprintf(forbidden, 1) + `
nobody is asked to approve it, because an approval lifts a forbid and permits nothing
no policy permits Agent::"support" to fileWrite File::"workspace/a"
policy "writable" (p.cedar:2) is about this, but its conditions do not hold`,
		},
		{"not by a person", writable + `@id("a")` + ifNotYes, fmt.Sprintf(forbidden, 2)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, r := compile(t, tt.set), write("")
			if diff := cmp.Diff(tt.want, headlines(set.Explain(r, New(set).Authorize(t.Context(), r)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSuggestApproval(t *testing.T) {
	const call = `Agent::"support" fileWrite File::"workspace/a": `
	permit := `@id("support-fileWrite")
permit (
  principal in Agent::"support",
  action == Action::"fileWrite",
  resource == File::"workspace/a"
);
`
	for _, tt := range []struct {
		name, set string
		denied    *policy.Request
		want      Suggestion
	}{
		{
			"waits for a person", writable + `@id("a") @needs_approval` + ifNotYes, write(""),
			Suggestion{Notes: []string{call + `left to a person by policy "a" (p.cedar:2), which no permit replaces; approve the call, or change that policy`}},
		},
		{
			"lacks a permit too", `@id("a") @needs_approval` + ifNotYes, write(""),
			Suggestion{Policies: permit, Notes: []string{call + `with a permit, a person is asked to approve each call, by policy "a" (p.cedar:1)`}},
		},
		{
			"who may approve", "", approve("lead", "owner", "owner", "fileWrite"),
			Suggestion{Notes: []string{`User::"lead" approve Approval::"sha256:cc": what people may do is not for a suggestion; write a permit by hand`}},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := compile(t, tt.set)
			if diff := cmp.Diff(tt.want, set.Suggest(recorded(t, set, tt.denied))); diff != "" {
				t.Error(diff)
			}
		})
	}
}
