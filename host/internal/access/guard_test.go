package access_test

import (
	"context"
	"errors"
	"iter"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/access"
	"github.com/vespiary/vespiary/policy"
)

var user2 = host.Caller{Tenant: "home", User: "user2", Key: "k2", Via: host.ViaToken}

// TestNew: a guard without one of its needs would guard nothing.
func TestNew(t *testing.T) {
	if _, err := access.New(access.Options{}); err == nil {
		t.Error("a guard without options was made")
	}
}

const owners = `
@id("owners") permit (principal, action, resource is Session) when { resource.owner == principal };
@id("everybody") permit (principal, action in [Action::"readAgent", Action::"invokeAgent"], resource);
@id("no-erasing") forbid (principal, action == Action::"eraseSession", resource);
`

// TestHiddenAndForbidden: what a caller may not read is not there, what they may read and
// not do says who forbids it.
func TestHiddenAndForbidden(t *testing.T) {
	w := newWorld(t, owners)
	durable, sessions := w.guard.Durable(durable{w}, sessions{w}), w.guard.Sessions(sessions{w})
	for name, tc := range map[string]struct {
		do   func() error
		want string
		on   []string // record
	}{
		"erase one's own": {
			func() error { _, err := durable.Erase(t.Context(), user1, "S1"); return err },
			"session S1: user user1 may not eraseSession: forbidden by no-erasing; ask whoever keeps the policies of this host",
			[]string{"eraseSession no"},
		},
		"erase another's": {
			func() error { _, err := durable.Erase(t.Context(), user2, "S1"); return err },
			"find session S1: there is none with this id among yours; GET /v1/sessions lists them",
			[]string{"readSession no"},
		},
		"read another's": {
			func() error { _, err := sessions.Get(t.Context(), user2, "S1"); return err },
			"find session S1: there is none with this id among yours; GET /v1/sessions lists them",
			[]string{"readSession no"},
		},
		"go on with another's": {
			func() error {
				_, err := sessions.Invoke(t.Context(), host.Invocation{Caller: user2, Agent: "hello", Session: "S1"})
				return err
			},
			"find session S1: there is none with this id among yours; GET /v1/sessions lists them",
			[]string{"readSession no"},
		},
		"open a task without a permit": {
			func() error {
				_, err := sessions.Invoke(t.Context(), host.Invocation{Caller: user2, Agent: "hello", Task: host.TaskSpec{Budget: host.Budget{Calls: 1}}})
				return err
			},
			"agent hello: user user2 may not openTask: no policy permits it; ask whoever keeps the policies of this host",
			[]string{"openTask no"},
		},
		"administer": {
			func() error { return w.guard.Admin(admin{w}, sessions).Reload(t.Context(), user2) },
			"the host: user user2 may not reloadHost: no policy permits it; ask whoever keeps the policies of this host",
			[]string{"reloadHost no"},
		},
		"invoke": {
			func() error {
				_, err := sessions.Invoke(t.Context(), host.Invocation{Caller: user2, Agent: "hello"})
				return err
			},
			"",
			[]string{"invokeAgent yes"},
		},
	} {
		w.forget()
		got := ""
		if err := tc.do(); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
		if diff := cmp.Diff(tc.on, w.decided("")); diff != "" {
			t.Errorf("%s: on record: %s", name, diff)
		}
	}
}

// TestBroken: a policy that cannot be evaluated denies, and its fault is not told.
func TestBroken(t *testing.T) {
	w := newWorld(t, permitAll+`
		@id("overflow") forbid (principal, action == Action::"reloadHost", resource) when { 9223372036854775807 + 1 == 0 };`)
	quiet := &quietly{w}
	guard, err := access.New(access.Options{Policy: w.engine, Audit: quiet, Now: w.clock, Agents: func(string) (*host.Agent, bool) { return nil, false }})
	if err != nil {
		t.Fatal(err)
	}
	err = guard.Admin(admin{w}, sessions{w}).Reload(t.Context(), user1)
	if host.CodeOf(err) != host.ErrForbidden || strings.Contains(err.Error(), "overflow") || !strings.Contains(err.Error(), "cannot be evaluated") {
		t.Error(err)
	}
}

// quietly takes records of decisions with errors.
type quietly struct{ *world }

func (q *quietly) Later(*policy.Record) error { return nil }

// TestWhatPoliciesSee: groups, claims, actors and tenants of the caller, the groups of the
// owner, and what a task is to be opened with.
func TestWhatPoliciesSee(t *testing.T) {
	task := host.TaskSpec{
		Grants: []policy.Grant{{Actions: []string{"fileRead"}}}, Budget: host.Budget{Calls: 5}, Expires: noon.Add(time.Hour),
	}
	for condition, want := range map[string]bool{
		`principal in Group::"staff"`:      true,
		`principal in Group::"team-user1"`: false, // that is what the configuration says of owners
		`principal in Tenant::"home"`:      true,
		`Group::"staff" in Tenant::"home"`: true,
		`principal.hasTag("department")`:   true,
		`principal.hasTag("department") && principal.getTag("department").contains("sales")`: true,
		`principal.hasTag("department") && principal.getTag("department").contains("law")`:   false,
		`resource.owner in Group::"team-user1"`:                                              false, // the caller is the owner
		`resource.owner == principal`:                                                        true,
		`resource.agent in Role::"helper"`:                                                   true,
		`resource.agent.module.name == "builtin:loop"`:                                       true,
		`resource.agent.external`:                                                            false,
		`context.via == "key" && context.actors.contains("mcp")`:                             true,
		`context.scopes.isEmpty() && context.now > datetime("2030-01-01")`:                   true,
	} {
		w := newWorld(t, `@id("p") permit (principal, action == Action::"readSession", resource) when { `+condition+` };`)
		_, err := w.guard.Sessions(sessions{w}).Get(t.Context(), user1, "S1")
		if (err == nil) != want {
			t.Errorf("%s: %v", condition, err)
		}
	}
	for condition, want := range map[string]bool{
		`context.grants.contains("fileRead") && context.restricted`:     true,
		`context.budget.calls == 5 && context.budget.tokens == -1`:      true,
		`context has expiresAt && context.expiresAt < context.now`:      false,
		`context has expiresAt && resource == Agent::"hello"`:           true,
		`context.budget == {tokens: -1, usdMicros: -1, calls: 5}`:       true,
		`resource in Tenant::"home" && principal.name == "user1"`:       true,
		`resource in Tenant::"elsewhere"`:                               false,
		`context.grants.containsAny(["fileWrite", "effect", "egress"])`: false,
	} {
		w := newWorld(t, `@id("r") permit (principal, action == Action::"readAgent", resource);
			@id("p") permit (principal, action == Action::"openTask", resource) when { `+condition+` };`)
		_, _, err := w.guard.Tasks(tasks{w}).OpenTask(t.Context(), user1, "hello", task)
		if (err == nil) != want {
			t.Errorf("%s: %v", condition, err)
		}
	}
	for condition, want := range map[string]bool{
		`resource in Task::"T1" && resource has parent`:                                            true,
		`resource.state == "active" && resource has expiresAt && resource.expiresAt > context.now`: true,
		`resource.restricted && resource.grants.contains("observe")`:                               true,
		`resource.user in Group::"team-user1"`:                                                     true,
		`resource.user == principal`:                                                               false,
		`resource has parent && resource.parent.state == "cancelled"`:                              false,
		`resource in Task::"T3"`:                                                                   false,
		`principal in Group::"staff" || principal in Tenant::"elsewhere"`:                          false,
	} {
		w := newWorld(t, `@id("p") permit (principal, action == Action::"readTask", resource) when { `+condition+` };`)
		_, err := w.guard.Tasks(tasks{w}).Task(t.Context(), user2, "T2")
		if (err == nil) != want {
			t.Errorf("%s: %v", condition, err)
		}
	}
}

// many is a service of many sessions that does not ask which are visible.
type many struct{ sessions }

func (many) List(context.Context, host.Caller, host.SessionFilter) ([]host.Session, error) {
	var out []host.Session
	for _, id := range []string{"S5", "S4", "S3", "S2", "S1"} {
		s := sessionOf(id)
		if id > "S2" {
			s.Owner = "user2"
		}
		out = append(out, s)
	}
	return out, nil
}

// TestLists: a list has what the caller may read, also from a service that hands out all,
// and one record.
func TestLists(t *testing.T) {
	w := newWorld(t, owners)
	got, err := w.guard.Sessions(many{sessions{w}}).List(t.Context(), user1, host.SessionFilter{})
	if err != nil || len(got) != 2 || got[0].ID != "S2" || got[1].ID != "S1" {
		t.Errorf("%v, %v", got, err)
	}
	if len(w.records) != 1 || w.records[0].Note != "2 may be read, 3 may not" || w.records[0].Decision.Policies[0].ID != "owners" {
		t.Errorf("on record: %+v", w.records)
	}
}

// slowly is a service whose events take their time.
type slowly struct {
	sessions
	step func(i int)
}

func (s slowly) Events(ctx context.Context, c host.Caller, id, after string) iter.Seq2[host.StreamEvent, error] {
	return func(yield func(host.StreamEvent, error) bool) {
		i := 0
		for e, err := range s.sessions.Events(ctx, c, id, after) {
			s.step(i)
			if i++; !yield(e, err) {
				return
			}
		}
	}
}

func (s slowly) Await(ctx context.Context, c host.Caller, id string, n int) (host.Turn, error) {
	s.step(1)
	return s.sessions.Await(ctx, c, id, n)
}

const staffOnly = `
@id("staff") forbid (principal, action, resource) unless { principal in Group::"staff" };`

// TestFollowing: other policies, other groups and a key that is revoked end what a caller
// follows, and so does none of them within moments.
func TestFollowing(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(w *world)
		after  time.Duration
		events int
		code   host.ErrorCode
	}{
		"nothing":        {func(*world) {}, time.Hour, 3, ""},
		"other policies": {func(w *world) { w.engine.Replace(compiled(t, ""), nil) }, 3 * time.Second, 1, host.ErrNotFound},
		"moments":        {func(w *world) { w.engine.Replace(compiled(t, ""), nil) }, time.Second, 3, ""},
		"the clock":      {func(w *world) { w.engine.Replace(compiled(t, ""), nil) }, -time.Hour, 1, host.ErrNotFound},
		"other groups":   {func(w *world) { w.groups = nil }, 3 * time.Second, 1, host.ErrNotFound},
		"the key":        {func(w *world) { w.over = host.Errorf(host.ErrUnauthorized, "revoked") }, time.Minute, 1, host.ErrUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, owners+staffOnly)
			inner := slowly{sessions{w}, func(i int) {
				if i == 1 {
					tc.change(w)
					w.now = w.now.Add(tc.after)
				}
			}}
			n, err := drain(w.guard.Sessions(inner).Events(t.Context(), user1, "S1", ""))
			if n != tc.events || host.CodeOf(err) != tc.code {
				t.Errorf("%d events, %v", n, err)
			}
			if denied := contains(w.decided("Sessions.Events"), " no"); denied != (tc.code != "") {
				t.Errorf("on record: %v", w.decided("Sessions.Events"))
			}
			w.engine.Replace(compiled(t, owners+staffOnly), nil)
			w.over, w.groups = nil, user1.Groups
			turn, err := w.guard.Sessions(inner).Await(t.Context(), user1, "S1", 1)
			if host.CodeOf(err) != tc.code || (err == nil) != (turn.Number == 1) {
				t.Errorf("await: %v, %v", turn, err)
			}
		})
	}
}

// TestImport: the agent that the file names is decided about before anything is kept.
func TestImport(t *testing.T) {
	w := newWorld(t, `@id("p") permit (principal, action in [Action::"readAgent", Action::"importSession"], resource == Agent::"other");`)
	imports := w.guard.Durable(durable{w}, sessions{w})
	for agent, want := range map[string]host.ErrorCode{"": host.ErrNotFound, "hello": host.ErrNotFound, "other": ""} {
		w.forget()
		_, err := imports.Import(t.Context(), user1, host.ImportOptions{Agent: agent}, strings.NewReader(""))
		if host.CodeOf(err) != want || (w.at("inner Durable.Import") < 0) != (want != "") {
			t.Errorf("%q: %v, %v", agent, err, w.log)
		}
		if agent == "hello" && contains(w.log, "reading") {
			t.Error("the file was read for an agent that was named and is hidden")
		}
	}
}

// TestInvokeAgain: a repeated invocation shows the turn to whom may read it.
func TestInvokeAgain(t *testing.T) {
	const invoke = `@id("p") permit (principal, action in [Action::"readAgent", Action::"invokeAgent"], resource);`
	for policies, want := range map[string]string{invoke: "", invoke + `@id("r") permit (principal, action in Action::"read", resource);`: "a secret"} {
		w := newWorld(t, policies)
		turn, err := w.guard.Sessions(sessions{w}).Invoke(t.Context(), host.Invocation{Caller: user1, Agent: "hello", IdempotencyKey: "again"})
		if err != nil || turn.Session != "S1" || abi.TextOf(turn.Content) != want {
			t.Errorf("%+v, %v; want %q", turn, err, want)
		}
	}
}

// TestNewKeysAreNotWider: a key with scopes makes no key that can do more.
func TestNewKeysAreNotWider(t *testing.T) {
	for _, tc := range []struct {
		mine, new []string
		ok        bool
	}{
		{nil, nil, true},
		{nil, []string{"use"}, true},
		{[]string{"administer"}, nil, false},
		{[]string{"administer"}, []string{"readKeys"}, true},
		{[]string{"administer"}, []string{"administer"}, true},
		{[]string{"administer"}, []string{"administer", "use"}, false},
		{[]string{"createKey", "use"}, []string{"invokeAgent", "createKey"}, true},
		{[]string{"createKey", "invokeAgent"}, []string{"use"}, false},
		{[]string{"createKey", ""}, []string{"approve"}, false},
	} {
		w := newWorld(t, permitAll)
		c := user1
		c.Scopes = tc.mine
		_, _, err := w.guard.Keys(keys{w}).Create(t.Context(), c, host.APIKeySpec{Name: "n", Scopes: tc.new})
		if (err == nil) != tc.ok || (w.at("inner Keys.Create") >= 0) != tc.ok {
			t.Errorf("%v makes %v: %v", tc.mine, tc.new, err)
		}
	}
}

// TestRecord shows what is taken down of a change, whole.
func TestRecord(t *testing.T) {
	w := newWorld(t, owners)
	if _, err := w.guard.Sessions(sessions{w}).Cancel(t.Context(), user1, "S1"); err != nil {
		t.Fatal(err)
	}
	base := policy.Record{
		Chain: "people-2030-01-02", Time: noon, Tenant: "home", Key: "k1", Remote: "192.0.2.7", Call: "Sessions.Cancel",
		Who: []policy.Actor{{Agent: "mcp"}, {User: "user1"}},
	}
	decision, outcome := base, base
	decision.ID, decision.N, decision.Kind, decision.Session, decision.Action = "people-2030-01-02.1", 1, policy.RecordDecision, "S1", "cancelSession"
	decision.Resource = policy.UID{Type: "Session", ID: "S1"}
	decision.Decision = &policy.Decision{Allowed: true, Policies: []policy.Cause{{ID: "owners", File: "p.cedar", Line: 2}}, Set: w.engine.Set().Digest()}
	outcome.ID, outcome.N, outcome.Kind, outcome.Of, outcome.Code, outcome.Note = "people-2030-01-02.2", 2, policy.RecordOutcome, decision.ID, "ok", "session S1"
	if diff := cmp.Diff([]policy.Record{decision, outcome}, w.records); diff != "" {
		t.Error(diff)
	}
}

// failing is a service that fails.
type failing struct{ admin }

func (failing) Reload(context.Context, host.Caller) error {
	return host.Errorf(host.ErrInvalid, "vespiary.yaml:3: no such thing")
}

// TestOutcome: a change that failed is on record as that.
func TestOutcome(t *testing.T) {
	w := newWorld(t, permitAll)
	if err := w.guard.Admin(failing{admin{w}}, sessions{w}).Reload(t.Context(), user1); host.CodeOf(err) != host.ErrInvalid {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"invalid"}, w.outcomes("Admin.Reload")); diff != "" {
		t.Error(diff)
	}
}

// TestEvidence: the request is sealed for the record of its decision.
func TestEvidence(t *testing.T) {
	w := newWorld(t, owners)
	guard, err := access.New(access.Options{
		Policy: w.engine, Audit: w, Now: w.clock, Agents: func(string) (*host.Agent, bool) { return nil, false },
		Evidence: func(_ context.Context, tenant, session string, r *policy.Request) []byte {
			return []byte(tenant + "/" + session + " " + r.Action.ID)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := guard.Sessions(sessions{w}).Get(t.Context(), user1, "S1"); err != nil {
		t.Fatal(err)
	}
	if got := string(w.records[0].Evidence); got != "home/S1 readSession" {
		t.Errorf("%q", got)
	}
}

// TestMetrics: reading metrics is decided as all else is.
func TestMetrics(t *testing.T) {
	w := newWorld(t, `@id("p") permit (principal == User::"user2", action == Action::"readMetrics", resource);`)
	if err := w.guard.ReadMetrics(t.Context(), user1); host.CodeOf(err) != host.ErrForbidden {
		t.Error(err)
	}
	if err := w.guard.ReadMetrics(t.Context(), user2); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"readMetrics no", "readMetrics yes"}, w.decided("Host.ReadMetrics")); diff != "" {
		t.Error(diff)
	}
}

// TestServiceFails: an error of a service is passed on, and hides nothing.
func TestServiceFails(t *testing.T) {
	w := newWorld(t, permitAll)
	gone := errors.New("disk")
	_, err := w.guard.Sessions(broken{sessions{w}, gone}).Get(t.Context(), user1, "S1")
	if !errors.Is(err, gone) {
		t.Error(err)
	}
}

type broken struct {
	sessions
	err error
}

func (b broken) Get(context.Context, host.Caller, string) (host.Session, error) {
	return host.Session{}, b.err
}

var (
	inbound  = regexp.MustCompile(`(?s)// ---- what people and services ask.*`)
	actions  = regexp.MustCompile(`(?m)^action ([\w, \n]+?)\s+(?:in \[(\w+)\]\s+)?appliesTo`)
	comments = regexp.MustCompile(`//[^\n]*`)
)

// TestScopesAreTheSchemas: scopes know each action that people ask for, and its group, as
// the schema does. A key with a group's name as its scope is for each of the group.
func TestScopesAreTheSchemas(t *testing.T) {
	b, err := os.ReadFile("../../../policy/cedar/vespiary.cedarschema")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, m := range actions.FindAllStringSubmatch(comments.ReplaceAllString(inbound.FindString(string(b)), ""), -1) {
		for name := range strings.SplitSeq(m[1], ",") {
			n++
			name = strings.TrimSpace(name)
			group, ok := access.Groups[name]
			if !ok || group != m[2] {
				t.Errorf("%s is in %q, and for scopes in %q (%v)", name, m[2], group, ok)
			}
		}
	}
	if n != len(access.Groups) || n < 20 {
		t.Errorf("the schema has %d actions, scopes know %d", n, len(access.Groups))
	}
}

// TestNamesOfNothing: callers choose what they ask for, and the audit is kept for ever.
func TestNamesOfNothing(t *testing.T) {
	w := newWorld(t, permitAll)
	w.empty = true
	if _, err := w.guard.Sessions(sessions{w}).Get(t.Context(), user1, strings.Repeat("é", 10_000)); host.CodeOf(err) != host.ErrNotFound {
		t.Fatal(err)
	}
	if id := w.records[0].Resource.ID; len(id) > 300 || !utf8.ValidString(id) {
		t.Errorf("the audit has an id of %d bytes", len(id))
	}
}

// TestSharedGroups: two people who are named by what somebody asks about are in one group.
func TestSharedGroups(t *testing.T) {
	w := newWorld(t, `@id("p") permit (principal, action == Action::"approve", resource)
		when { resource.owner in Group::"everybody" && resource.user in Group::"everybody" && resource.owner != resource.user };`)
	third := host.Caller{Tenant: "home", User: "user3", Via: host.ViaKey}
	if _, err := w.guard.Durable(durable{w}, sessions{w}).Approval(t.Context(), third, "A1"); err != nil {
		t.Error(err)
	}
}
