package cedar

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/vespiary/vespiary/policy"
)

// subjectOf is the run of a case, with what it could ask for.
func subjectOf(t *testing.T, set *Set, c Case, resources []policy.Entity, actions ...string) Subject {
	t.Helper()
	c.Action = "callModel"
	r, err := set.words.caseRequest(&c)
	if err != nil {
		t.Fatal(err)
	}
	return Subject{Principal: r.Principal, Known: r.Known, Actions: actions, Resources: resources}
}

func scope(name string) policy.Entity {
	connector, _, _ := strings.Cut(name, "/")
	return policy.Entity{UID: u("ConnectorScope", name), Parents: []policy.UID{u("Connector", connector)}}
}

func TestReachGolden(t *testing.T) {
	office := officeSet(t)
	starter, err := Load(Starter(), officeActions()...)
	if err != nil {
		t.Fatal(err)
	}
	own := []policy.Entity{
		{UID: u("Model", "m-eu"), Parents: []policy.UID{u("Provider", "eu")}, Attrs: map[string]any{"name": "m"}},
		{UID: u("Model", "keeps"), Parents: []policy.UID{u("Provider", "eu")}, Attrs: map[string]any{"name": "k"}},
		{UID: u("Model", "m-us"), Attrs: map[string]any{"name": "m"}},
		scope("jira/OPS"), scope("bank/main"),
		{UID: u("Session", "s1"), Attrs: map[string]any{"owner": u("User", "user"), "agent": u("Agent", "triage")}},
		{UID: u("Tool", "hello.greet"), Parents: []policy.UID{u("ToolSet", "hello")}, Attrs: map[string]any{"source": "hello", "readOnly": true}},
		{UID: u("Tool", "scripts.run"), Parents: []policy.UID{u("ToolSet", "scripts")}, Attrs: map[string]any{"source": "scripts", "readOnly": true}},
	}
	tools := []string{"invokeReadTool", "invokeWriteTool", "connectorRead", "connectorCreate", "connectorSend"}
	calls := append([]string{"callModel", "fileRead", "fileWrite", "memoryRead", "memoryWrite", "httpGet", "httpSend", "reply", "delegate", "reveal"}, tools...)
	broken, err := Compile(map[string][]byte{"p.cedar": []byte(`@id("open") permit (principal, action, resource);
@id("errs") forbid (principal is Run, action == Action::"fileRead", resource) when { principal.depth + 9223372036854775807 + 1 > 0 };
@id("asks") @needs_approval forbid (principal is Run, action == Action::"fileWrite", resource) unless { context has approval && context.approval.digest == context.argsDigest };`)})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, tt := range []struct {
		name    string
		set     *Set
		subject Subject
	}{
		{"triage in the office", office, subjectOf(t, office, Case{Agent: "triage"}, own, calls...)},
		{"a writer in the office", office, subjectOf(t, office, Case{Agent: "writer"}, nil, "fileRead", "fileWrite", "callModel")},
		{"a web reader in the office", office, subjectOf(t, office, Case{Agent: "browser", Roles: []string{"web-reader"}}, nil, "resolveName", "httpGet", "httpSend")},
		{"payments for finance", office, subjectOf(t, office, Case{Agent: "payments", Groups: []string{"finance"}}, own, tools...)},
		{"payments for another", office, subjectOf(t, office, Case{Agent: "payments"}, own, tools...)},
		{"after the end of the task", office, subjectOf(t, office, Case{Agent: "triage", Task: CaseTask{State: "completed"}}, own, "fileRead", "reply")},
		{"the starter", starter, subjectOf(t, starter, Case{Agent: "triage"}, own, append(calls, "emit", "await", "listTools", "embed")...)},
		{"odd policies", broken, subjectOf(t, broken, Case{}, nil, "fileRead", "fileWrite", "fileList")},
	} {
		o, err := tt.set.Reach(tt.subject)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		fmt.Fprintf(&b, "-- %s --\n%s\n", tt.name, strings.Join(o.Lines, "\n"))
	}
	golden(t, "reach.txt", b.String())
}

func TestReachRefuses(t *testing.T) {
	set := officeSet(t)
	good := subjectOf(t, set, Case{}, nil, "fileRead")
	for _, tt := range []struct {
		name   string
		change func(*Subject)
		want   string
	}{
		{"unknown action", func(s *Subject) { s.Actions = []string{"fileReed"} }, `the schema has no action "fileReed"; did you mean fileRead?`},
		{"unknown run", func(s *Subject) { s.Principal = u("Run", "gone") }, `find out what Run::"gone" could do: it is not among the known entities; add it`},
		{"broken entity", func(s *Subject) { s.Resources = []policy.Entity{{UID: u("Model", "m")}} }, `name is missing`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := good
			tt.change(&s)
			if _, err := set.Reach(s); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Every action of runs that the schema has by itself is said in words.
func TestDeedsCoverTheSchema(t *testing.T) {
	for action, a := range compile(t, "").words.schema.Actions {
		_, said := deeds[string(action.ID)]
		if a.AppliesTo != nil && a.AppliesTo.Principals[0] == "Run" && !compile(t, "").words.generated[action] && !said {
			t.Errorf("%v has no words", action)
		}
	}
	if len(deeds) == 0 {
		t.Error("there are no deeds")
	}
}

// Whatever is allowed must have been within reach, whatever the resource; and what is
// surely permitted must be allowed unless a forbid is named.
func TestReachIsNotTooSmall(t *testing.T) {
	allowed, sure := 0, 0
	for seed := range uint64(6) {
		r, set := randomSet(t, 400+seed)
		for range 60 {
			q := r.request(r.world())
			q.Chain = nil
			d := New(set).Authorize(t.Context(), q)
			resources := q.Entities
			if r.chance(50) {
				resources = nil
			}
			if types.EntityType(q.Resource.Type) == "Tool" || len(d.Errors) > 0 {
				continue // a tool goes with its own action only
			}
			o, err := set.Reach(Subject{Principal: q.Principal, Known: q.Known, Actions: []string{q.Action.ID}, Resources: resources})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range o.Calls {
				if c.Resource != uid(q.Resource).String() && c.Resource != "any "+q.Resource.Type {
					continue
				}
				if d.Allowed {
					if allowed++; c.Answer == reachNever {
						t.Errorf("seed %d: allowed, and %+v\n%s", seed, c, set.files["p.cedar"])
					}
				}
				if c.Answer == reachYes && len(c.Forbids) == 0 {
					if sure++; !d.Allowed {
						t.Errorf("seed %d: %+v, and %+v\n%s", seed, c, d, set.files["p.cedar"])
					}
				}
			}
		}
	}
	if allowed < 50 || sure < 5 {
		t.Errorf("only %d were allowed, %d sure", allowed, sure)
	}
}
