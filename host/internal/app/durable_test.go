package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/project"
	"github.com/vespiary/vespiary/host/internal/webhook"
)

const steady = `version: 1
listen: 127.0.0.1:0
data: ./data
policies: ./policies
limits: {patience: 100ms}
agents:
  steady: {plugin: ./steady.wasm, session: {idle: 200ms}}
  brief: {plugin: ./steady.wasm, budget: {turn: {fuel: 50000000}}}
`

const asks = `@id("imports") permit (principal, action == Action::"importSession", resource);
@id("ask") @needs_approval("a person reads it first")
forbid (principal is Run, action == Action::"fileWrite", resource) when { resource.path like "*ask*" }
unless { context has approval && context.approval.digest == context.argsDigest };
`

// steadyWasm is the guest of testdata/steady, built once.
var steadyWasm = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "steady")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a leftover of a test
	out := filepath.Join(dir, "steady.wasm")
	if _, err := project.Build(ctxOfBuild, "testdata/steady", out, io.Discard); err != nil {
		return nil, err
	}
	return os.ReadFile(out)
})

func steadyFolder(t *testing.T, yaml string) string {
	t.Helper()
	dir := newFolder(t, yaml)
	b, err := steadyWasm()
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "steady.wasm"), string(b))
	put(t, filepath.Join(dir, "policies/ask.cedar"), asks)
	return dir
}

// post makes a request that must succeed and decodes its answer.
func (s *served) post(method, path string, body, into any) {
	s.t.Helper()
	status, b := s.do(method, path, body)
	if status >= 300 {
		s.t.Fatalf("%s %s: %d %s", method, path, status, b)
	}
	if into != nil {
		if err := json.Unmarshal(b, into); err != nil {
			s.t.Fatalf("%s %s: %s: %v", method, path, b, err)
		}
	}
}

func (s *served) session(id string) host.Session {
	s.t.Helper()
	var out host.Session
	s.post(http.MethodGet, "/v1/sessions/"+id, nil, &out)
	return out
}

func (s *served) until(what string, f func() bool) {
	s.t.Helper()
	for range 600 {
		if f() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatalf("%s did not happen", what)
}

func (s *served) says(agent, text, session, want string) host.Turn {
	s.t.Helper()
	turn := s.invoke(agent, text, session)
	if got := abi.TextOf(turn.Content); got != want {
		s.t.Fatalf("%s: it says %q, want %q (%+v %v)", text, got, want, turn, turn.Error)
	}
	return turn
}

func (s *served) has(id string, kind host.EntryKind) bool {
	s.t.Helper()
	var out struct{ Records []host.Record }
	s.post(http.MethodGet, "/v1/sessions/"+id+"/journal", nil, &out)
	for _, r := range out.Records {
		if r.Kind == kind {
			return true
		}
	}
	return false
}

// TestGuestsLiveOn has a Go guest keep its state in a goroutine, through idle times and
// restarts of the host.
func TestGuestsLiveOn(t *testing.T) {
	dir := steadyFolder(t, steady)
	s := serve(t, dir)
	id := s.says("steady", "a", "", "1 a").Session
	s.says("steady", "b", id, "2 b")
	s.until("hibernation", func() bool { return s.has(id, host.EntrySnapshot) })
	s.says("steady", "c", id, "3 c")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s = serve(t, dir)
	s.says("steady", "d", id, "4 d")
}

// TestImagesBakeIn shows what inspect warns of: two sessions of a module that exports no
// vespiary_reseed draw the same from Go's own random source.
func TestImagesBakeIn(t *testing.T) {
	s := serve(t, steadyFolder(t, steady))
	first := s.invoke("steady", "random", "")
	s.says("steady", "random", "", abi.TextOf(first.Content))
}

// TestWaitsCostNothing has turns wait for a timer, a signal and an approval, across a
// restart, and tells a receiver of notices.
func TestWaitsCostNothing(t *testing.T) {
	secret := bytes.Repeat([]byte{7}, 32)
	var mu sync.Mutex
	var seen []string
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if err := webhook.Verify(secret, r.Header, b, time.Now(), time.Minute); err != nil {
			t.Error(err)
		}
		var n struct{ Type string }
		_ = json.Unmarshal(b, &n)
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, n.Type)
	}))
	defer receiver.Close()
	t.Setenv("STEADY_HOOK", "whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=")
	dir := steadyFolder(t, steady+fmt.Sprintf("webhooks:\n  ops: {url: %q, secret: \"${env:STEADY_HOOK}\", private: true}\n", receiver.URL))
	s := serve(t, dir)
	var turns []host.Turn
	for _, text := range []string{"wait 1s", "signal go", "write ask.txt"} {
		turns = append(turns, s.begin("steady", text, ""))
	}
	s.until("suspension", func() bool {
		for _, turn := range turns {
			if s.session(turn.Session).Status != host.SessionSuspended {
				return turn.Session == turns[0].Session && s.session(turn.Session).Ended == 1
			}
		}
		return true
	})
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s = serve(t, dir)
	var list struct{ Approvals []host.Approval }
	s.until("the question", func() bool {
		s.post(http.MethodGet, "/v1/approvals", nil, &list)
		return len(list.Approvals) == 1
	})
	s.post(http.MethodPost, "/v1/approvals/"+list.Approvals[0].ID, map[string]any{"grant": true}, nil)
	s.post(http.MethodPost, "/v1/sessions/"+turns[1].Session+"/signals", map[string]any{"name": "go", "data": 5}, nil)
	for i, want := range []string{"1 wait 1s", "1 signal go 5", "1 write ask.txt"} {
		s.until(want, func() bool { return s.session(turns[i].Session).Ended >= 1 })
		var turn struct{ Text string }
		s.post(http.MethodGet, fmt.Sprintf("/v1/sessions/%s/turns/1", turns[i].Session), nil, &turn)
		if turn.Text != want {
			t.Errorf("it says %q, want %q", turn.Text, want)
		}
	}
	s.until("the notices", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(strings.Join(seen, " "), "session.approval") && strings.Contains(strings.Join(seen, " "), "session.waiting")
	})
}

// begin invokes without waiting for the turn, in a new session for none.
func (s *served) begin(agent, text, session string) host.Turn {
	s.t.Helper()
	body := map[string]string{"content": text}
	if session != "" {
		body["session"] = session
	}
	b, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+"/v1/agents/"+agent+"/invocations", bytes.NewReader(b))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.key)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Prefer", "respond-async")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var out host.Turn
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil || out.Session == "" {
		s.t.Fatalf("begin: %d %v", res.StatusCode, err)
	}
	return out
}

// TestTimeTravel forks, reverts, replays, verifies, exports and imports a session.
func TestTimeTravel(t *testing.T) {
	s := serve(t, steadyFolder(t, steady))
	id := s.says("steady", "a", "", "1 a").Session
	s.says("steady", "b", id, "2 b")
	var fork host.Session
	s.post(http.MethodPost, "/v1/sessions/"+id+"/fork", map[string]any{}, &fork)
	s.says("steady", "c", id, "3 c")
	s.says("steady", "d", fork.ID, "3 d")
	var replayed host.Replayed
	s.post(http.MethodPost, "/v1/sessions/"+fork.ID+"/replay", map[string]any{}, &replayed)
	if !replayed.Same || len(replayed.Turns) != 3 {
		t.Errorf("replay: %+v", replayed)
	}
	var diff host.Comparison
	s.post(http.MethodGet, "/v1/sessions/"+id+"/diff/"+fork.ID, nil, &diff)
	if diff.Same || len(diff.Differences) == 0 || diff.Differences[0].Turn != 3 {
		t.Errorf("diff: %+v", diff)
	}
	var verified host.Verified
	s.post(http.MethodGet, "/v1/sessions/"+fork.ID+"/verify", nil, &verified)
	if verified.Entries == 0 || verified.Chain == "" {
		t.Errorf("verify: %+v", verified)
	}
	status, file := s.do(http.MethodGet, "/v1/sessions/"+id+"/export", nil)
	if status != http.StatusOK {
		t.Fatalf("export: %d %s", status, file)
	}
	second := serve(t, steadyFolder(t, steady))
	second.says("steady", "other", "", "1 other")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, second.url+"/v1/sessions/import", bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+second.key)
	r.Header.Set("Content-Type", "application/octet-stream")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	var imported host.Session
	if err := json.Unmarshal(b, &imported); err != nil || imported.ID == "" {
		t.Fatalf("import: %d %s", res.StatusCode, b)
	}
	second.says("steady", "e", imported.ID, "4 e")
}

// TestFuelEndsSpinning has a turn spin that may not, beside one that goes on.
func TestFuelEndsSpinning(t *testing.T) {
	s := serve(t, steadyFolder(t, steady))
	id := s.says("brief", "a", "", "1 a").Session
	turn := s.invoke("brief", "spin", id)
	if turn.Error == nil || turn.Error.Code != abi.CodeBudgetExceeded {
		t.Fatalf("%+v %v", turn, turn.Error)
	}
	s.says("brief", "b", id, "2 b") // the turn that failed left nothing behind
}

// TestBackupAndRestore takes a backup of a host that runs and goes on from it elsewhere.
func TestBackupAndRestore(t *testing.T) {
	dir := steadyFolder(t, steady)
	s := serve(t, dir)
	id := s.says("steady", "a", "", "1 a").Session
	status, backup := s.do(http.MethodPost, "/v1/admin/backup", nil)
	if status != http.StatusOK {
		t.Fatalf("backup: %d %s", status, backup)
	}
	s.says("steady", "b", id, "2 b")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	second := steadyFolder(t, steady)
	cfg, err := config.Load(filepath.Join(second, config.FileName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (app.App{}).Restore(t.Context(), cfg, bytes.NewReader(backup[:len(backup)/2])); err == nil {
		t.Error("half a backup was restored")
	}
	if _, err := (app.App{}).VerifyBackup(t.Context(), bytes.NewReader(backup)); err != nil {
		t.Error(err)
	}
	if _, err := (app.App{}).Restore(t.Context(), cfg, bytes.NewReader(backup)); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(dir, "data", "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(cfg.Data, "master.key"), string(key))
	s = serve(t, second)
	s.says("steady", "c", id, "2 c")
}

// ctxOfBuild outlives every test: what is built is shared.
var ctxOfBuild = context.Background()
