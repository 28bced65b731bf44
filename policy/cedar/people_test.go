package cedar

import (
	"testing"

	"github.com/vespiary/vespiary/policy"
)

// wish is what a user asks of the host, as a member of groups.
func wish(user, action string, resource policy.Entity, context map[string]any, groups ...string) *policy.Request {
	person := policy.Entity{UID: u("User", user), Parents: []policy.UID{u("Tenant", "home")}, Attrs: map[string]any{"name": user}, Tags: map[string][]string{"team": {"red", "blue"}}}
	entities := []policy.Entity{resource}
	for _, g := range groups {
		person.Parents = append(person.Parents, u("Group", g))
		entities = append(entities, policy.Entity{UID: u("Group", g)})
	}
	return &policy.Request{Principal: person.UID, Action: u("Action", action), Resource: resource.UID, Context: context, Entities: append(entities, person)}
}

func binding(external bool) policy.Entity {
	return policy.Entity{UID: u("Agent", "support"), Attrs: map[string]any{"module": u("Module", "sha256:aa"), "external": external}}
}

func task(user string) policy.Entity {
	return policy.Entity{UID: u("Task", "t1"), Attrs: map[string]any{"state": "active", "user": u("User", user), "restricted": true, "grants": []string{"observe"}}}
}

func host() policy.Entity { return policy.Entity{UID: u("Host", "this")} }

func opening(restricted bool) map[string]any {
	return asked(map[string]any{"grants": []string{"fileRead"}, "restricted": restricted, "budget": budget(-1, -1, -1)})
}

func TestStarterPeople(t *testing.T) {
	local := asked(map[string]any{"via": "local"})
	tests := []struct {
		name    string
		request *policy.Request
		by      string
	}{
		{"see an agent", wish("user1", "readAgent", binding(false), asked(nil)), "people-use-agents"},
		{"use an agent", wish("user1", "invokeAgent", binding(false), asked(nil)), "people-use-agents"},
		{"open a task", wish("user1", "openTask", binding(false), opening(false)), "people-open-tasks"},
		{"open a task elsewhere with grants", wish("user1", "openTask", binding(true), opening(true)), "people-open-tasks"},
		{"open a task elsewhere without", wish("user1", "openTask", binding(true), opening(false)), ""},
		{"own session", wish("user1", "readSession", session("user1"), asked(nil)), "owners-use-their-sessions"},
		{"go on", wish("user1", "continueSession", session("user1"), asked(nil)), "owners-use-their-sessions"},
		{"fork", wish("user1", "forkSession", session("user1"), asked(nil)), "owners-use-their-sessions"},
		{"erase", wish("user1", "eraseSession", session("user1"), asked(nil)), "owners-use-their-sessions"},
		{"another's session", wish("user1", "readSession", session("user2"), asked(nil)), ""},
		{"go on with another's", wish("user1", "continueSession", session("user2"), asked(nil)), ""},
		{"an operator, another's session", wish("user1", "readSession", session("user2"), asked(nil), "operators"), ""},
		{"import a session", wish("user1", "importSession", binding(false), asked(nil)), ""},
		{"own task", wish("user1", "readTask", task("user1"), asked(nil)), "owners-use-their-tasks"},
		{"end it", wish("user1", "endTask", task("user1"), asked(nil)), "owners-use-their-tasks"},
		{"another's task", wish("user2", "endTask", task("user1"), asked(nil)), ""},
		{"administer", wish("user1", "readAudit", host(), asked(nil)), ""},
		{"an operator", wish("user1", "createKey", host(), asked(map[string]any{"forUser": "user1"}), "staff", "operators"), "operators-administer"},
		{"on the machine", wish("user1", "reloadHost", host(), local), "the-machine-administers"},
	}
	engine := New(starterSet(t))
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := engine.Authorize(t.Context(), tt.request)
			if ids(d) != tt.by || d.Allowed != (tt.by != "") || len(d.Errors) > 0 {
				t.Errorf("got %+v, want by %q", d, tt.by)
			}
			if got := engine.Could(t.Context(), tt.request); got != (d.Allowed || tt.request.Action.ID == "openTask" || tt.request.Action.ID == "readAudit") {
				t.Errorf("it could: %v", got)
			}
		})
	}
}

// Claims are tags, which policies may test.
func TestTags(t *testing.T) {
	engine := New(compile(t, `@id("red") permit (principal is User, action == Action::"readAgent", resource) when { principal.hasTag("team") && principal.getTag("team").contains("red") };`))
	r := wish("user1", "readAgent", binding(false), asked(nil))
	if d := engine.Authorize(t.Context(), r); !d.Allowed {
		t.Errorf("%+v", d)
	}
	person := &r.Entities[len(r.Entities)-1]
	for _, tags := range []map[string][]string{nil, {"team": nil}, {"team": {"green"}}, {"Team": {"red"}}} {
		person.Tags = tags
		if d := engine.Authorize(t.Context(), r); d.Allowed || len(d.Errors) > 0 {
			t.Errorf("%v: %+v", tags, d)
		}
	}
	r.Entities[0].Tags = map[string][]string{"team": {"red"}}
	if d := engine.Authorize(t.Context(), r); d.Allowed || len(d.Errors) == 0 || d.Errors[0] != `entity Agent::"support": the schema gives Agent no tags; leave them out` {
		t.Errorf("%+v", d)
	}
}

func TestStarterDelegation(t *testing.T) {
	handing := func(requested ...string) map[string]any {
		return base(map[string]any{"requested": append([]string{}, requested...), "childBudget": budget(1, 1, 1)})
	}
	engine := New(starterSet(t))
	r := ask("delegate", binding(false), handing("fileRead"))
	if d := engine.Authorize(t.Context(), r); d.Allowed || len(d.Policies) > 0 || len(d.Errors) > 0 {
		t.Errorf("permitted as it is: %+v", d)
	}
	files := starterSet(t).files
	files = map[string][]byte{"delegation.cedar": files["delegation.cedar"], "limits.cedar": files["limits.cedar"], "more.cedar": []byte(`@id("all") permit (principal, action == Action::"delegate", resource);`)}
	set, err := Compile(files)
	if err != nil {
		t.Fatal(err)
	}
	for depth, by := range map[int]string{0: "all", 4: "all", 5: "delegation-ends", 9: "delegation-ends"} {
		r := ask("delegate", binding(false), handing())
		for i, e := range r.Known.Entities {
			if e.UID.Type == "Run" {
				r.Known.Entities[i].Attrs["depth"] = depth
			}
		}
		if d := New(set).Authorize(t.Context(), r); ids(d) != by || len(d.Errors) > 0 {
			t.Errorf("depth %d: %+v", depth, d)
		}
	}
}
