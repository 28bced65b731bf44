package app

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/cedar"
)

// forbidA is a set that decides other than baseFiles about some calls.
var forbidA = []host.PolicyFile{
	{Name: "base.cedar", Text: baseFiles["base.cedar"] + "\n@id(\"not-a\") forbid (principal, action == Action::\"fileRead\", resource == File::\"workspace/a\");"},
	{Name: "open.cedar", Text: `@id("list") permit (principal, action == Action::"fileList", resource);`},
}

func (o *office) simulate(files []host.PolicyFile, since time.Time) host.Simulation {
	o.t.Helper()
	s, err := o.policies.Simulate(o.t.Context(), user1, files, since)
	if err != nil {
		o.t.Fatal(err)
	}
	return s
}

func TestSimulate(t *testing.T) {
	o := newOffice(t)
	ids := o.fill()
	o.write(policy.Record{Chain: "people-1", Kind: policy.RecordDecision, Action: "readAudit", Decision: &policy.Decision{}}) // without evidence
	same := o.simulate(o.active().Files, time.Time{})
	want := host.Simulation{Set: o.active().Digest, Decided: 6, Skipped: 1, Changes: []host.SimulatedChange{}}
	if diff := cmp.Diff(want, same); diff != "" {
		t.Errorf("by the same policies (-want +got):\n%s", diff)
	}
	got := o.simulate(forbidA, time.Time{})
	var changes []string
	for _, c := range got.Changes {
		changes = append(changes, c.Record.ID+" "+outcome(c.Record.Decision)+" "+outcome(&c.Is))
		if c.Is.Set != got.Set || c.Record.Decision.Set == got.Set {
			t.Errorf("decided by %s and %s", c.Record.Decision.Set, c.Is.Set)
		}
	}
	wantChanges := []string{
		ids[0] + " allowed denied", ids[2] + " denied allowed", ids[3] + " allowed denied", ids[5] + " denied allowed",
	}
	if diff := cmp.Diff(wantChanges, changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	r, err := o.log.Get(t.Context(), host.DefaultTenant, ids[5])
	if err != nil {
		t.Fatal(err)
	}
	if late := o.simulate(forbidA, r.Time); late.Decided != 1 || len(late.Changes) != 1 || late.Skipped != 1 {
		t.Errorf("since the last: %+v", late)
	}
	if err := o.journals.Erase(t.Context(), host.DefaultTenant, "S1"); err != nil {
		t.Fatal(err)
	}
	if left := o.simulate(forbidA, time.Time{}); left.Decided != 3 || left.Skipped != 4 || len(left.Changes) != 2 {
		t.Errorf("without what was erased: %d decided, %d skipped, %d changes", left.Decided, left.Skipped, len(left.Changes))
	}
	if n := len(o.engineDigest()); n == 0 || o.engineDigest() != want.Set {
		t.Error("a simulation changed who decides")
	}
	_, err = o.policies.Simulate(t.Context(), user1, []host.PolicyFile{{Name: "x.cedar", Text: "permit"}}, time.Time{})
	if host.CodeOf(err) != host.ErrInvalid {
		t.Errorf("by policies that are not valid: %v", err)
	}
	if other, err := o.policies.Simulate(t.Context(), host.Caller{Tenant: "other"}, forbidA, time.Time{}); err != nil || other.Decided+other.Skipped != 0 {
		t.Errorf("another tenant: %+v, %v", other, err)
	}
}

func (o *office) engineDigest() string { return o.engine.Set().Digest() }

// TestSimulateIsBounded: counts are exact, and only the first changes are listed.
func TestSimulateIsBounded(t *testing.T) {
	o := newOffice(t)
	o.session("S1")
	r := o.request("fileRead", fileEntity("workspace/a"), nil)
	first := o.decide("S1", r)
	for range maxSimulated + 2 {
		again := first
		again.ID, again.N, again.Prev, again.Hash, again.Time = "", 0, "", "", time.Time{}
		if err := o.log.Later(&again); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.log.Integrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := o.simulate(forbidA, time.Time{})
	if len(got.Changes) != maxSimulated || got.More != 3 || got.Decided != maxSimulated+3 || got.Changes[0].Record.ID != first.ID {
		t.Errorf("%d changes, %d more, %d decided", len(got.Changes), got.More, got.Decided)
	}
}

func (o *office) explain(id string) host.Explanation {
	o.t.Helper()
	e, err := o.policies.Explain(o.t.Context(), user1, id)
	if err != nil {
		o.t.Fatal(err)
	}
	return e
}

func TestExplain(t *testing.T) {
	o := newOffice(t)
	o.session("S1")
	id := func(action string, r policy.Entity, more map[string]any) string {
		return o.decide("S1", o.request(action, r, more)).ID
	}
	read := id("fileRead", fileEntity("workspace/a"), nil)
	ask := id("fileWrite", fileEntity("workspace/a"), nil)
	user3 := id("hello.greet", greet, name("user3"))
	list := id("fileList", fileEntity("workspace/a"), nil)
	unasked := o.write(policy.Record{
		Chain: "people-1", Kind: policy.RecordDecision, Action: "createKey", Resource: uid("Host", "this"), Who: []policy.Actor{{User: "user2"}},
		Decision: &policy.Decision{Policies: []policy.Cause{{ID: "scopes of key 1"}}},
	}).ID
	check := func(id string, says ...string) {
		t.Helper()
		e := o.explain(id)
		for _, want := range says {
			if !strings.Contains(e.Text, want) {
				t.Errorf("%s does not say %q:\n%s", id, want, e.Text)
			}
		}
		if e.Record.ID != id {
			t.Errorf("the record is %s", e.Record.ID)
		}
	}
	all := func() {
		t.Helper()
		check(read, "agent triage for user user1 asked for fileRead on File workspace/a, which was allowed.", `"read" (base.cedar:1)`)
		check(ask, "left to a person", `"ask" (team/more.cedar:1)`, "writing needs a yes")
		check(user3, "which was denied", `"greet" (base.cedar:2)`, `context.input.name`, `"user3"`)
		check(list, "fileList on File workspace/a, which was denied")
		check(unasked, "user user2 asked for createKey on Host this, which was denied.", "decided by scopes of key 1")
	}
	all()
	var detail struct{ Policies []struct{ ID string } }
	if err := json.Unmarshal(o.explain(read).Detail, &detail); err != nil || len(detail.Policies) != 1 || detail.Policies[0].ID != "read" {
		t.Errorf("detail %+v, %v", detail, err)
	}

	// By the set of then, although another one decides, and the tool is gone.
	o.tools = o.tools[1:]
	o.change(host.PolicyChange{All: true, Write: []host.PolicyFile{{Name: "none.cedar", Text: "// nothing\n"}}})
	all()

	// What was decided by a set that nobody knows is explained by the policies of now.
	lost := o.explain(read).Record
	d := *lost.Decision
	d.Set = "sha256:" + strings.Repeat("0", 64)
	lost.Decision, lost.ID, lost.N, lost.Prev, lost.Hash = &d, "", 0, "", ""
	check(o.write(lost).ID, "which was allowed", "the policies of now", "denied", d.Set)

	if err := o.journals.Erase(t.Context(), host.DefaultTenant, "S1"); err != nil {
		t.Fatal(err)
	}
	check(read, "session S1 was erased", "decided by read (base.cedar:1)")
	check(list, "no policy permits it")

	outcomeID := o.write(policy.Record{Chain: "task-S1", Kind: policy.RecordOutcome, Of: read, Code: "ok"}).ID
	for id, code := range map[string]host.ErrorCode{outcomeID: host.ErrInvalid, "task-S1.99": host.ErrNotFound, "x": host.ErrNotFound} {
		if _, err := o.policies.Explain(t.Context(), user1, id); host.CodeOf(err) != code {
			t.Errorf("%s: %v, want %s", id, err, code)
		}
	}
	if _, err := o.policies.Explain(t.Context(), host.Caller{Tenant: "other"}, read); host.CodeOf(err) != host.ErrNotFound {
		t.Errorf("another tenant: %v", err)
	}
}

// TestExplainCandidate: where the candidate would have decided otherwise, that is said.
func TestExplainCandidate(t *testing.T) {
	o := newOffice(t)
	o.session("S1")
	r := o.request("fileWrite", fileEntity("workspace/a"), map[string]any{"approval": map[string]any{"by": uid("User", "user1"), "digest": "other"}})
	r.Context["flow"].(map[string]any)["pc"] = int64(0)
	r.Context["approval"].(map[string]any)["digest"] = "d"
	rec := o.decide("S1", r)
	if rec.Decision.Candidate == nil {
		t.Fatal("there is no candidate")
	}
	text := o.explain(rec.ID).Text
	differs := outcome(rec.Decision) != outcome(rec.Decision.Candidate)
	if strings.Contains(text, "By the candidate") != differs {
		t.Errorf("active %s, candidate %s:\n%s", outcome(rec.Decision), outcome(rec.Decision.Candidate), text)
	}
	other := *rec.Decision
	other.Candidate = &policy.Decision{Allowed: !rec.Decision.Allowed, Set: "sha256:c", Policies: []policy.Cause{{ID: "x", File: "f.cedar", Line: 2}}}
	rec.Decision, rec.ID, rec.N, rec.Prev, rec.Hash = &other, "", 0, "", ""
	text = o.explain(o.write(rec).ID).Text
	if !strings.Contains(text, "By the candidate sha256:c it would be ") || !strings.Contains(text, "  decided by x (f.cedar:2)") {
		t.Errorf("the candidate is not told:\n%s", text)
	}
}

func TestTightest(t *testing.T) {
	o := newOffice(t)
	o.fill()
	s, err := o.policies.Tightest(t.Context(), user1, "triage", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(s.Policies, "fileRead") || strings.Contains(s.Policies, "fileList") || !strings.Contains(s.Policies, `Agent::"triage"`) {
		t.Errorf("suggested:\n%s\n%q", s.Policies, s.Notes)
	}
	tight := o.simulate([]host.PolicyFile{{Name: "tight.cedar", Text: s.Policies}}, time.Time{})
	if tight.Decided != 6 || len(tight.Changes) != 0 {
		t.Errorf("by the suggestion %d of %d would be decided otherwise", len(tight.Changes), tight.Decided)
	}
	if err := o.journals.Erase(t.Context(), host.DefaultTenant, "S1"); err != nil {
		t.Fatal(err)
	}
	s, err = o.policies.Tightest(t.Context(), user1, "triage", time.Time{})
	if err != nil || !strings.Contains(strings.Join(s.Notes, "\n"), "3 decisions are not counted") {
		t.Errorf("after an erasure: %q, %v", s.Notes, err)
	}
	s, err = o.policies.Tightest(t.Context(), user1, "nobody", time.Time{})
	if err != nil || s.Policies != "" || len(s.Notes) == 0 {
		t.Errorf("an agent that did nothing: %+v, %v", s, err)
	}
}

func TestReach(t *testing.T) {
	o := newOffice(t)
	got, err := o.policies.Reach(t.Context(), user1, "triage")
	if err != nil {
		t.Fatal(err)
	}
	if got.Agent != "triage" || got.Module != triage.Module || got.Set != o.active().Digest {
		t.Errorf("%+v", got)
	}
	answers := map[string]string{}
	for _, a := range got.Abilities {
		answers[a.Call+" "+a.Action] = a.Answer
		if !strings.HasPrefix(a.Text, "may ") {
			t.Errorf("%s: %q is no sentence", a.Call, a.Text)
		}
		if want := `may use the tool hello.greet if context.input.name != "user3" ("greet" (base.cedar:2))`; a.Action == "hello.greet" && a.Text != want {
			t.Errorf("%q, want %q", a.Text, want)
		}
	}
	want := map[string]string{
		"model_chat callModel": host.AbleNo, "tool_call hello.greet": host.AbleSome, "tool_call other.b": host.AbleNo,
		"file_read fileRead": host.AbleYes, "file_write fileWrite": host.AbleAsk,
		"http_fetch resolveName": host.AbleNo, "http_fetch httpGet": host.AbleNo, "http_fetch httpSend": host.AbleNo,
		"agent_call delegate": host.AbleNo, "emit emit": host.AbleNo, "reply reply": host.AbleNo,
	}
	if diff := cmp.Diff(want, answers); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestReachOfStarter: what a new project's agents can do is told as it is meant.
func TestReachOfStarter(t *testing.T) {
	o := newOffice(t)
	set := starterSet(t, o)
	a := o.able()
	a.needs = []string{"model_chat", "tool_list", "memory_session", "http_fetch", "emit", "await", "tool_call", "agent_call"}
	a.models, a.agents = nil, nil
	got, err := reachOf(set, user1, a)
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]string{}
	for _, one := range got.Abilities {
		answers[one.Call+" "+one.Action] = one.Answer
		if strings.Contains(one.Text, "\n") || strings.Contains(one.Text, "budget") {
			t.Errorf("%s: %s", one.Action, one.Text)
		}
	}
	for what, want := range map[string]string{
		"model_chat callModel": host.AbleNo, // there is none
		"tool_list listTools":  host.AbleYes, "memory_session memoryRead": host.AbleYes, "memory_session memoryWrite": host.AbleYes,
		"emit emit": host.AbleYes, "await await": host.AbleYes, "reply reply": host.AbleYes,
		"http_fetch httpSend": host.AbleNo, "agent_call delegate": host.AbleNo,
	} {
		if answers[what] != want {
			t.Errorf("%s: %q, want %q", what, answers[what], want)
		}
	}
}

func starterSet(t *testing.T, o *office) *cedar.Set {
	t.Helper()
	set, err := cedar.Load(cedar.Starter(), actionsOf(o.tools)...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
