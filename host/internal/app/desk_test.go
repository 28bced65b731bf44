package app_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/host/internal/cli"
	"github.com/vespiary/vespiary/host/internal/config"
)

// configured reads the configuration of a folder, whose data folder has the cache of all
// tests.
func configured(t *testing.T, dir string) *config.Config {
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
	return cfg
}

// filesOf reads the policies of a configuration.
func filesOf(t *testing.T, cfg *config.Config) []host.PolicyFile {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(cfg.Policies, "*.cedar"))
	if err != nil {
		t.Fatal(err)
	}
	var out []host.PolicyFile
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, host.PolicyFile{Name: filepath.Base(name), Text: string(b)})
	}
	return out
}

// onlyNotes looks at what a tool is called with, so that it is valid only where the tool is.
const onlyNotes = `@id("only-notes") forbid (principal, action == Action::"files.files_write", resource) unless { context.input.path like "notes/*" };`

func TestFilesAreCheckedAsTheHostReadsThem(t *testing.T) {
	dir := newFolder(t, librarian)
	put(t, filepath.Join(dir, "policies/notes.cedar"), onlyNotes)
	cfg := configured(t, dir)
	files := filesOf(t, cfg)
	set, err := app.App{}.CheckPolicies(t.Context(), cfg, files)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(files, set.Files); diff != "" {
		t.Errorf("the files of the set (-given +set):\n%s", diff)
	}
	entries, err := os.ReadDir(cfg.Data)
	if err != nil || len(entries) != 1 {
		t.Errorf("the check left in the data folder: %v %v, want the cache alone", entries, err)
	}
	s := serve(t, dir)
	var active host.PolicySet
	if status, b := s.do(http.MethodGet, "/v1/policies", nil); status != http.StatusOK || json.Unmarshal(b, &active) != nil {
		t.Fatalf("%d %s", status, b)
	}
	if diff := cmp.Diff(set, active); diff != "" {
		t.Errorf("the set of a running host (-checked +running):\n%s", diff)
	}
	again, err := app.App{}.CheckPolicies(t.Context(), cfg, files)
	if err != nil || again.Digest != set.Digest {
		t.Errorf("beside the running host: %+v %v", again.Digest, err)
	}
}

func TestFilesAreCheckedWithoutADataFolder(t *testing.T) {
	dir := newFolder(t, base)
	cfg, err := config.Load(filepath.Join(dir, config.FileName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (app.App{}).CheckPolicies(t.Context(), cfg, []host.PolicyFile{{Name: "notes.cedar", Text: onlyNotes}}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(cfg.Data); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the check made the data folder: %v", err)
	}
}

func TestEachFaultHasALine(t *testing.T) {
	_, err := app.App{}.CheckPolicies(t.Context(), nil, []host.PolicyFile{
		{Name: "notes.cedar", Text: "\n" + onlyNotes},
		{Name: "sub/more.cedar", Text: `permit (principal, action, resource);`},
	})
	if err == nil {
		t.Fatal("policies about a tool are valid without it")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) < 2 || !strings.HasPrefix(lines[0], "notes.cedar:2: ") || !strings.HasPrefix(lines[len(lines)-1], "sub/more.cedar:1: ") {
		t.Errorf("%v", err)
	}
	problems, ok := errors.AsType[host.PolicyProblems](err)
	if !ok || len(problems) != len(lines) || problems[0].File != "notes.cedar" || problems[0].Line != 2 || problems[0].Policy != "only-notes" {
		t.Errorf("%+v", problems)
	}
	twice := []host.PolicyFile{{Name: "a.cedar"}, {Name: "a.cedar"}}
	if _, err := (app.App{}).CheckPolicies(t.Context(), nil, twice); err == nil || !strings.Contains(err.Error(), "a.cedar is given twice") {
		t.Errorf("%v", err)
	}
}

func TestReadyMadePoliciesCount(t *testing.T) {
	plain := configured(t, newFolder(t, base))
	enforced := configured(t, newFolder(t, base+"enforce: flow\n"))
	files := filesOf(t, plain)
	tried, err := app.App{}.CheckPolicies(t.Context(), plain, files)
	if err != nil {
		t.Fatal(err)
	}
	on, err := app.App{}.CheckPolicies(t.Context(), enforced, files)
	if err != nil {
		t.Fatal(err)
	}
	if tried.Candidate == "" || on.Candidate != "" || on.Digest != tried.Candidate || on.Policies <= tried.Policies {
		t.Errorf("tried: %s beside %s; enforced: %s beside %q", tried.Candidate, tried.Digest, on.Digest, on.Candidate)
	}
	if none, err := (app.App{}).CheckPolicies(t.Context(), nil, files); err != nil || none.Candidate == "" || none.Digest == tried.Digest {
		t.Errorf("without tools: %+v %v", none, err)
	}
}

func TestCasesAreDecided(t *testing.T) {
	dir := newFolder(t, librarian)
	put(t, filepath.Join(dir, "policies/notes.cedar"), onlyNotes)
	cfg := configured(t, dir)
	got, err := app.App{}.TestPolicies(t.Context(), cfg, filesOf(t, cfg), []cli.CaseFile{
		{Name: "notes.test.yaml", Text: []byte(`cases:
  - name: a note is written
    action: files.files_write
    resource: files.files_write
    context: {input: {path: notes/a.md, text: x}}
    expect: allow
    by: [writes]
  - name: nothing else is
    action: files.files_write
    resource: files.files_write
    context: {input: {path: a.md, text: x}}
    expect: deny
    by: [only-notes]
`)},
		{Name: "wrong.test.yaml", Text: []byte("cases:\n  - {name: a wish, action: fileRead, attrs: {inside: false}, expect: allow}\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	var passed []string
	for _, r := range got {
		if r.Passed {
			passed = append(passed, r.File+": "+r.Name)
		} else if r.Name != "a wish" || len(r.Why) < 2 || !strings.Contains(strings.Join(r.Why, "\n"), "files-stay-inside") {
			t.Errorf("%+v", r)
		}
	}
	if diff := cmp.Diff([]string{"notes.test.yaml: a note is written", "notes.test.yaml: nothing else is"}, passed); diff != "" || len(got) != 3 {
		t.Errorf("%d cases, passed (-want +got):\n%s", len(got), diff)
	}
}

func TestFaultsOfCasesHaveAPlace(t *testing.T) {
	_, err := app.App{}.TestPolicies(t.Context(), nil, []host.PolicyFile{{Name: "a.cedar", Text: "permit (principal, action, resource);"}}, []cli.CaseFile{
		{Name: "one.test.yaml", Text: []byte("cases:\n  - name: x\n    acton: fileRead\n    action: fileRead\n    expect: deny\n")},
		{Name: "two.test.yaml", Text: []byte("cases:\n  - name: x\n    action: fileRead\n")},
	})
	if err == nil {
		t.Fatal("faulty cases were decided")
	}
	for _, want := range []string{"a.cedar:1: ", "one.test.yaml:3:", "acton", "two.test.yaml:2:", "expect: missing"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}

func TestSchemaHasTheToolsOfTheConfiguration(t *testing.T) {
	cfg := configured(t, newFolder(t, base))
	const write = `action "files.files_write"`
	with, err := app.App{}.PolicySchema(t.Context(), cfg)
	if err != nil || !strings.Contains(with, write) || !strings.Contains(with, `action "clock.clock_now"`) {
		t.Errorf("%v\n%s", err, with)
	}
	without, err := app.App{}.PolicySchema(t.Context(), nil)
	if err != nil || strings.Contains(without, write) || !strings.Contains(without, "entity Run") {
		t.Errorf("%v\n%s", err, without)
	}
}

// TestToolsThatCannotBeAsked: a person hears of each that is missing.
func TestToolsThatCannotBeAsked(t *testing.T) {
	dir := newFolder(t, strings.Replace(base, "  clock: {plugin: builtin:clock}\n", `  clock: {plugin: builtin:clock}
  gone: {plugin: ./gone.wasm}
  text: {plugin: ./text.wasm}
  mute: {plugin: ./mute.wasm}
  agent: {plugin: builtin:loop}
  named: {plugin: greeter}
`, 1))
	put(t, filepath.Join(dir, "text.wasm"), "hello")
	put(t, filepath.Join(dir, "mute.wasm"), "\x00asm\x01\x00\x00\x00")
	_, err := app.App{}.CheckPolicies(t.Context(), configured(t, dir), nil)
	if err == nil {
		t.Fatal("tools are missing and nobody is told")
	}
	lines := strings.Split(err.Error(), "\n")
	want := []string{"tool agent: builtin:loop is of the kind agent", "tool gone: ", "tool named: ", "tool text: ", "tool mute: it cannot be asked"}
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%v", len(lines), len(want), err)
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("%s, want %q", line, want[i])
		}
	}
	if !strings.Contains(lines[2], "vespiary install FILE --name greeter") {
		t.Errorf("%s", lines[2])
	}
}

// TestToolsAreDescribedOnTheirEngine: what cannot run on Extism's own has no tools there,
// neither at the desk nor in a host.
func TestToolsAreDescribedOnTheirEngine(t *testing.T) {
	dir := newFolder(t, strings.Replace(base, "  files: {plugin: builtin:files}\n  clock: {plugin: builtin:clock}", "  clock: {plugin: builtin:clock, engine: extism}", 1))
	if err := os.Remove(filepath.Join(dir, "policies/writes.cedar")); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(filepath.Join(dir, config.FileName)) // whose cache knows nothing
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (app.App{}).PolicySchema(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "tool clock: it cannot be asked") {
		t.Errorf("at the desk: %v", err)
	}
	put(t, filepath.Join(dir, "policies/tick.cedar"), `@id("tick") permit (principal, action == Action::"clock.clock_now", resource);`)
	if _, err := (app.App{}).Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "tick.cedar:1: ") {
		t.Errorf("in a host: %v", err)
	}
}

// TestNamesAreLookedUpInTheStore: the desk opens it, and where another process has it says
// so.
func TestNamesAreLookedUpInTheStore(t *testing.T) {
	dir := newFolder(t, strings.Replace(base, "builtin:clock", "watch", 1))
	cfg := configured(t, newFolder(t, base))
	module, err := app.App{}.Builtin("basic")
	if err != nil {
		t.Fatal(err)
	}
	s, err := app.App{}.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Install(t.Context(), "watch", module); err != nil {
		t.Fatal(err)
	}
	named, err := config.Load(filepath.Join(dir, config.FileName))
	if err != nil {
		t.Fatal(err)
	}
	named.Data = cfg.Data
	if _, err := (app.App{}).PolicySchema(t.Context(), named); err == nil || !strings.Contains(err.Error(), "tool clock: ") || !strings.Contains(err.Error(), "another process") {
		t.Errorf("while the store is in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if schema, err := (app.App{}).PolicySchema(t.Context(), named); err != nil || !strings.Contains(schema, `action "clock.clock_now"`) {
		t.Errorf("%v\n%s", err, schema)
	}
}

func TestSuggestionsMakeDenialsPossible(t *testing.T) {
	dir := newFolder(t, librarian)
	if err := os.Remove(filepath.Join(dir, "policies/files.cedar")); err != nil {
		t.Fatal(err)
	}
	s := serve(t, dir)
	turn := s.invoke("librarian", "Read docs/wasps.md", "")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	cfg := configured(t, dir)
	l, err := app.App{}.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	denied, err := l.Decisions(t.Context(), true, 10)
	if err := errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	if len(denied) == 0 || denied[0].Session != turn.Session || denied[0].Call.Decision.Allowed {
		t.Fatalf("denials on record: %+v", denied)
	}
	files := filesOf(t, cfg)
	suggested, err := app.App{}.Suggest(t.Context(), cfg, files, denied)
	if err != nil || !strings.Contains(suggested.Policies, `Action::"fileRead"`) {
		t.Fatalf("%v %+v", err, suggested)
	}
	if _, err := (app.App{}).CheckPolicies(t.Context(), cfg, append(files, host.PolicyFile{Name: "suggested.cedar", Text: suggested.Policies})); err != nil {
		t.Error(err)
	}
	put(t, filepath.Join(dir, "policies/suggested.cedar"), suggested.Policies)
	s = serve(t, dir)
	if turn := s.invoke("librarian", "Read docs/wasps.md", ""); !strings.Contains(abi.TextOf(turn.Content), "A vespiary is a nest of wasps.") {
		t.Errorf("with the suggestion: %+v", turn)
	}
}

func TestReachOfAnAgentWithoutAHost(t *testing.T) {
	dir := newFolder(t, librarian)
	cfg := configured(t, dir)
	got, err := app.App{}.Reach(t.Context(), cfg, "librarian")
	if err != nil {
		t.Fatal(err)
	}
	answers := map[string]string{}
	for _, a := range got.Abilities {
		answers[a.Action] = a.Answer
	}
	for action, want := range map[string]string{
		"callModel": host.AbleYes, "files.files_write": host.AbleYes, "clock.clock_now": host.AbleYes, "reply": host.AbleYes, "httpSend": "",
	} {
		if answers[action] != want {
			t.Errorf("%s: %q, want %q", action, answers[action], want)
		}
	}
	s := serve(t, dir)
	_, b := s.do(http.MethodGet, "/v1/agents/librarian/reach", nil)
	var running host.Reach
	if err := json.Unmarshal(b, &running); err != nil {
		t.Fatalf("%v %s", err, b)
	}
	if diff := cmp.Diff(got, running); diff != "" {
		t.Errorf("the reach that a running host tells (-desk +host):\n%s", diff)
	}
	if _, err := (app.App{}).Reach(t.Context(), cfg, "curator"); err == nil || !strings.Contains(err.Error(), "it has: librarian") {
		t.Errorf("no such agent: %v", err)
	}
}
