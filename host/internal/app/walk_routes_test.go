package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/audit"
)

// door is a way into the host: what is sent there, and which method of the guard decides.
// One without a method is open to all.
type door struct {
	call string
	body string
	list bool // it is answered with what the caller may see, which is nothing
}

// doors has a row for each route. One that is missing here fails the test.
var doors = map[string]door{
	"GET /healthz": {}, "GET /readyz": {}, "GET /ping": {}, "GET /openapi.json": {}, "GET /.well-known/jwks.json": {},
	"GET /metrics": {call: "Host.ReadMetrics"},

	"POST /v1/agents/{agent}/invocations": {call: "Sessions.Invoke", body: `{"content":"hi"}`},
	"GET /v1/agents":                      {call: "Agents.List", list: true},
	"GET /v1/sessions":                    {call: "Sessions.List", list: true},
	"GET /v1/sessions/{id}":               {call: "Sessions.Get"},
	"GET /v1/sessions/{id}/events":        {call: "Sessions.Get"},
	"GET /v1/sessions/{id}/journal":       {call: "Sessions.Journal"},
	"GET /v1/sessions/{id}/turns/{n}":     {call: "Sessions.Turn"},
	"POST /v1/sessions/{id}/cancel":       {call: "Sessions.Cancel"},
	"POST /v1/modules":                    {call: "Admin.Install", body: "\x00asm\x01\x00\x00\x00"},
	"GET /v1/decisions":                   {call: "Admin.Decisions", list: true},
	"POST /v1/reload":                     {call: "Admin.Reload"},
	"POST /v1/admin/backup":               {call: "Backup.Backup"},

	"POST /v1/sessions/{id}/signals":     {call: "Durable.Signal", body: `{"name":"go"}`},
	"GET /v1/approvals":                  {call: "Durable.Approvals", list: true},
	"GET /v1/approvals/{id}":             {call: "Durable.Approval"},
	"POST /v1/approvals/{id}":            {call: "Durable.Answer", body: `{"grant":true}`},
	"GET /v1/unsettled":                  {call: "Durable.Unsettled", list: true},
	"POST /v1/sessions/{id}/settlements": {call: "Durable.Settle", body: `{"path":"1/1","outcome":"happened"}`},
	"POST /v1/sessions/{id}/fork":        {call: "Durable.Fork", body: `{}`},
	"POST /v1/sessions/{id}/revert":      {call: "Durable.Revert", body: `{"to":1}`},
	"POST /v1/sessions/{id}/replay":      {call: "Durable.Replay", body: `{}`},
	"GET /v1/sessions/{id}/diff/{other}": {call: "Durable.Diff"},
	"POST /v1/sessions/{id}/upgrade":     {call: "Durable.Upgrade", body: `{"module":"basic"}`},
	"POST /v1/sessions/{id}/resume":      {call: "Durable.Unpark", body: `{}`},
	"POST /v1/sessions/{id}/erase":       {call: "Durable.Erase"},
	"GET /v1/sessions/{id}/export":       {call: "Durable.Export"},
	"GET /v1/sessions/{id}/verify":       {call: "Durable.Verify"},
	"POST /v1/sessions/import":           {call: "Durable.Import", body: "an export"},
	"POST /v1/tasks":                     {call: "Tasks.OpenTask", body: `{"agent":"scout","grants":[]}`},
	"GET /v1/tasks":                      {call: "Tasks.Tasks", list: true},
	"GET /v1/tasks/{id}":                 {call: "Tasks.Task"},
	"DELETE /v1/tasks/{id}":              {call: "Tasks.EndTask"},
	"POST /v1/tasks/{id}/end":            {call: "Tasks.EndTask", body: `{"state":"completed"}`},
	"POST /v1/tasks/{id}/calls":          {call: "Tasks.CallTask", body: `{"name":"file_list"}`},
	"GET /v1/tasks/{id}/tools":           {call: "Tasks.CallTask"},
	"POST /v1/tasks/{id}/tokens":         {call: "Delegation.Delegate", body: `{"audience":"https://other.example"}`},
	"GET /v1/keys":                       {call: "Keys.List"},
	"POST /v1/keys":                      {call: "Keys.Create", body: `{"name":"another"}`},
	"DELETE /v1/keys/{id}":               {call: "Keys.Revoke"},
	"GET /v1/policies":                   {call: "Policies.Active"},
	"PUT /v1/policies":                   {call: "Policies.Change", body: `{"files":[]}`},
	"PUT /v1/policies/{file}":            {call: "Policies.Change", body: "// nothing"},
	"DELETE /v1/policies/{file}":         {call: "Policies.Change"},
	"GET /v1/policies/sets/{digest}":     {call: "Policies.Set"},
	"GET /v1/policies/schema":            {call: "Policies.Schema"},
	"POST /v1/policies/check":            {call: "Policies.Check", body: `{"files":[]}`},
	"POST /v1/policies/simulate":         {call: "Policies.Simulate", body: `{"files":[]}`},
	"GET /v1/decisions/{id}/explain":     {call: "Policies.Explain"},
	"GET /v1/agents/{agent}/reach":       {call: "Policies.Reach"},
	"GET /v1/agents/{agent}/suggestion":  {call: "Policies.Tightest"},
	"GET /v1/audit":                      {call: "Audit.Search"},
	"GET /v1/audit/{id}":                 {call: "Audit.Record"},
	"GET /v1/audit/tail":                 {call: "Audit.Tail"},
	"GET /v1/audit/export":               {call: "Audit.Export"},
	"GET /v1/audit/checkpoint":           {call: "Audit.Checkpoint"},
	"GET /v1/audit/verify":               {call: "Audit.Verify"},
	"POST /v1/audit/verify":              {call: "Audit.Verify", body: `{"checkpoint":"c"}`},
	"POST /v1/chat/completions":          {call: "Agents.List", body: `{"model":"librarian","messages":[{"role":"user","content":"hi"}]}`},
	"GET /v1/models":                     {call: "Agents.List", list: true},
	"GET /v1/models/{model}":             {call: "Agents.List"},
}

// house is a host with one of everything that routes are about.
type house struct {
	*live
	replace map[string]*strings.Replacer // of the parameters, by what {id} is the id of
	export  string                       // of a session
	task    string                       // of the agent elsewhere, in which a question is open
}

func newHouse(t *testing.T) *house {
	t.Helper()
	dir := policed(t, librarian+"  scout: {plugin: external}\nidentity: {audience: \"https://house.example\"}\n", map[string]string{
		"people.cedar": allowPeople, "runs.cedar": allowRuns, "ask.cedar": asks,
	})
	h := &house{live: goLive(t, dir, app.Options{})}
	turn := h.invoke("librarian", "What is a vespiary?", "")
	task, agent := h.openTask(nil)
	asked := h.question(task.ID, agent)
	key, _ := h.keyOf("user1", nil)
	var set host.PolicySet
	h.post(http.MethodGet, "/v1/policies", nil, &set)
	decision := h.records(audit.Query{Session: turn.Session, Kind: policy.RecordDecision})[0].ID
	h.export = string(h.want(http.StatusOK, http.MethodGet, "/v1/sessions/"+turn.Session+"/export", nil))
	h.replace, h.task = map[string]*strings.Replacer{}, task.ID
	for kind, id := range map[string]string{
		"sessions": turn.Session, "tasks": task.ID, "approvals": asked, "keys": key, "decisions": decision, "audit": decision, "": "",
	} {
		h.replace[kind] = strings.NewReplacer("{agent}", "librarian", "{model}", "librarian", "{other}", task.Session, "{n}", "1",
			"{file}", "runs.cedar", "{digest}", set.Digest, "{id}", id)
	}
	return h
}

// question has a task make a call that a person is asked about, and returns the question.
func (l *live) question(task string, agent *live) string {
	l.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(l.t.Context()))
	l.t.Cleanup(cancel)
	body := strings.NewReader(`{"id":"ask","name":"file_write","request":{"path":"ask.txt","text":"x"}}`)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url+"/v1/tasks/"+task+"/calls", body)
	if err != nil {
		l.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+agent.key)
	go func() {
		if res, err := http.DefaultClient.Do(r); err == nil {
			_ = res.Body.Close()
		}
	}()
	var list struct{ Approvals []host.Approval }
	l.until("the question", func() bool {
		l.post(http.MethodGet, "/v1/approvals?status=pending", nil, &list)
		return len(list.Approvals) == 1
	})
	return list.Approvals[0].ID
}

// knock sends the request of a row, without a token for an empty one.
func (h *house) knock(route, token string) (int, []byte) {
	h.t.Helper()
	method, path, _ := strings.Cut(route, " ")
	kind, _, _ := strings.Cut(strings.TrimPrefix(path, "/v1/"), "/")
	replace := h.replace[kind]
	if replace == nil {
		replace = h.replace[""]
	}
	path = replace.Replace(path)
	if path == "/v1/modules" {
		path += "?name=n"
	}
	body := doors[route].body
	if body == "an export" {
		body = h.export
	}
	r, err := http.NewRequestWithContext(h.t.Context(), method, h.url+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return res.StatusCode, b
}

// state is all that a host keeps but the audit.
func (h *house) state() map[string]string {
	h.t.Helper()
	out, err := h.host.Kept(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, folder := range []string{"policies", "data/modules"} {
		err := filepath.WalkDir(filepath.Join(h.dir, folder), func(path string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				b, _ := os.ReadFile(path)
				out[path] = string(b)
			}
			return nil
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
	return out
}

var parameter = regexp.MustCompile(`:(\w+)`)

// TestEveryRoute knocks at every door of the assembled server. Without a token none opens
// that is not for all. With an operator's, by policies that permit nobody anything, none
// does either, nothing is changed, and each refusal is on record.
func TestEveryRoute(t *testing.T) {
	h := newHouse(t)
	routes, err := h.host.Routes()
	if err != nil {
		t.Fatal(err)
	}
	for i := range routes {
		routes[i] = parameter.ReplaceAllString(routes[i], "{$1}")
	}
	slices.Sort(routes)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(doors)), routes); diff != "" {
		t.Errorf("the table and what is registered differ (-table +registered):\n%s", diff)
	}
	for _, route := range routes {
		status, b := h.knock(route, "")
		if isOpen := doors[route].call == ""; isOpen != (status < 400) || !isOpen && status != http.StatusUnauthorized {
			t.Errorf("%s, without a token: %d %s", route, status, b)
		}
		if status, b := h.knock(route, "vsp_default_0123456789abcdef_wrong"); doors[route].call != "" && status != http.StatusUnauthorized {
			t.Errorf("%s, with a wrong one: %d %s", route, status, b)
		}
	}
	h.decideBy(map[string]string{"none.cedar": `@id("nobody") forbid (principal, action, resource);`})
	before := h.state()
	for _, route := range routes {
		if doors[route].call != "" {
			h.refuses(route)
		}
	}
	if diff := cmp.Diff(before, h.state()); diff != "" {
		t.Errorf("something was changed (-before +after):\n%s", diff)
	}
	h.decideBy(map[string]string{"people.cedar": allowPeople})
	h.want(http.StatusOK, http.MethodDelete, "/v1/tasks/"+h.task, nil) // the host waits for its question when it stops
}

// decideBy puts policies in the place of those that there are, which nobody has to permit.
func (h *house) decideBy(files map[string]string) {
	h.t.Helper()
	if err := os.RemoveAll(filepath.Join(h.dir, "policies")); err != nil {
		h.t.Fatal(err)
	}
	for name, text := range files {
		put(h.t, filepath.Join(h.dir, "policies", name), text)
	}
	if err := h.host.Reload(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

// refuses demands that a route shows nothing to a caller who is permitted nothing, and that
// the refusal is on record.
func (h *house) refuses(route string) {
	h.t.Helper()
	known := len(h.records(audit.Query{User: app.LocalUser}))
	status, b := h.knock(route, h.key)
	row := doors[route]
	switch {
	case row.list && (status != http.StatusOK || !isEmptyList(b)), !row.list && status != http.StatusForbidden && status != http.StatusNotFound:
		h.t.Errorf("%s, without a permit: %d %s", route, status, b)
	}
	news := h.records(audit.Query{User: app.LocalUser})[known:]
	for _, r := range news {
		nothing := r.Decision != nil && (!r.Decision.Allowed || row.list && strings.HasPrefix(r.Note, "0 may be read"))
		if r.Call == row.call && nothing && r.Key != "" && r.Who[len(r.Who)-1].User == app.LocalUser {
			return
		}
	}
	h.t.Errorf("%s: no refusal by %s is on record, but %+v", route, row.call, news)
}

// isEmptyList tells whether a document holds one list at most, which is empty.
func isEmptyList(b []byte) bool {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return false
	}
	for _, v := range fields {
		if v[0] == '[' && !bytes.Equal(v, []byte("[]")) {
			return false
		}
	}
	return true
}
