package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/host/internal/cli"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/project"
	"github.com/vespiary/vespiary/plugins"
	"github.com/vespiary/vespiary/policy/cedar"
)

// served is a host that answers HTTP on loopback, over a folder of its own.
type served struct {
	t    *testing.T
	dir  string
	url  string
	key  string
	stop func() error
	log  *bytes.Buffer
}

const base = `version: 1
listen: 127.0.0.1:0
data: ./data
policies: ./policies
models:
  main: {provider: offline}
tools:
  files: {plugin: builtin:files}
  clock: {plugin: builtin:clock}
folders:
  docs: {path: ./docs}
`

const librarian = base + `agents:
  librarian:
    plugin: builtin:loop
    model: main
    tools: [files, clock]
    folders: [docs]
`

const writes = `@id("writes") permit (principal, action in Action::"invokeWriteTool", resource == Tool::"files.files_write");`

// newFolder writes a project for the configuration.
func newFolder(t *testing.T, yaml string) string {
	t.Helper()
	if len(plugins.Names()) < 2 {
		if os.Getenv("CI") == "true" {
			t.Fatal("the built-in plugins are not built: make plugins")
		}
		t.Skip("the built-in plugins are not built: make plugins")
	}
	dir := t.TempDir()
	files := map[string]string{
		config.FileName: yaml, "policies/writes.cedar": writes,
		"docs/wasps.md": "# Wasps\n\nA vespiary is a nest of wasps.\n\nHornets build with paper.\n",
	}
	starter := cedar.Starter()
	for _, name := range []string{"agents.cedar", "approvals.cedar", "files.cedar", "limits.cedar", "people.cedar", "tools.cedar"} {
		f, err := starter.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(f)
		files["policies/"+name] = string(b)
	}
	for name, content := range files {
		put(t, filepath.Join(dir, name), content)
	}
	return dir
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// cacheDir is shared by all tests of a run: the same plugins are compiled once.
var cacheDir = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "vespiary-app-test")
	if err != nil {
		panic(err)
	}
	return dir
})

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(cacheDir())
	os.Exit(code)
}

// serve runs the host of a folder until the test ends, or stop is called.
func serve(t *testing.T, dir string) *served {
	t.Helper()
	cfg, err := config.Load(filepath.Join(dir, config.FileName))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(cacheDir(), filepath.Join(cfg.Data, "cache")); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	s := &served{t: t, dir: dir, log: &bytes.Buffer{}}
	_, s.key, err = app.App{}.CreateKey(t.Context(), cfg, host.APIKeySpec{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- app.App{}.Serve(ctx, cfg, cli.ServeOptions{
			Log: slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelWarn})), Ready: func(url string) { ready <- url },
		})
	}()
	var once sync.Once
	s.stop = func() (err error) {
		once.Do(func() {
			cancel()
			err = <-done
		})
		return err
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if t.Failed() {
			t.Logf("host log:\n%s", s.log)
		}
	})
	select {
	case s.url = <-ready:
	case err := <-done:
		done <- nil
		t.Fatalf("serve: %v", err)
	}
	warm.Do(s.warm)
	return s
}

// warm is done once: the built-in plugins are in the cache before any call's time limit
// has to cover their compilation, which takes long under the race detector.
var warm sync.Once

func (s *served) warm() {
	for _, name := range plugins.Names() {
		b, err := plugins.Read(name)
		if err != nil {
			s.t.Fatal(err)
		}
		if status, body := s.upload("warm-"+name, b); status >= 300 {
			s.t.Fatalf("compile %s: %d %s", name, status, body)
		}
	}
}

// do makes a request and returns status and body.
func (s *served) do(method, path string, body any) (int, []byte) {
	s.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, bytes.NewReader(b))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.key)
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, out
}

func (s *served) invoke(agent, text, session string) host.Turn {
	s.t.Helper()
	body := map[string]string{"content": text}
	if session != "" {
		body["session"] = session
	}
	status, b := s.do(http.MethodPost, "/v1/agents/"+agent+"/invocations", body)
	var t host.Turn
	if err := json.Unmarshal(b, &t); err != nil || t.Session == "" {
		s.t.Fatalf("invoke %s: %d %s", agent, status, b)
	}
	return t
}

func (s *served) upload(name string, module []byte) (int, []byte) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+"/v1/modules?name="+name, bytes.NewReader(module))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.key)
	r.Header.Set("Content-Type", "application/wasm")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, body
}

func (s *served) install(name, file string) {
	s.t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	if status, body := s.upload(name, b); status >= 300 {
		s.t.Fatalf("install %s: %d %s", name, status, body)
	}
}

func TestQuestionIsAnsweredFromAFile(t *testing.T) {
	s := serve(t, newFolder(t, librarian))
	turn := s.invoke("librarian", "What is a vespiary?", "")
	if text := abi.TextOf(turn.Content); turn.Status != host.TurnDone || !strings.Contains(text, "A vespiary is a nest of wasps.") || !strings.Contains(text, "docs/wasps.md") {
		t.Errorf("%+v", turn)
	}
	again := s.invoke("librarian", "What do hornets build with?", turn.Session)
	if again.Number != 2 || !strings.Contains(abi.TextOf(again.Content), "paper") {
		t.Errorf("%+v", again)
	}
}

func TestOutsideIsDeniedByName(t *testing.T) {
	s := serve(t, newFolder(t, librarian))
	put(t, filepath.Join(s.dir, "secret.txt"), "the code word is hornet")
	for _, path := range []string{"../secret.txt", "docs/../../secret.txt", "/etc/passwd"} {
		turn := s.invoke("librarian", "Read "+path, "")
		text := abi.TextOf(turn.Content)
		if !strings.Contains(text, "files-stay-inside") || strings.Contains(text, "hornet") || strings.Contains(text, "root:") {
			t.Errorf("%s: %s", path, text)
		}
	}
	status, b := s.do(http.MethodGet, "/v1/decisions?denied=true&limit=10", nil)
	if status != http.StatusOK || bytes.Count(b, []byte("files-stay-inside")) < 3 || !bytes.Contains(b, []byte("limits.cedar")) {
		t.Errorf("%d %s", status, b)
	}
}

func TestWorkspaceSurvivesARestart(t *testing.T) {
	dir := newFolder(t, librarian)
	s := serve(t, dir)
	turn := s.invoke("librarian", "Find what hornets build with and save it to notes/paper.md", "")
	if !strings.Contains(abi.TextOf(turn.Content), "notes/paper.md") {
		t.Fatalf("%+v", turn)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	s = serve(t, dir)
	next := s.invoke("librarian", "Read notes/paper.md", turn.Session)
	if next.Number != 2 || !strings.Contains(abi.TextOf(next.Content), "Hornets build with paper.") {
		t.Errorf("%+v", next)
	}
	other := s.invoke("librarian", "Read notes/paper.md", "")
	if strings.Contains(abi.TextOf(other.Content), "Hornets build with paper.") {
		t.Errorf("another session reads the workspace: %+v", other)
	}
}

func TestReloadIsAllOrNothing(t *testing.T) {
	dir := newFolder(t, librarian)
	s := serve(t, dir)
	put(t, filepath.Join(dir, "policies/more.cedar"), `@id("broken") permit (principal, action == Action::"noSuchThing", resource);`)
	put(t, filepath.Join(dir, config.FileName), strings.Replace(librarian, "librarian:", "curator:", 1))
	status, b := s.do(http.MethodPost, "/v1/reload", nil)
	if status != http.StatusBadRequest || !bytes.Contains(b, []byte("more.cedar:1")) {
		t.Errorf("a broken policy: %d %s", status, b)
	}
	if turn := s.invoke("librarian", "What time is it?", ""); turn.Status != host.TurnDone {
		t.Errorf("%+v", turn)
	}
	put(t, filepath.Join(dir, "policies/more.cedar"), `@id("no-clock") forbid (principal, action in Action::"invokeReadTool", resource in ToolSet::"clock");`)
	put(t, filepath.Join(dir, config.FileName), strings.Replace(librarian, "librarian:", "curator:", 1)+"limits: {sessions: 3}\n")
	if status, b := s.do(http.MethodPost, "/v1/reload", nil); status != http.StatusBadRequest || !bytes.Contains(b, []byte("limits")) {
		t.Errorf("what only a restart can change: %d %s", status, b)
	}
	put(t, filepath.Join(dir, config.FileName), strings.Replace(librarian, "librarian:", "curator:", 1))
	if status, b := s.do(http.MethodPost, "/v1/reload", nil); status != http.StatusOK && status != http.StatusNoContent {
		t.Fatalf("%d %s", status, b)
	}
	if turn := s.invoke("curator", "What time is it?", ""); strings.Contains(abi.TextOf(turn.Content), "UTC") || turn.Status != host.TurnDone { // it is not offered the clock any more
		t.Errorf("%+v", turn)
	}
	if status, _ := s.do(http.MethodPost, "/v1/agents/librarian/invocations", map[string]string{"content": "x"}); status != http.StatusNotFound {
		t.Errorf("the agent that is no longer configured: %d", status)
	}
}

func TestNoAccessWithoutAKey(t *testing.T) {
	s := serve(t, newFolder(t, librarian))
	s.key = "vsp_wrong"
	for _, path := range []string{"/v1/agents", "/v1/sessions", "/metrics", "/v1/models", "/v1/decisions"} {
		if status, b := s.do(http.MethodGet, path, nil); status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", path, status, b)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/openapi.json"} {
		if status, b := s.do(http.MethodGet, path, nil); status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, b)
		}
	}
}

func TestMetricsCountTurnsAndCalls(t *testing.T) {
	s := serve(t, newFolder(t, librarian))
	s.invoke("librarian", "What is a vespiary?", "")
	_, b := s.do(http.MethodGet, "/metrics", nil)
	for _, want := range []string{`agent="librarian"`, `model_chat`, `file_read`} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

func TestOneProcessOwnsTheData(t *testing.T) {
	dir := newFolder(t, librarian)
	serve(t, dir)
	cfg, err := config.Load(filepath.Join(dir, config.FileName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.Open(t.Context(), cfg, app.Options{}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second host: %v", err)
	}
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	for name, tt := range map[string]struct{ yaml, want string }{
		"no such built-in": {base + "agents:\n  a: {plugin: builtin:nothing}\n", "clock, files, loop"},
		"no such module":   {base + "agents:\n  a: {plugin: ./none.wasm}\n", "none.wasm"},
		"no such name":     {base + "agents:\n  a: {plugin: unheard-of}\n", "unheard-of"},
		"tool as agent":    {base + "agents:\n  a: {plugin: builtin:files}\n", "not an agent"},
		"agent as tool":    {strings.Replace(base, "builtin:clock", "builtin:loop", 1), "not a tool"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := config.Load(filepath.Join(newFolder(t, tt.yaml), config.FileName))
			if err != nil {
				t.Fatal(err)
			}
			h, err := app.Open(t.Context(), cfg, app.Options{})
			if err == nil {
				_ = h.Close(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestBadModulesAreRefused(t *testing.T) {
	s := serve(t, newFolder(t, librarian))
	for name, b := range map[string][]byte{
		"empty": {}, "text": []byte("hello"), "component": []byte("\x00asm\x0d\x00\x01\x00"),
		"imports": []byte("\x00asm\x01\x00\x00\x00\x02\x06\xff\xff\xff\xff\x0f\x00"),
	} {
		if status, body := s.upload("bad", b); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if turn := s.invoke("librarian", "What is a vespiary?", ""); turn.Status != host.TurnDone {
		t.Errorf("%+v", turn)
	}
}

// TestGuestsThatMisbehave gives an agent that does what it is told, however bad, and
// looks whether the host says what happened and goes on serving.
func TestGuestsThatMisbehave(t *testing.T) {
	dir := newFolder(t, base+"agents:\n  naughty: {plugin: ./naughty.wasm, budget: {calls: 100}}\n  hasty: {plugin: ./naughty.wasm, budget: {time: 3s}}\n  librarian: {plugin: builtin:loop, model: main, tools: [files], folders: [docs]}\n")
	built, err := project.Build(t.Context(), "testdata/naughty", filepath.Join(dir, "naughty.wasm"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir)
	s.install("naughty", filepath.Join(dir, "naughty.wasm")) // so that no turn's time goes into compiling it
	if turn := s.invoke("naughty", "behave", ""); abi.TextOf(turn.Content) != "I do" {
		t.Fatalf("%+v (%s)", turn, built.Digest)
	}
	var wg sync.WaitGroup
	for text, code := range map[string]abi.Code{
		"spin": abi.CodeTimeout, "allocate": abi.CodeInternal, "recurse": abi.CodeInternal, "exit": abi.CodeInternal,
		"panic": abi.CodeInternal, "garbage": abi.CodeInvalid, "sleep": "", "call": abi.CodeBudgetExceeded,
	} {
		wg.Go(func() {
			agent := "naughty"
			if text == "spin" {
				agent = "hasty" // the only one whose end is a matter of time
			}
			turn := s.invoke(agent, text, "")
			switch {
			case code == "" && turn.Status != host.TurnDone, code != "" && (turn.Error == nil || turn.Error.Code != code):
				t.Errorf("%s: %+v %+v, want %q", text, turn, turn.Error, code)
			}
			if next := s.invoke(agent, "behave", turn.Session); abi.TextOf(next.Content) != "I do" {
				t.Errorf("after %s: %+v %v", text, next, next.Error)
			}
		})
	}
	wg.Wait()
	if turn := s.invoke("librarian", "What is a vespiary?", ""); turn.Status != host.TurnDone {
		t.Errorf("%+v", turn)
	}
}

func TestClientsThatLeaveCancelNothing(t *testing.T) {
	s := serve(t, newFolder(t, strings.Replace(librarian, "{provider: offline}", "{provider: offline, latency: 300ms}", 1)))
	ctx, cancel := context.WithCancel(t.Context())
	r, _ := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/v1/agents/librarian/invocations", strings.NewReader(`{"content":"What is a vespiary?"}`))
	r.Header.Set("Authorization", "Bearer "+s.key)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "text/event-stream")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadFull(res.Body, make([]byte, 20))
	cancel()
	_ = res.Body.Close()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		var list struct{ Sessions []host.Session }
		_, b := s.do(http.MethodGet, "/v1/sessions", nil)
		if json.Unmarshal(b, &list) == nil && len(list.Sessions) == 1 && list.Sessions[0].Ended == 1 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("the turn did not go on without its client")
}
