package access_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/host/internal/api/openai"
	"github.com/vespiary/vespiary/host/internal/api/rest"
)

// row says of a route what is sent to it, and by which guarded methods it is served. The
// first one is what it is about.
type row struct {
	body  string
	calls []string
}

var (
	invoking = []string{"Sessions.Invoke", "Sessions.Await"}
	open     = row{}
)

// rows has every route. A route that is missing here fails the test.
var rows = map[string]row{
	"GET /healthz": open, "GET /readyz": open, "GET /ping": open, "GET /openapi.json": open,
	"GET /metrics": {calls: []string{"Host.ReadMetrics"}},

	"POST /v1/agents/{agent}/invocations": {body: `{"content":"hi","session":"S1","task":{"grants":[]}}`, calls: invoking},
	"GET /v1/agents":                      {calls: []string{"Agents.List"}},
	"GET /v1/sessions":                    {calls: []string{"Sessions.List"}},
	"GET /v1/sessions/{id}":               {calls: []string{"Sessions.Get"}},
	"GET /v1/sessions/{id}/events":        {calls: []string{"Sessions.Get", "Sessions.Events"}},
	"GET /v1/sessions/{id}/journal":       {calls: []string{"Sessions.Journal"}},
	"GET /v1/sessions/{id}/turns/{n}":     {calls: []string{"Sessions.Turn"}},
	"POST /v1/sessions/{id}/cancel":       {calls: []string{"Sessions.Cancel"}},
	"POST /v1/modules":                    {body: "\x00asm", calls: []string{"Admin.Install"}},
	"GET /v1/decisions":                   {calls: []string{"Admin.Decisions"}},
	"POST /v1/reload":                     {calls: []string{"Admin.Reload"}},
	"POST /v1/admin/backup":               {calls: []string{"Backup.Backup"}},

	"POST /v1/sessions/{id}/signals":     {body: `{"name":"go"}`, calls: []string{"Durable.Signal"}},
	"GET /v1/approvals":                  {calls: []string{"Durable.Approvals"}},
	"GET /v1/approvals/{id}":             {calls: []string{"Durable.Approval"}},
	"POST /v1/approvals/{id}":            {body: `{"grant":true}`, calls: []string{"Durable.Answer"}},
	"GET /v1/unsettled":                  {calls: []string{"Durable.Unsettled"}},
	"POST /v1/sessions/{id}/settlements": {body: `{"path":"1/1","outcome":"happened"}`, calls: []string{"Durable.Settle"}},
	"POST /v1/sessions/{id}/fork":        {calls: []string{"Durable.Fork"}},
	"POST /v1/sessions/{id}/revert":      {body: `{"to":1}`, calls: []string{"Durable.Revert"}},
	"POST /v1/sessions/{id}/replay":      {calls: []string{"Durable.Replay"}},
	"GET /v1/sessions/{id}/diff/{other}": {calls: []string{"Durable.Diff"}},
	"POST /v1/sessions/{id}/upgrade":     {calls: []string{"Durable.Upgrade"}},
	"POST /v1/sessions/{id}/resume":      {calls: []string{"Durable.Unpark"}},
	"POST /v1/sessions/{id}/erase":       {calls: []string{"Durable.Erase"}},
	"GET /v1/sessions/{id}/export":       {calls: []string{"Durable.Export"}},
	"GET /v1/sessions/{id}/verify":       {calls: []string{"Durable.Verify"}},
	"POST /v1/sessions/import":           {body: "a file", calls: []string{"Durable.Import"}},

	"POST /v1/tasks":             {body: `{"agent":"hello","grants":[]}`, calls: []string{"Tasks.OpenTask"}},
	"GET /v1/tasks":              {calls: []string{"Tasks.Tasks"}},
	"GET /v1/tasks/{id}":         {calls: []string{"Tasks.Task"}},
	"DELETE /v1/tasks/{id}":      {calls: []string{"Tasks.EndTask"}},
	"POST /v1/tasks/{id}/end":    {body: `{"state":"completed"}`, calls: []string{"Tasks.EndTask"}},
	"POST /v1/tasks/{id}/calls":  {body: `{"name":"tool_list"}`, calls: []string{"Tasks.CallTask"}},
	"GET /v1/tasks/{id}/tools":   {calls: []string{"Tasks.CallTask"}},
	"POST /v1/tasks/{id}/tokens": {body: `{"audience":"a"}`, calls: []string{"Delegation.Delegate"}},
	"GET /.well-known/jwks.json": open,

	"GET /v1/keys":         {calls: []string{"Keys.List"}},
	"POST /v1/keys":        {body: `{"name":"n"}`, calls: []string{"Keys.Create"}},
	"DELETE /v1/keys/{id}": {calls: []string{"Keys.Revoke"}},

	"GET /v1/policies":                  {calls: []string{"Policies.Active"}},
	"PUT /v1/policies":                  {body: `{"files":[]}`, calls: []string{"Policies.Change"}},
	"PUT /v1/policies/{file}":           {body: "// nothing", calls: []string{"Policies.Change"}},
	"DELETE /v1/policies/{file}":        {calls: []string{"Policies.Change"}},
	"GET /v1/policies/sets/{digest}":    {calls: []string{"Policies.Set"}},
	"GET /v1/policies/schema":           {calls: []string{"Policies.Schema"}},
	"POST /v1/policies/check":           {body: `{"files":[]}`, calls: []string{"Policies.Check"}},
	"POST /v1/policies/simulate":        {body: `{"files":[]}`, calls: []string{"Policies.Simulate"}},
	"GET /v1/decisions/{id}/explain":    {calls: []string{"Policies.Explain"}},
	"GET /v1/agents/{agent}/reach":      {calls: []string{"Policies.Reach"}},
	"GET /v1/agents/{agent}/suggestion": {calls: []string{"Policies.Tightest"}},

	"GET /v1/audit":            {calls: []string{"Audit.Search"}},
	"GET /v1/audit/{id}":       {calls: []string{"Audit.Record"}},
	"GET /v1/audit/tail":       {calls: []string{"Audit.Tail"}},
	"GET /v1/audit/export":     {calls: []string{"Audit.Export"}},
	"GET /v1/audit/checkpoint": {calls: []string{"Audit.Checkpoint"}},
	"GET /v1/audit/verify":     {calls: []string{"Audit.Verify"}},
	"POST /v1/audit/verify":    {body: `{"checkpoint":"c"}`, calls: []string{"Audit.Verify"}},

	"POST /v1/chat/completions": {body: `{"model":"hello","messages":[{"role":"user","content":"hi"}]}`, calls: append([]string{"Agents.List"}, invoking...)},
	"GET /v1/models":            {calls: []string{"Agents.List"}},
	"GET /v1/models/{model}":    {calls: []string{"Agents.List"}},
}

// parts are what the parameters of paths are replaced by.
var parts = strings.NewReplacer("{agent}", "hello", "{model}", "hello", "{id}", "S1", "{other}", "S2", "{n}", "1", "{file}", "a.cedar", "{digest}", "sha256:11")

// authenticator knows a key of user1's, and the token of a task.
type authenticator struct{}

func (authenticator) Authenticate(_ context.Context, token string) (host.Caller, error) {
	switch token {
	case "user1":
		return user1, nil
	case "task":
		return host.Caller{Tenant: "home", User: "user1", Via: host.ViaTask, Task: "S1"}, nil
	}
	return host.Caller{}, host.Errorf(host.ErrUnauthorized, "unknown")
}

// routes are all that there are, with guarded services behind them.
func (w *world) routes() []api.Route {
	g := w.guard
	s := g.Sessions(sessions{w})
	all := rest.Routes(rest.Options{
		Sessions: s, Agents: g.Agents(agents{w}), Admin: g.Admin(admin{w}, sessions{w}), Durable: g.Durable(durable{w}, sessions{w}),
		Backup: g.Backup(backup{w}), Tasks: g.Tasks(tasks{w}), Delegation: g.Delegation(delegation{w}, tasks{w}),
		Keys: g.Keys(keys{w}), Policies: g.Policies(policies{w}), Audit: g.Audit(audit{w}), Now: w.clock,
	})
	return append(all, openai.Routes(openai.Options{Sessions: s, Agents: g.Agents(agents{w}), Now: w.clock})...)
}

func (w *world) server() http.Handler {
	w.t.Helper()
	s, err := api.New(api.Options{
		Routes: w.routes(), Auth: authenticator{}, Now: w.clock, NewID: func() string { return "request-1" },
		Metrics: http.NotFoundHandler(), MayMeasure: w.guard.ReadMetrics, Hosts: []string{"localhost"},
		Limits: api.Limits{Rate: 1e6, Burst: 1e6},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Handler()
}

// send makes the request of a row.
func (w *world) send(h http.Handler, route, key string) *httptest.ResponseRecorder {
	w.t.Helper()
	w.forget()
	method, path, _ := strings.Cut(route, " ")
	path = parts.Replace(path)
	if path == "/v1/modules" {
		path += "?name=n"
	}
	r := httptest.NewRequestWithContext(w.t.Context(), method, path, strings.NewReader(rows[route].body))
	r.Host = "localhost"
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	out := httptest.NewRecorder()
	h.ServeHTTP(out, r)
	return out
}

// TestEveryRoute walks all routes that are registered: without a key they answer nothing
// unless they are open, without a permit none reaches what it is about, and with one each
// is served by the methods of its row, which decide.
func TestEveryRoute(t *testing.T) {
	w := newWorld(t, "")
	own := []api.Route{{Method: "GET", Path: "/healthz", Open: true}, {Method: "GET", Path: "/readyz", Open: true}, {Method: "GET", Path: "/ping", Open: true}, {Method: "GET", Path: "/metrics"}}
	registered := map[string]bool{}
	for _, r := range append(own, w.routes()...) {
		name := r.Method + " " + r.Path
		registered[name] = true
		row, ok := rows[name]
		if !ok {
			t.Errorf("%s is in no row of the table", name)
			continue
		}
		if r.Open != (len(row.calls) == 0) {
			t.Errorf("%s: the row and the route disagree about whether it is open", name)
		}
		t.Run(name, func(t *testing.T) { testRoute(t, name, row) })
	}
	for name := range rows {
		if !registered[name] {
			t.Errorf("%s is in the table and is no route", name)
		}
	}
}

func testRoute(t *testing.T, name string, row row) {
	t.Helper()
	w := newWorld(t, permitAll)
	h := w.server()
	if got := w.send(h, name, ""); len(row.calls) > 0 && (got.Code != http.StatusUnauthorized || len(w.log) > 0) {
		t.Errorf("without a key: %d, %v", got.Code, w.log)
	}
	if len(row.calls) == 0 {
		return
	}
	key := "user1"
	if row.calls[0] == "Tasks.CallTask" {
		key = "task"
	}
	got := w.send(h, name, key)
	if got.Code >= 400 && name != "GET /metrics" { // which has none here
		t.Errorf("with a permit: %d %s", got.Code, got.Body)
	}
	for _, call := range row.calls {
		if len(w.decided(call)) == 0 {
			t.Errorf("%s decided nothing; decided was: %v", call, w.log)
		}
	}
	w = newWorld(t, "")
	h = w.server()
	got = w.send(h, name, "user1")
	if strings.Contains(got.Body.String(), "secret") || strings.Contains(got.Body.String(), `"S1"`) && got.Code < 400 {
		t.Errorf("without a permit: %d %s", got.Code, got.Body)
	}
	if kinds[row.calls[0]] != "list" && got.Code != http.StatusForbidden && got.Code != http.StatusNotFound {
		t.Errorf("without a permit: %d %s", got.Code, got.Body)
	}
	if len(w.decided(row.calls[0])) == 0 {
		t.Errorf("no decision on record: %v", w.log)
	}
	for _, call := range row.calls {
		if k := kinds[call]; k != "list" && k != "find" && w.at("inner "+call) >= 0 {
			t.Errorf("%s was reached without a permit: %v", call, w.log)
		}
	}
}

// TestInvokeWithoutReading: who may begin turns and not read sessions is told that theirs is
// begun, and nothing of it.
func TestInvokeWithoutReading(t *testing.T) {
	w := newWorld(t, `@id("p") permit (principal, action in [Action::"readAgent", Action::"invokeAgent", Action::"openTask"], resource);`)
	const route = "POST /v1/agents/{agent}/invocations"
	whole := rows[route]
	defer func() { rows[route] = whole }()
	rows[route] = row{body: `{"content":"hi"}`}
	got := w.send(w.server(), route, "user1")
	if got.Code != http.StatusAccepted || got.Header().Get("X-Session-Id") != "S1" || w.at("inner Sessions.Await") >= 0 {
		t.Errorf("%d %s, %v", got.Code, got.Body, w.log)
	}
}

// TestHiddenIsMissing: what a caller may not read and what is not there have the same
// answer at every route, to the byte, whatever else they may do.
func TestHiddenIsMissing(t *testing.T) {
	for _, policies := range []string{
		"",
		permitAll + `@id("hide") forbid (principal, action in [Action::"read", Action::"approve"], resource);`,
		permitAll + `@id("hide") forbid (principal, action in [Action::"read", Action::"approve", Action::"administer"], resource);`,
	} {
		hidden, missing := newWorld(t, policies), newWorld(t, policies)
		missing.empty = true
		a, b := hidden.server(), missing.server()
		for _, route := range slices.Sorted(maps.Keys(rows)) {
			got, want := hidden.send(a, route, "user1"), missing.send(b, route, "user1")
			if diff := cmp.Diff(want.Body.String(), got.Body.String()); diff != "" || got.Code != want.Code {
				t.Errorf("%s: %d where it is missing, %d where it is hidden: %s", route, want.Code, got.Code, diff)
			}
			if diff := cmp.Diff(want.Header(), got.Header()); diff != "" {
				t.Errorf("%s: headers: %s", route, diff)
			}
		}
	}
}
