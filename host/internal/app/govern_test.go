package app_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/vespiary/vespiary/host"
)

const outsider = `version: 1
listen: 127.0.0.1:0
data: ./data
policies: ./policies
identity: {audience: "https://a.example.com"}
groups: {operators: [local]}
agents:
  outsider: {plugin: external}
`

// ask makes a request that must be answered with a status, and reads the answer.
func (s *served) ask(method, path string, body any, status int, into any) {
	s.t.Helper()
	got, b := s.do(method, path, body)
	if got != status {
		s.t.Fatalf("%s %s: %d, want %d: %s", method, path, got, status, b)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(b, into); err != nil {
		s.t.Fatalf("%s %s: %v in %s", method, path, err, b)
	}
}

// TestHandOver: a task is handed to an agent elsewhere when policies permit it, which they
// do from the moment at which they are changed; and it can be told afterwards.
func TestHandOver(t *testing.T) {
	dir := newFolder(t, outsider)
	s := serve(t, dir)
	var opened struct{ Task struct{ ID string } }
	s.ask(http.MethodPost, "/v1/tasks", map[string]any{
		"agent": "outsider", "grants": []any{map[string]any{"actions": []string{"delegateRemote"}}},
	}, http.StatusCreated, &opened)
	tokens := "/v1/tasks/" + opened.Task.ID + "/tokens"
	audience := map[string]string{"audience": "https://b.example.com"}
	s.ask(http.MethodPost, tokens, audience, http.StatusForbidden, nil)

	var set host.PolicySet
	s.ask(http.MethodGet, "/v1/policies", nil, http.StatusOK, &set)
	files := append(set.Files, host.PolicyFile{
		Name: "hand.cedar", Text: `@id("hand-over") permit (principal in Agent::"outsider", action == Action::"delegateRemote", resource == Peer::"https://b.example.com");`,
	})
	was := set.Digest
	s.ask(http.MethodPut, "/v1/policies", map[string]any{"files": files}, http.StatusOK, &set)
	if set.Digest == was || len(set.Files) != len(files) {
		t.Errorf("the set after the change is %s with %d files, before it was %s", set.Digest, len(set.Files), was)
	}
	var token struct{ Token string }
	s.ask(http.MethodPost, tokens, audience, http.StatusCreated, &token)
	if strings.Count(token.Token, ".") != 2 {
		t.Errorf("the token is %q", token.Token)
	}
	s.ask(http.MethodPost, tokens, map[string]string{"audience": "https://c.example.com"}, http.StatusForbidden, nil)

	var page struct {
		Records []struct {
			ID       string
			Decision struct {
				Allowed bool
				Set     string
			}
		}
	}
	s.ask(http.MethodGet, "/v1/audit?kind=decision&action=delegateRemote&task="+opened.Task.ID, nil, http.StatusOK, &page)
	if len(page.Records) != 3 || page.Records[0].Decision.Allowed || !page.Records[1].Decision.Allowed || page.Records[2].Decision.Set != was {
		t.Fatalf("records %+v", page.Records)
	}
	var why struct{ Text string }
	s.ask(http.MethodGet, "/v1/decisions/"+page.Records[1].ID+"/explain", nil, http.StatusOK, &why)
	if !strings.Contains(why.Text, `"hand-over" (hand.cedar:1)`) {
		t.Errorf("the explanation is:\n%s", why.Text)
	}
	s.ask(http.MethodGet, "/v1/policies/sets/"+was, nil, http.StatusOK, nil)
	var simulated struct{ Decided, Skipped int }
	s.ask(http.MethodPost, "/v1/policies/simulate", map[string]any{"files": files}, http.StatusOK, &simulated)
	if simulated.Decided < 10 || simulated.Skipped > 0 {
		t.Errorf("decided again %+v", simulated)
	}
	var check struct {
		OK       bool
		Problems []string
	}
	s.ask(http.MethodGet, "/v1/audit/verify", nil, http.StatusOK, &check)
	if !check.OK {
		t.Errorf("the audit: %q", check.Problems)
	}
}
