package app_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/audit"
)

const handsOver = `@id("hands-over") permit (principal in Agent::"scout", action == Action::"delegateRemote", resource);`

// notForScouts looks at who acts for the user, as a token of another host says.
const notForScouts = `@id("not-for-scouts") forbid (principal, action == Action::"invokeAgent", resource == Agent::"closed")
when { context.actors.contains("scout@there") };`

// twoHosts are one whose agent hands its task over, and one that trusts it.
func twoHosts(t *testing.T) (there, here *live) {
	t.Helper()
	dir := newFolder(t, outside+"identity: {audience: \"https://there.example\"}\n")
	put(t, filepath.Join(dir, "policies/hands-over.cedar"), handsOver)
	there = goLive(t, dir, app.Options{})
	dir = newFolder(t, librarian+"  closed: {plugin: builtin:loop, model: main}\n"+
		"identity:\n  audience: https://here.example\n  peers:\n    there: {issuer: \"https://there.example\", jwks: \""+there.url+"/.well-known/jwks.json\"}\n")
	put(t, filepath.Join(dir, "policies/actors.cedar"), notForScouts)
	return there, goLive(t, dir, app.Options{})
}

// TestTasksAreHandedOver: an agent of one host acts for its user in another one, by a token
// that is good for one request there.
func TestTasksAreHandedOver(t *testing.T) {
	there, here := twoHosts(t)
	task, scout := there.openTask(nil)
	token := func(audience string) *live {
		t.Helper()
		r := scout.call(task.ID, "", abi.CallDelegateToken, `{"audience":"`+audience+`"}`)
		var out abi.DelegatedToken
		if err := json.Unmarshal(r.OK, &out); err != nil || out.Token == "" {
			t.Fatalf("%+v %v", r.Error, err)
		}
		return here.as(out.Token)
	}
	question := map[string]string{"content": "What is a vespiary?"}
	const invoke = "/v1/agents/librarian/invocations"

	once := token("https://here.example")
	var turn host.Turn
	once.post(http.MethodPost, invoke, question, &turn)
	if turn.Status != host.TurnDone {
		t.Errorf("%+v", turn)
	}
	once.want(http.StatusUnauthorized, http.MethodPost, invoke, question) // again
	token("https://elsewhere.example").want(http.StatusUnauthorized, http.MethodPost, invoke, question)
	token("https://here.example").want(http.StatusOK, http.MethodGet, "/v1/sessions/"+turn.Session, nil)
	token("https://here.example").want(http.StatusForbidden, http.MethodPost, "/v1/sessions/"+turn.Session+"/erase", nil) // it has not the scope
	token("https://here.example").want(http.StatusForbidden, http.MethodPost, "/v1/agents/closed/invocations", question)
	late := token("https://here.example")
	here.clock.advance(6 * time.Minute)
	late.want(http.StatusUnauthorized, http.MethodPost, invoke, question)
	here.clock.advance(-6 * time.Minute)
	late.want(http.StatusOK, http.MethodPost, invoke, question) // it was only too late

	var asked []policy.Record
	for _, r := range here.records(audit.Query{User: "local@there", Action: "invokeAgent", Kind: policy.RecordDecision}) {
		if r.Decision.Allowed {
			asked = append(asked, r)
		}
	}
	if want := []policy.Actor{{Agent: "scout@there"}, {User: "local@there"}}; len(asked) != 2 || !cmp.Equal(want, asked[0].Who) {
		t.Errorf("on record are %+v, want two requests by %+v", asked, want)
	}
	for _, r := range here.records(audit.Query{Session: turn.Session, Action: "callModel", Kind: policy.RecordDecision}) {
		if who := r.Who[len(r.Who)-1]; who.User != "local@there" || r.Who[0].Agent != "librarian" {
			t.Errorf("who asks for the model is %+v", r.Who)
		}
	}
}

// TestPeopleHandTasksOver: the user of a task gets such a token as well, and nobody does any
// more once the task is over.
func TestPeopleHandTasksOver(t *testing.T) {
	there, here := twoHosts(t)
	task, _ := there.openTask(nil)
	var out struct{ Token string }
	there.post(http.MethodPost, "/v1/tasks/"+task.ID+"/tokens", map[string]string{"audience": "https://here.example"}, &out)
	here.as(out.Token).want(http.StatusOK, http.MethodPost, "/v1/agents/librarian/invocations", map[string]string{"content": "What is a vespiary?"})
	_, other := there.keyOf("user1", nil)
	there.as(other).want(http.StatusNotFound, http.MethodPost, "/v1/tasks/"+task.ID+"/tokens", map[string]string{"audience": "https://here.example"})
	there.want(http.StatusOK, http.MethodDelete, "/v1/tasks/"+task.ID, nil)
	there.want(http.StatusConflict, http.MethodPost, "/v1/tasks/"+task.ID+"/tokens", map[string]string{"audience": "https://here.example"})
}
