package app_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/audit"
)

// python is the interpreter that runs the example, which no test of it is without where
// all tests are required.
func python(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") == "true":
		t.Fatal("python3 is not installed")
	}
	t.Skip("python3 is not installed")
	return ""
}

// graph is the host of examples/graph, in a copy of its folder.
func graph(t *testing.T) *live {
	t.Helper()
	_ = newFolder(t, base) // or there are no plugins
	dir := filepath.Join(t.TempDir(), "graph")
	if err := os.CopyFS(dir, os.DirFS("../../../examples/graph")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, config.FileName)
	yaml, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	put(t, file, strings.Replace(string(yaml), "127.0.0.1:7070", "127.0.0.1:0", 1))
	return goLive(t, dir, app.Options{})
}

// agentPy is the example's program, asking the host at the URL.
func (l *live) agentPy(url, question string, env ...string) (*exec.Cmd, *bytes.Buffer, *bytes.Buffer) {
	l.t.Helper()
	cmd := exec.CommandContext(l.t.Context(), python(l.t), "agent.py", question)
	var out, said bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = l.dir, &out, &said
	cmd.Env = append(os.Environ(), append(env, "VESPIARY_URL="+url, "VESPIARY_API_KEY="+l.key)...)
	return cmd, &out, &said
}

const walls = "What are the walls of the nest made of?"

// TestGraphAgent has the program in plain Python answer from the notes, by what its task was
// granted and nothing else.
func TestGraphAgent(t *testing.T) {
	l := graph(t)
	cmd, out, said := l.agentPy(l.url, walls)
	if err := cmd.Run(); err != nil || !strings.Contains(out.String(), "paper") {
		t.Fatalf("it says %s%s (%v)", out, said, err)
	}
	if cmd, out, said = l.agentPy(l.url, "Write a file summary.md that says hello."); cmd.Run() != nil {
		t.Fatalf("it says %s%s", out, said)
	}
	opened := l.records(audit.Query{Action: "openTask", Kind: policy.RecordDecision})
	if len(opened) != 2 {
		t.Fatalf("%d tasks were asked for", len(opened))
	}
	asked, err := policy.ReadEvidence(opened[0].Evidence)
	if err != nil || !strings.Contains(fmt.Sprint(asked.Context["grants"]), "invokeReadTool") || asked.Context["restricted"] != true {
		t.Errorf("the grants that are on record are %+v, %v", asked, err)
	}
	did := map[string]int{}
	for _, r := range l.records(audit.Query{Agent: "scout", Kind: policy.RecordDecision}) {
		if did[r.Action]++; r.Decision.Allowed && (r.Action == "fileWrite" || r.Action == "files.files_write") {
			t.Errorf("it could write: %+v", r)
		}
	}
	for _, action := range []string{"listTools", "callModel", "fileRead", "reply"} {
		if did[action] == 0 {
			t.Errorf("no %s is on record: %v", action, did)
		}
	}
	var ends []string
	for _, r := range l.records(audit.Query{Agent: "scout", Kind: policy.RecordTask}) {
		ends = append(ends, r.Code)
	}
	if got := strings.Join(ends, " "); got != "active completed active completed" {
		t.Errorf("the tasks were %s", got)
	}
}

// middle stands between the program and the host. It keeps what opened the task, and stops
// answering once a tool was called.
type middle struct {
	*httptest.Server
	mu     sync.Mutex
	opened struct {
		Task  host.Task
		Token string
	}
	calls  []string // by their names
	acted  chan struct{}
	closed bool
}

func newMiddle(t *testing.T, to string) *middle {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	m := &middle{acted: make(chan struct{})}
	proxy := httputil.NewSingleHostReverseProxy(target)
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body, r.Host = io.NopCloser(bytes.NewReader(body)), target.Host
		var call struct{ ID string }
		_ = json.Unmarshal(body, &call)
		m.mu.Lock()
		m.calls = append(m.calls, call.ID)
		closed := m.closed
		m.mu.Unlock()
		if closed {
			<-r.Context().Done()
			return
		}
		answer := httptest.NewRecorder()
		proxy.ServeHTTP(answer, r)
		m.answered(r.URL.Path, call.ID, answer.Body.Bytes())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	}))
	t.Cleanup(m.Close)
	return m
}

// answered looks at what the host answered before the program sees it.
func (m *middle) answered(path, id string, body []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if path == "/v1/tasks" {
		_ = json.Unmarshal(body, &m.opened)
	}
	if strings.HasPrefix(id, "act-") && !m.closed {
		m.closed = true
		close(m.acted)
	}
}

// TestGraphAgentGoesOn kills the program after its first tool call. Begun again with its
// task's token it repeats nothing that it did, and answers.
func TestGraphAgentGoesOn(t *testing.T) {
	l := graph(t)
	m := newMiddle(t, l.url)
	cmd, out, said := l.agentPy(m.URL, walls)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-m.acted:
	case <-t.Context().Done():
	}
	_ = cmd.Process.Kill()
	if err := cmd.Wait(); err == nil || strings.Contains(out.String(), "paper") {
		t.Fatalf("it was not killed in the middle: %s%s", out, said)
	}
	task := m.opened.Task.ID
	before := l.records(audit.Query{Chain: task, Kind: policy.RecordDecision})
	if l.session(m.opened.Task.Session).Ended != 0 || len(before) < 3 {
		t.Fatalf("the task is over, or it did not act: %d decisions", len(before))
	}
	cmd, out, said = l.agentPy(l.url, walls, "VESPIARY_TASK="+task, "VESPIARY_TASK_TOKEN="+m.opened.Token)
	if err := cmd.Run(); err != nil || !strings.Contains(out.String(), "paper") {
		t.Fatalf("it says %s%s (%v)", out, said, err)
	}
	after := l.records(audit.Query{Chain: task, Kind: policy.RecordDecision})
	paths := map[string]int{}
	for _, r := range after {
		if paths[r.Path+" "+r.Action]++; paths[r.Path+" "+r.Action] > 1 {
			t.Errorf("%s was made twice", r.Path)
		}
	}
	if len(after) <= len(before) {
		t.Errorf("%d decisions before it was killed, %d in all", len(before), len(after))
	}
	if len(l.records(audit.Query{Action: "openTask"})) != 1 {
		t.Error("it opened another task")
	}
}
