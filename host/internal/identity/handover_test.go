package identity

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/cedar"
)

const elsewhere = "https://b.example.com"

// chained is a tool's run, of an agent that another one delegated to.
func chained(expires time.Time) *host.Run {
	above := &host.Run{ID: "R1", Session: "S1", Task: "T1", Tenant: host.DefaultTenant, User: "user1", Agent: &host.Agent{Name: "planner"}}
	agent := &host.Run{ID: "R2", Session: "S2", Task: "T2", Tenant: host.DefaultTenant, User: "user1", Agent: &host.Agent{Name: "writer"}, Parent: above, Expires: expires}
	tool := *agent
	tool.ID, tool.Parent = "R3", agent
	return &tool
}

func newHandover(t *testing.T, c *clock) Handover {
	t.Helper()
	s, err := NewSigner(SignerOptions{URL: "https://a.example.com", Keys: []ed25519.PrivateKey{vector(t)}, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	return Handover{Signer: s, Now: c.now}
}

func handCall(run *host.Run, request string) *host.Call {
	return &host.Call{Run: run, Name: abi.CallDelegateToken, Request: json.RawMessage(request)}
}

func TestHandover(t *testing.T) {
	clock := newClock()
	h := newHandover(t, clock)
	now := clock.now()
	for _, tc := range []struct {
		name, request   string
		expires         time.Time
		scopes, control []string
		until           time.Time
	}{
		{
			name: "usual", request: `{"audience":"https://b.example.com"}`,
			scopes: []string{"continueSession", "invokeAgent", "readSession"}, control: []string{elsewhere, "continueSession", "invokeAgent", "readSession"},
			until: now.Add(lifetime),
		},
		{
			name: "as named, and no longer than the task", expires: now.Add(90 * time.Second),
			request: `{"audience":"https://b.example.com","scopes":["use","readTask","use"],"purpose":"write it"}`,
			scopes:  []string{"readTask", "use"}, control: []string{elsewhere, "readTask", "use"}, until: now.Add(90 * time.Second),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := handCall(chained(tc.expires), tc.request)
			class, err := h.Classify(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.control, class.Control); diff != "" {
				t.Errorf("control (-want +got):\n%s", diff)
			}
			if !class.Kind.Has(host.Control) || !class.Kind.Has(host.Egress) || class.Resource.UID != (policy.UID{Type: "Peer", ID: elsewhere}) {
				t.Errorf("class %+v", class)
			}
			if got := class.Context["childExpiresAt"]; got != tc.until {
				t.Errorf("expires at %v, want %v", got, tc.until)
			}
			c.Class = class
			out, err := h.Perform(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			wantHanded(t, out.OK, tc.scopes, tc.until)
		})
	}
}

// wantHanded checks what the token of a result says.
func wantHanded(t *testing.T, ok json.RawMessage, scopes []string, until time.Time) {
	t.Helper()
	var got abi.DelegatedToken
	if err := json.Unmarshal(ok, &got); err != nil {
		t.Fatal(err)
	}
	if got.Audience != elsewhere || !got.Expires.Equal(until) {
		t.Errorf("token %+v, want it until %v", got, until)
	}
	var b body
	if err := part(strings.Split(got.Token, ".")[1], &b); err != nil {
		t.Fatal(err)
	}
	want := body{
		Issuer: "https://a.example.com", Subject: "user1", Audience: elsewhere, IssuedAt: b.IssuedAt, NotBefore: b.IssuedAt,
		Expiry: until.Unix(), ID: b.ID, Task: "T2", Scope: strings.Join(scopes, " "), Workload: "writer",
		Act: &act{Subject: "writer", Act: &act{Subject: "planner"}}, Context: b.Context,
	}
	if diff := cmp.Diff(want, b); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
}

func TestHandoverRefuses(t *testing.T) {
	h := newHandover(t, newClock())
	for request, want := range map[string]string{
		`{}`:                                    "plain URL",
		`{"audience":"http://b.example.com"}`:   "must be https",
		`{"audience":"b"}`:                      "plain URL",
		`{"audience":"https://a.example.com"}`:  "this host itself",
		`{"audience":"https://b.example.com"}1`: "something follows",
		`{"audience":"https://b.example.com","scope":["use"]}`:      "unknown field",
		`{"audience":"https://b.example.com","scopes":["a b"]}`:     "cannot be a scope",
		`{"audience":"https://b.example.com","scopes":["a\u0000"]}`: "cannot be a scope",
	} {
		_, err := h.Classify(t.Context(), handCall(chained(time.Time{}), request))
		e, ok := errors.AsType[*abi.Error](err)
		if !ok || e.Code != abi.CodeInvalid || !strings.Contains(e.Message, want) {
			t.Errorf("%s: %v, want %q", request, err, want)
		}
	}
	_, err := Handover{}.Classify(t.Context(), handCall(chained(time.Time{}), `{"audience":"https://b.example.com"}`))
	if e, ok := errors.AsType[*abi.Error](err); !ok || e.Code != abi.CodeUnavailable {
		t.Errorf("a host without a signer: %v", err)
	}
	if got := string(KeySet(nil)); got != `{"keys":[]}` {
		t.Errorf("keys of no signer: %s", got)
	}
}

// TestHandoverIsDecided holds the class against the schema of policies.
func TestHandoverIsDecided(t *testing.T) {
	set, err := cedar.Compile(map[string][]byte{"a.cedar": []byte(`@id("hand") permit (principal, action == Action::"delegateRemote", resource == Peer::"https://b.example.com")
		when { context.requested.contains("use") && context.childBudget.calls == 0 && context has childExpiresAt };`)})
	if err != nil {
		t.Fatal(err)
	}
	class, err := newHandover(t, newClock()).Classify(t.Context(), handCall(chained(time.Time{}), `{"audience":"https://b.example.com","scopes":["use"]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := decideHandover(t, set, class); !got.Allowed {
		t.Errorf("decided %+v", got)
	}
}

// decideHandover asks policies about a class, with the rest of its context as the gate
// would fill it in.
func decideHandover(t *testing.T, set *cedar.Set, class host.Class) policy.Decision {
	t.Helper()
	u := func(kind, id string) policy.UID { return policy.UID{Type: kind, ID: id} }
	run := u("Run", "R3")
	context := map[string]any{
		"now": newClock().now(), "chain": []policy.UID{run}, "agents": []policy.UID{u("Agent", "writer")}, "path": "1/1", "argsDigest": "d",
		"left": map[string]any{"tokens": int64(-1), "usdMicros": int64(-1), "calls": int64(-1)},
		"flow": map[string]any{
			"pc": int64(2), "control": int64(2), "data": int64(2), "isPublic": false, "readers": []string{}, "recipients": class.Recipient,
			"named": false, "sources": []string{},
		},
	}
	maps.Copy(context, class.Context)
	return cedar.New(set).Authorize(t.Context(), &policy.Request{
		Principal: run, Action: u("Action", class.Action), Resource: class.Resource.UID, Context: context,
		Entities: []policy.Entity{
			class.Resource,
			{UID: u("Tenant", "default")},
			{UID: u("User", "user1"), Parents: []policy.UID{u("Tenant", "default")}, Attrs: map[string]any{"name": "user1"}},
			{UID: u("Module", "m"), Attrs: map[string]any{"name": "m", "version": ""}},
			{UID: u("Agent", "writer"), Parents: []policy.UID{u("Tenant", "default")}, Attrs: map[string]any{"module": u("Module", "m"), "external": false}},
			{UID: u("Task", "T2"), Attrs: map[string]any{"state": "active", "user": u("User", "user1"), "restricted": false, "grants": []string{}}},
			{UID: run, Parents: []policy.UID{u("Agent", "writer"), u("Task", "T2")}, Attrs: map[string]any{
				"agent": u("Agent", "writer"), "task": u("Task", "T2"), "module": u("Module", "m"), "user": u("User", "user1"), "depth": int64(0),
			}},
		},
	})
}
