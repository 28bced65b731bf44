package cedar

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/policy"
)

// headlines are the lines of an explanation without the conditions below them.
func headlines(e Explanation) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(e.Lines), func(l string) bool { return strings.HasPrefix(l, " ") }), "\n")
}

func TestExplain(t *testing.T) {
	set, err := Load(Starter(), officeActions()...)
	if err != nil {
		t.Fatal(err)
	}
	engine := New(set)
	broken := ask("callModel", model(), base(nil))
	delete(broken.Context, "now")
	mailed := base(map[string]any{"input": map[string]any{"to": []string{"a"}}})
	tests := []struct {
		name    string
		request *policy.Request
		want    string
	}{
		{"permitted", ask("callModel", model(), base(nil)), `permitted by policy "agents-call-models" (agents.cedar:`},
		{"forbidden, with its why", ask("fileRead", file("../a", "docs", false, false), base(nil)), `forbidden by policy "files-stay-inside" (limits.cedar:28): the path leads out of its folder`},
		{"nothing permits", ask("mail.send", writeTool("mail.send"), mailed), `no policy permits Agent::"support" to mail.send Tool::"mail.send"`},
		{"near miss", ask("reply", session("other"), base(nil)), "no policy permits Agent::\"support\" to reply Session::\"s1\"\npolicy \"agents-answer-their-user\" (agents.cedar:31) is about this, but its conditions do not hold"},
		{"invalid", broken, `Action::"callModel": context.now is missing`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := headlines(set.Explain(tt.request, engine.Authorize(t.Context(), tt.request)))
			if !strings.HasPrefix(got, tt.want) || strings.Count(got, "\n") != strings.Count(tt.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// A permit for a parent run alone is not about its children, though they are in it.
func TestExplainLeavesOutOtherScopes(t *testing.T) {
	r := ask("callModel", model(), base(nil))
	for i, e := range r.Known.Entities {
		if e.UID == u("Run", "r1") {
			parent := e
			parent.UID = u("Run", "r0")
			r.Known.Entities[i].Parents = append(e.Parents, parent.UID)
			r.Known.Entities = append(r.Known.Entities, parent)
		}
	}
	set := compile(t, `@id("parent") permit (principal == Run::"r0", action, resource);
@id("family") permit (principal in Run::"r0", action, resource) when { principal.depth > 7 };`)
	want := `no policy permits Agent::"support" to callModel Model::"main"
policy "family" (p.cedar:2) is about this, but its conditions do not hold`
	if diff := cmp.Diff(want, headlines(set.Explain(r, New(set).Authorize(t.Context(), r)))); diff != "" {
		t.Error(diff)
	}
}

// explained are requests by what testdata/explain.txt calls them.
func explained(t *testing.T) []struct {
	name string
	set  *Set
	c    Case
} {
	t.Helper()
	office := officeSet(t)
	raw := func(s string) map[string]json.RawMessage {
		var m map[string]json.RawMessage
		if err := json.Unmarshal([]byte(s), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	untrusted := `"flow": {"pc": 0, "control": 2}, "input": {"project": "OPS", "summary": "x", "watchers": []}`
	granting := CaseTask{ID: "t42", Grants: []CaseGrant{{Actions: []string{"connectorCreate"}, Resources: []string{"Connector::jira"}}}}
	absent, err := Compile(map[string][]byte{"p.cedar": []byte(`@id("permitted") permit (principal, action, resource);
@id("of-tasks-that-end") forbid (principal is Run, action, resource) when { principal.task has expiresAt && principal.task.expiresAt < context.now };
@id("errs") forbid (principal is Run, action, resource) when { principal.depth == 0 && context.left.tokens * 9223372036854775807 > 0 };`)})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 300)
	return []struct {
		name string
		set  *Set
		c    Case
	}{
		{"permitted", office, Case{Agent: "triage", Action: "jira.get_issue", Resource: "jira/OPS"}},
		{"permitted by a condition", office, Case{User: "user1", Action: "memoryRead", Resource: "m"}},
		{"permitted in a chain", office, Case{Agent: "triage", ActsFor: []CaseHop{{Agent: "triage", Task: &granting}}, Task: granting, Action: "jira.create_issue", Resource: "jira/OPS", Context: raw(`{"input": {"project": "OPS", "summary": "x", "watchers": []}}`)}},
		{"forbidden by nested conditions, and a person may approve", office, Case{Agent: "triage", Task: granting, Action: "jira.create_issue", Resource: "jira/OPS", Context: raw("{" + untrusted + "}")}},
		{"approved for other arguments", office, Case{Agent: "triage", Task: granting, Approved: "user", Action: "jira.create_issue", Resource: "jira/OPS", Context: raw("{" + untrusted + `, "approval": {"digest": "sha256:other"}}`)}},
		{"forbidden twice", office, Case{User: "user1", Action: "memoryWrite", Resource: "m", Attrs: raw(`{"tier": "semantic"}`), Context: raw(`{"flow": {"pc": 1, "data": 0}}`)}},
		{"at the instant of expiry", office, Case{Agent: "triage", Task: CaseTask{Expires: "0s"}, Action: "jira.get_issue", Resource: "jira/OPS"}},
		{"nothing permits, one comes near", office, Case{Agent: "payments", User: "user1", Action: "bank.send_money", Resource: "bank/main", Context: raw(`{"input": {"recipient": "GB1", "amountCents": 10001}}`)}},
		{"nothing permits, and nothing is about it", office, Case{Agent: "payments", Action: "jira.delete_issue", Resource: "jira/OPS"}},
		{"an ancestor is not permitted", office, Case{Agent: "triage", ActsFor: []CaseHop{{Agent: "writer"}}, Action: "jira.get_issue", Resource: "jira/OPS"}},
		{"outside the grants", office, Case{Agent: "triage", Task: granting, Action: "jira.get_issue", Resource: "jira/OPS"}},
		{"granted nothing", office, Case{Agent: "triage", Task: CaseTask{ID: "t1", Grants: []CaseGrant{}}, Action: "jira.get_issue", Resource: "jira/OPS"}},
		{"not to be evaluated", absent, Case{Action: "callModel", Context: raw(`{"left": {"tokens": 2, "calls": 1, "usdMicros": 1}}`)}},
		{"a person by claims", office, Case{User: "user1", Groups: []string{"admins"}, Claims: map[string][]string{"mfa": {"no"}}, Action: "readAudit"}},
		{"a forbidden person", office, Case{User: "user1", Action: "openTask", Resource: "triage", Context: raw(`{"expiresAt": "48h", "restricted": true}`)}},
		{"long values", office, Case{Agent: "browser", Roles: []string{"web-reader"}, Action: "resolveName", Resource: long + ":443"}},
	}
}

func TestExplainGolden(t *testing.T) {
	var b strings.Builder
	for _, tt := range explained(t) {
		r, err := tt.set.words.caseRequest(&tt.c)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		e := tt.set.Explain(r, New(tt.set).Authorize(t.Context(), r))
		fmt.Fprintf(&b, "-- %s --\n%s\n", tt.name, e)
	}
	golden(t, "explain.txt", b.String())
}

// Of random decisions, those policies are explained that decided or erred, a permit that
// holds lacks nothing, and what forbids or comes near always lacks something.
func TestExplanationFitsTheDecision(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(8) {
		r, set := randomSet(t, 600+seed)
		for range 150 {
			q := r.request(r.world())
			d := New(set).Authorize(t.Context(), q)
			e := set.Explain(q, d)
			decided := map[string]bool{}
			for _, w := range e.Policies {
				seen[w.Effect+answer(d)]++
				conditional := len(w.Clauses) > 0
				switch {
				case w.Decided && w.Effect == "permit" && w.Lacking != "",
					w.Decided && w.Effect == "forbid" && conditional && w.Lacking == "",
					!w.Decided && len(d.Errors) == 0 && w.Lacking == "":
					t.Errorf("seed %d: %s lacks %q in\n%s", seed, w.ID, w.Lacking, e)
				}
				if w.Decided {
					decided[w.ID] = true
				}
			}
			for _, c := range d.Policies {
				if set.has(c.ID) != decided[c.ID] {
					t.Errorf("seed %d: %s decided, and is not explained in\n%s", seed, c.ID, e)
				}
			}
			for _, id := range set.deciders(d) {
				if set.has(id) && !slices.ContainsFunc(e.Policies, func(w Weighed) bool { return w.ID == id }) {
					t.Errorf("seed %d: %s is not explained in\n%s", seed, id, e)
				}
			}
			if len(e.Lines) == 0 {
				t.Errorf("seed %d: %+v is not explained", seed, d)
			}
		}
	}
	for _, kind := range []string{"permit" + answerAllowed, "permit" + answerDenied, "forbid" + answerDenied, "forbid" + answerError} {
		if seen[kind] < 10 {
			t.Errorf("only %d %s", seen[kind], kind)
		}
	}
}

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}
