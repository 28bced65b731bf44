package cedar

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// officeActions are the tools and connectors of the office in testdata/cases.
func officeActions() []Action {
	connector := func(name, group, input string) Action {
		return Action{Name: name, Groups: []string{group}, Resource: "ConnectorScope", Input: json.RawMessage(input)}
	}
	tool := func(name, group, input string) Action {
		return Action{Name: name, Groups: []string{group}, Resource: "Tool", Input: json.RawMessage(input)}
	}
	const nothing = `{"type":"object"}`
	return []Action{
		connector("jira.get_issue", "connectorRead", nothing),
		connector("jira.create_issue", "connectorCreate", `{"type":"object","required":["project","summary","watchers"],"properties":{
			"project":{"type":"string"},"summary":{"type":"string"},"priority":{"type":"string"},"watchers":{"type":"array","items":{"type":"string"}}}}`),
		connector("jira.update_issue", "connectorUpdate", nothing),
		connector("jira.delete_issue", "connectorDelete", nothing),
		connector("bank.send_money", "connectorSend", `{"type":"object","required":["recipient","amountCents"],"properties":{
			"recipient":{"type":"string"},"amountCents":{"type":"integer"}}}`),
		tool("hello.greet", "invokeReadTool", `{"type":"object","required":["name"],"properties":{"name":{"type":"string"}}}`),
		tool("scripts.run", "invokeReadTool", nothing),
		tool("mail.send", "invokeWriteTool", `{"type":"object","required":["to"],"properties":{
			"to":{"type":"array","items":{"type":"string"}},"subject":{"type":"string"}}}`),
		tool("shop.order", "invokeWriteTool", `{"type":"object","required":["item","quantity","total"],"properties":{
			"item":{"type":"string"},"quantity":{"type":"integer"},"total":{"type":"number"},"express":{"type":"boolean"}}}`),
	}
}

func officeSet(tb testing.TB) *Set {
	tb.Helper()
	set, err := Load(os.DirFS("testdata/cases"), officeActions()...)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// readCases reads a file as a host does, where every key must be known.
func readCases(tb testing.TB, name string) []Case {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "cases", name))
	if err != nil {
		tb.Fatal(err)
	}
	text, err := yaml.YAMLToJSON(b)
	if err != nil {
		tb.Fatal(err)
	}
	var file Cases
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		tb.Fatal(err)
	}
	return file.Cases
}

func TestOfficeCases(t *testing.T) {
	set, cases := officeSet(t), readCases(t, "office.test.yaml")
	decided := map[string]bool{}
	for i, r := range set.RunCases(cases) {
		t.Run(r.Name, func(t *testing.T) {
			if !r.Passed {
				t.Errorf("%s", strings.Join(r.Why, "\n"))
			}
		})
		if cases[i].By == nil {
			t.Errorf("%s: says not by what it is decided", r.Name)
		}
		for _, id := range set.deciders(r.Decision) {
			decided[id] = true
		}
	}
	for _, p := range set.Policies() {
		if !decided[p.ID] {
			t.Errorf("policy %q decides no case", p.ID)
		}
	}
}

// A case that does not come out as it says fails, with the reason and an explanation; so
// does one that cannot be read.
func TestCasesThatFail(t *testing.T) {
	set := officeSet(t)
	raw := func(key, value string) map[string]json.RawMessage {
		return map[string]json.RawMessage{key: json.RawMessage(value)}
	}
	read := Case{Agent: "triage", Action: "jira.get_issue", Resource: "jira/OPS", Expect: "allow"}
	with := func(change func(*Case)) Case {
		c := read
		change(&c)
		return c
	}
	for _, tt := range []struct {
		name string
		c    Case
		why  string
	}{
		{"allowed", with(func(c *Case) { c.Expect = "deny" }), `expected to be denied, but it is allowed`},
		{"denied", with(func(c *Case) { c.Agent = "writer" }), `expected to be allowed, but it is denied`},
		{"asked", with(func(c *Case) {
			c.Agent, c.Action, c.Resource = "buyer", "shop.order", ""
			c.Context = raw("input", `{"item": "pens", "quantity": 1, "total": 60}`)
		}), `expected to be allowed, but it is left to a person`},
		{"error", with(func(c *Case) {
			c.Agent, c.Action, c.Resource, c.Expect = "overflowing", "callModel", "m", "deny"
			c.Context = raw("left", `{"calls": 9223372036854775807}`)
		}), `expected to be denied, but it is undecidable`},
		{"by another", with(func(c *Case) { c.By = []string{"own-memory"} }), `expected to be decided by own-memory, but it is by triage-reads-tickets`},
		{"by one of two", with(func(c *Case) { c.By = []string{"own-memory", "triage-reads-tickets"} }), `expected to be decided by own-memory, triage-reads-tickets, but it is by triage-reads-tickets`},
		{"by none", with(func(c *Case) { c.By = []string{} }), `expected to be decided by no policy, but it is by triage-reads-tickets`},
		{"expect", with(func(c *Case) { c.Expect = "yes" }), `expect is "yes"; write allow, deny, approval or error`},
		{"action", with(func(c *Case) { c.Action = "jira.get_isue" }), `the case cannot be read: the schema has no action "jira.get_isue"; did you mean jira.get_issue?`},
		{"group", with(func(c *Case) { c.Action = "observe" }), `the case cannot be read: "observe" is a group of actions; name one of those in it`},
		{"type of the resource", with(func(c *Case) { c.Resource = "Model::m" }), `the case cannot be read: resource: the name of a ConnectorScope is needed`},
		{"attribute", with(func(c *Case) { c.Attrs = raw("colour", `1`) }), `the case cannot be read: attrs.colour is not in the schema; use one of no attributes`},
		{"context", with(func(c *Case) { c.Context = raw("flow", `{"level": 1}`) }), `the case cannot be read: context.flow.level is not in the schema; use one of control, data, isPublic, named, pc, readers, recipients, sources`},
		{"number", with(func(c *Case) { c.Context = raw("flow", `{"pc": "2"}`) }), `the case cannot be read: context.flow.pc is "2", but a whole number is needed`},
		{"fraction", with(func(c *Case) { c.Context = raw("flow", `{"pc": 1.5}`) }), `the case cannot be read: context.flow.pc is 1.5, but a whole number is needed`},
		{"record", with(func(c *Case) { c.Context = raw("left", `3`) }), `the case cannot be read: context.left is a record of calls, tokens, usdMicros; write it as such`},
		{"list", with(func(c *Case) { c.Context = raw("agents", `"a"`) }), `the case cannot be read: context.agents is a list; write it as such`},
		{"element", with(func(c *Case) { c.Context = raw("agents", `["User::a"]`) }), `the case cannot be read: context.agents[0] is "User::a", but the name of a Agent is needed`},
		{"now", with(func(c *Case) { c.Context = raw("now", `"noon"`) }), `the case cannot be read: context.now: a time such as 2026-01-01T12:00:00Z is needed, or a span from now such as "1h" or "-1m"`},
		{"expires", with(func(c *Case) { c.Task.Expires = "soon" }), `the case cannot be read: task.expires is "soon", but a time such as`},
		{"grant", with(func(c *Case) { c.Task.Grants = []CaseGrant{{Resources: []string{"docs"}}} }), `the case cannot be read: task.grants: "docs" needs its type; write Type::docs`},
		{"granted", with(func(c *Case) { c.Context = raw("granted", `true`) }), `the case cannot be read: context.granted follows from the grants of the tasks; leave it out`},
		{"approved", Case{Action: "readAudit", Approved: "user1", Expect: "deny"}, `the case cannot be read: readAudit takes no approval; leave approved out`},
		{"address", Case{Action: "httpGet", Context: raw("ip", `"here"`), Expect: "deny"}, `the case cannot be read: context.ip is "here", but an address such as 93.184.216.34 is needed`},
		{"decimal", Case{Action: "shop.order", Context: raw("input", `{"total": 1.23456}`), Expect: "deny"}, `the case cannot be read: context.input.total is 1.23456, but a number with up to four digits after the point is needed`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.c.Name = tt.name
			got := set.RunCases([]Case{tt.c})[0]
			if got.Passed || len(got.Why) == 0 || !strings.HasPrefix(got.Why[0], tt.why) || got.Name != tt.name {
				t.Errorf("got %+v", got)
			}
			if got.Decision.Set != "" && len(got.Why) < 2 {
				t.Errorf("%q explains nothing", got.Why)
			}
		})
	}
}

// What a case leaves out is there: every action can be asked for with nothing but its name.
func TestCasesNeedNoMoreThanAnAction(t *testing.T) {
	set := officeSet(t)
	asked := 0
	for action, a := range set.words.schema.Actions {
		if a.AppliesTo == nil {
			continue
		}
		asked++
		r, err := set.words.caseRequest(&Case{Action: string(action.ID)})
		if err != nil {
			t.Errorf("%v: %v", action, err)
			continue
		}
		if _, faults := set.words.query(r); len(faults) > 0 {
			t.Errorf("%v: %q", action, faults)
		}
	}
	if asked < 40 {
		t.Errorf("only %d actions", asked)
	}
}

func FuzzCase(f *testing.F) {
	set := officeSet(f)
	for _, c := range readCases(f, "office.test.yaml") {
		b, err := json.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Case
		if json.Unmarshal(b, &c) != nil {
			return
		}
		got := set.RunCases([]Case{c})[0]
		if got.Passed == (len(got.Why) > 0) {
			t.Errorf("%+v", got)
		}
	})
}
