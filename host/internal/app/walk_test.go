package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/host/internal/gate"
	"github.com/vespiary/vespiary/host/internal/project"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/audit"
)

// walker has an agent that is a program elsewhere, one that is called, and one that makes
// its calls side by side. Each has a model of its own, and one is for embeddings.
const walker = `version: 1
listen: 127.0.0.1:0
data: ./data
policies: ./policies
http: {allow_private: true}
identity: {audience: "https://walk.example"}
models:
  main: {provider: openai, model: m, base_url: "%[1]s"}
  theirs: {provider: openai, model: m, base_url: "%[2]s"}
  vectors: {provider: openai, model: m, base_url: "%[3]s"}
tools:
  files: {plugin: builtin:files}
folders:
  docs: {path: ./docs}
agents:
  scout: {plugin: external, model: main, tools: [files], folders: [docs]}
  helper: {plugin: builtin:loop, model: theirs}
  weaver: {plugin: ./weaver.wasm}
`

// never permits nothing, but hides no tool and no agent either: it depends on the call.
const never = `@id("never") permit (principal is Run, action in [Action::"effect", Action::"delegate"], resource) when { context.flow.pc > 2 };`

// walk is a host whose effects can be seen from outside.
type walk struct {
	*live
	task                       host.Task
	agent                      *live // who holds the task's token
	web, main, theirs, vectors *counted

	mu   sync.Mutex
	late []string // calls whose decision was not in the store when their effect began
	soon map[string]bool
}

// need is how a capability is asked for, and how one sees that it was reached.
type need struct {
	request string
	action  string
	durable bool // the decision must be in the store before the effect
	reached func(w *walk, r abi.Result) bool
}

func answered(_ *walk, r abi.Result) bool { return r.Error == nil }

func (w *walk) exists(path string) bool {
	r := w.agent.call(w.task.ID, "", abi.CallFileRead, fmt.Sprintf(`{"path":%q}`, path))
	return r.Error == nil
}

// needs has a row for each capability. One that is missing here fails the test. Those
// without an action are for guests, and are walked from inside of one.
func needs(w *walk) map[string]need {
	return map[string]need{
		abi.CallModelChat: {
			`{"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`, "callModel", true,
			func(w *walk, _ abi.Result) bool { return w.main.asked.Load() > 0 },
		},
		abi.CallModelEmbed: {
			`{"model":"vectors","inputs":["hi"]}`, "embed", true,
			func(w *walk, _ abi.Result) bool { return w.vectors.asked.Load() > 0 },
		},
		abi.CallToolList: {`{}`, "listTools", false, answered},
		abi.CallToolCall: {
			`{"name":"files_write","arguments":{"path":"by-a-tool.txt","text":"x"}}`, "files.files_write", true,
			func(w *walk, _ abi.Result) bool { return w.exists("by-a-tool.txt") },
		},
		abi.CallMemorySession: {
			`{"op":"set","key":"k","value":1}`, "memoryWrite", false,
			func(w *walk, _ abi.Result) bool {
				r := w.agent.call(w.task.ID, "", abi.CallMemorySession, `{"op":"get","key":"k"}`)
				return r.Error != nil || strings.Contains(string(r.OK), `"value":1`)
			},
		},
		abi.CallHTTPFetch: {
			fmt.Sprintf(`{"method":"POST","url":%q,"body":"x"}`, w.web.URL), "httpSend", true,
			func(w *walk, _ abi.Result) bool { return w.web.asked.Load() > 0 },
		},
		abi.CallFileRead: {`{"path":"docs/wasps.md"}`, "fileRead", false, answered},
		abi.CallFileWrite: {
			`{"path":"written.txt","text":"x"}`, "fileWrite", true,
			func(w *walk, _ abi.Result) bool { return w.exists("written.txt") },
		},
		abi.CallFileList: {`{"path":"docs"}`, "fileList", false, answered},
		abi.CallAgentCall: {
			`{"agent":"helper","content":[{"type":"text","text":"hi"}]}`, "delegate", true,
			func(w *walk, _ abi.Result) bool {
				var list struct{ Sessions []host.Session }
				w.post(http.MethodGet, "/v1/sessions?agent=helper", nil, &list)
				return len(list.Sessions) > 0 || w.theirs.asked.Load() > 0
			},
		},
		abi.CallDelegateToken: {`{"audience":"https://other.example"}`, "delegateRemote", true, answered},
		abi.CallEmit: {
			`{"content":[{"type":"text","text":"aloud"}]}`, "emit", true,
			func(w *walk, _ abi.Result) bool { return w.has(w.task.Session, host.EntryChunk) },
		},
		abi.CallAwait: {`{"for":[{"type":"timer","name":"t","after_ns":1000000}]}`, "await", false, answered},
		abi.CallStart: {},
		abi.CallWait:  {},
	}
}

func newWalk(t *testing.T) *walk {
	t.Helper()
	w := &walk{
		web: newCounted(t, func(http.ResponseWriter, *http.Request) {}), soon: map[string]bool{},
		main: newProvider(t), theirs: newProvider(t), vectors: newProvider(t),
	}
	dir := policed(t, fmt.Sprintf(walker, w.main.URL, w.theirs.URL, w.vectors.URL), map[string]string{"people.cedar": allowPeople, "never.cedar": never})
	if _, err := project.Build(t.Context(), "testdata/weaver", filepath.Join(dir, "weaver.wasm"), io.Discard); err != nil {
		t.Fatal(err)
	}
	w.live = goLive(t, dir, app.Options{Fault: w.fault})
	w.install("weaver", filepath.Join(dir, "weaver.wasm"))
	w.task, w.agent = w.openTask(nil)
	return w
}

// fault is called before the effect of each call, and looks whether its decision is there.
func (w *walk) fault(point string, c *host.Call) {
	if point != gate.FaultIntent {
		return
	}
	_, err := w.host.Durable(w.t.Context(), c.Audited)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.soon[c.Name] = true
	} else if c.Class.Durable || c.Class.Kind.Has(host.Effect|host.Egress) {
		w.late = append(w.late, c.Name+" "+c.Path)
	}
}

// allow puts policies into effect that let runs do anything.
func (w *walk) allow() {
	w.t.Helper()
	put(w.t, filepath.Join(w.dir, "policies/runs.cedar"), allowRuns)
	w.post(http.MethodPost, "/v1/reload", nil, nil)
}

// chain is who asks, as a record of the task's program has it.
func (w *walk) chain() []policy.Actor {
	return []policy.Actor{{Agent: "scout", Module: host.ModuleExternal, Task: w.task.ID, User: "local"}, {User: "local"}}
}

var anyRun = cmpopts.IgnoreFields(policy.Actor{}, "Run", "Module")

// TestEveryCapability makes every call that there is, first by policies that allow runs
// nothing: none has its effect, and each is on record with all who asked. Then by policies
// that allow it: it has its effect, and was on record before.
func TestEveryCapability(t *testing.T) {
	w := newWalk(t)
	rows := needs(w)
	for _, name := range app.Imports() {
		if _, ok := rows[name]; !ok {
			t.Errorf("%s is in no row of the table", name)
		}
	}
	for name := range rows {
		if !slices.Contains(app.Imports(), name) {
			t.Errorf("%s is in the table and is no capability", name)
		}
		if rows[name].action == "" { // TestCallsInside has them
			if r := w.agent.call(w.task.ID, "", name, `{}`); r.Error == nil {
				t.Errorf("%s: %s, outside of a guest", name, r.OK)
			}
			delete(rows, name)
		}
	}
	walkDenied(t, w, rows)
	walkAllowed(t, w, rows)
}

func walkDenied(t *testing.T, w *walk, rows map[string]need) {
	t.Helper()
	results := map[string]abi.Result{}
	for name, row := range rows {
		results[name] = w.agent.call(w.task.ID, "", name, row.request)
		if e := results[name].Error; e == nil || e.Code != abi.CodeDenied {
			t.Errorf("%s, without a permit: %s %+v", name, results[name].OK, e)
		}
		r := w.decided(w.task.ID, row.action, false)
		if r.Call != name || r.Decision.Set == "" || len(r.Evidence) == 0 {
			t.Errorf("%s: the record is %+v", name, r)
		}
		if diff := cmp.Diff(w.chain(), r.Who, anyRun); diff != "" || r.Who[0].Run == "" || r.Who[0].Module != host.ModuleExternal {
			t.Errorf("%s: who asked (-want +got):\n%s", name, diff)
		}
	}
	w.allow() // to look
	for name, row := range rows {
		if row.reached(w, results[name]) {
			t.Errorf("%s was reached without a permit", name)
		}
	}
}

func walkAllowed(t *testing.T, w *walk, rows map[string]need) {
	t.Helper()
	for server, action := range map[*counted]string{w.web: "httpSend", w.main: "callModel", w.vectors: "embed", w.theirs: "delegate"} {
		seen := func(*http.Request) {
			var page struct{ Records []policy.Record }
			w.post(http.MethodGet, "/v1/audit?kind=decision&chain="+w.task.ID+"&action="+action, nil, &page)
			allowed := slices.DeleteFunc(page.Records, func(r policy.Record) bool { return !r.Decision.Allowed })
			if len(allowed) != 1 || !cmp.Equal(w.chain(), allowed[0].Who, anyRun) {
				t.Errorf("while %s has its effect, %d decisions are on record, want one by %+v", action, len(allowed), w.chain())
			}
		}
		server.seen.Store(&seen)
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		row := rows[name]
		r := w.agent.call(w.task.ID, "", name, row.request)
		if r.Error != nil || !row.reached(w, r) {
			t.Errorf("%s, with a permit: %s %+v", name, r.OK, r.Error)
		}
		w.mu.Lock()
		if row.durable && !w.soon[name] {
			t.Errorf("%s had its effect before its decision was in the store", name)
		}
		w.mu.Unlock()
	}
	if len(w.late) > 0 {
		t.Errorf("these had their effects before their decisions were in the store: %v", w.late)
	}
	theirs := w.records(audit.Query{Agent: "helper", Action: "callModel", Kind: policy.RecordDecision})
	if len(theirs) != 1 {
		t.Fatalf("%d calls of the helper's model are on record", len(theirs))
	}
	helper := policy.Actor{Agent: "helper", Task: theirs[0].Chain, User: "local"}
	if diff := cmp.Diff(append([]policy.Actor{helper}, w.chain()...), theirs[0].Who, anyRun); diff != "" {
		t.Errorf("who asks for the helper's model (-want +got):\n%s", diff)
	}
}

// TestCallsInside walks what a guest alone can ask for: calls that it starts side by side
// are decided one by one.
func TestCallsInside(t *testing.T) {
	w := newWalk(t)
	denied := w.invoke("weaver", "fetch "+w.web.URL, "")
	if n := w.web.asked.Load(); n != 0 {
		t.Errorf("%d requests went out without a permit", n)
	}
	w.allow()
	var mu sync.Mutex
	unrecorded := map[string]bool{}
	seen := func(r *http.Request) {
		var page struct{ Records []policy.Record }
		w.post(http.MethodGet, "/v1/audit?kind=decision&agent=weaver&action=httpGet", nil, &page)
		n := 0
		for _, record := range page.Records {
			if record.Decision.Allowed {
				n++
			}
		}
		mu.Lock()
		defer mu.Unlock()
		unrecorded[r.URL.Path] = n == 0
	}
	w.web.seen.Store(&seen)
	allowed := w.invoke("weaver", "fetch "+w.web.URL, "")
	if n := w.web.asked.Load(); n != 3 || allowed.Status != host.TurnDone {
		t.Errorf("%d requests went out with a permit, want 3: %+v", n, allowed)
	}
	if diff := cmp.Diff(map[string]bool{"/slow": false, "/one": false, "/two": false}, unrecorded); diff != "" {
		t.Errorf("requests before their decisions (-want +got):\n%s", diff)
	}
	for session, ok := range map[string]bool{denied.Session: false, allowed.Session: true} {
		records := w.records(audit.Query{Session: session, Action: "httpGet", Kind: policy.RecordDecision})
		for _, r := range records {
			if r.Decision.Allowed != ok || len(r.Who) != 2 || r.Who[0].Agent != "weaver" || r.Who[1].User != "local" {
				t.Errorf("%+v", r)
			}
		}
		if len(records) != 3 {
			t.Errorf("%d decisions are on record, want 3", len(records))
		}
	}
}

// TestRepliesAreDecided: also what a task says to its user in the end.
func TestRepliesAreDecided(t *testing.T) {
	w := newWalk(t)
	hidden := map[string]any{"state": "completed", "content": []abi.Content{abi.Text("hidden words")}}
	w.do(http.MethodPost, "/v1/tasks/"+w.task.ID+"/end", hidden)
	for _, path := range []string{"/turns/1", ""} {
		if _, b := w.do(http.MethodGet, "/v1/sessions/"+w.task.Session+path, nil); strings.Contains(string(b), "hidden words") {
			t.Errorf("%s shows a reply that was denied: %s", path, b)
		}
	}
	w.decided(w.task.ID, "reply", false)
	w.allow()
	said, _ := w.openTask(nil)
	w.want(http.StatusOK, http.MethodPost, "/v1/tasks/"+said.ID+"/end", hidden)
	var turn host.Turn
	if err := json.Unmarshal(w.want(http.StatusOK, http.MethodGet, "/v1/sessions/"+said.Session+"/turns/1", nil), &turn); err != nil || abi.TextOf(turn.Content) != "hidden words" {
		t.Errorf("%+v %v", turn, err)
	}
	w.decided(said.ID, "reply", true)
	if len(w.late) > 0 {
		t.Errorf("not on record before: %v", w.late)
	}
}

// TestDecisionsSurviveAKill: whoever is asked something kills the host at that moment. The
// decision to ask is on record all the same.
func TestDecisionsSurviveAKill(t *testing.T) {
	var kill sync.Map // by URL
	stopping := func(w http.ResponseWriter, r *http.Request) {
		if f, ok := kill.Load("http://" + r.Host); ok {
			_ = f.(func() error)()
		}
	}
	web, provider := newCounted(t, stopping), newCounted(t, stopping)
	for call, tt := range map[string]struct{ server, request, action string }{
		abi.CallHTTPFetch: {web.URL, fmt.Sprintf(`{"url":%q}`, web.URL), "httpGet"},
		abi.CallModelChat: {provider.URL, `{"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`, "callModel"},
	} {
		dir := policed(t, fmt.Sprintf(`version: 1
listen: 127.0.0.1:0
data: ./data
policies: ./policies
http: {allow_private: true}
models: {main: {provider: openai, model: m, base_url: %q}}
agents: {scout: {plugin: external, model: main}}
`, provider.URL), map[string]string{"people.cedar": allowPeople, "runs.cedar": allowRuns})
		cfg := configured(t, dir)
		_, key, err := app.App{}.CreateKey(t.Context(), cfg, host.APIKeySpec{Name: "test"})
		if err != nil {
			t.Fatal(err)
		}
		s := child(t, dir, key)
		s.stop = sync.OnceValue(s.stop)
		kill.Store(tt.server, s.stop)
		task, agent := (&live{served: s}).openTask(nil)
		if err := agent.tries(task.ID, call, tt.request); err == nil {
			t.Errorf("%s: the host answers after it was killed", call)
		}
		_ = s.stop() // it is over when this returns
		o := opened(t, cfg)
		page, _, err := o.SearchAudit(t.Context(), host.AuditFilter{Chain: task.ID, Action: tt.action})
		if err != nil || len(page) != 1 || !page[0].Decision.Allowed {
			t.Errorf("%s: on record are %+v, %v", call, page, err)
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
}

// tries makes a call whose host may not live to answer.
func (l *live) tries(task, name, request string) error {
	l.t.Helper()
	body := strings.NewReader(fmt.Sprintf(`{"name":%q,"request":%s}`, name, request))
	r, err := http.NewRequestWithContext(l.t.Context(), http.MethodPost, l.url+"/v1/tasks/"+task+"/calls", body)
	if err != nil {
		l.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+l.key)
	res, err := http.DefaultClient.Do(r)
	if err == nil {
		_, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
	}
	return err
}
