package project_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/project"
)

var policies = fstest.MapFS{
	"agents.cedar": {Data: []byte("// agents\n")},
	"notes.txt":    {Data: []byte("no policy")},
}

// TestNewProject: what New writes passes its own tests and builds, without a
// network, and the configuration beside it is accepted.
func TestNewProject(t *testing.T) {
	for kind, needs := range map[abi.PluginKind][]string{
		abi.PluginAgent: {abi.CallMemorySession, abi.CallModelChat},
		abi.PluginTool:  {abi.CallFileRead},
	} {
		t.Run(string(kind), func(t *testing.T) {
			dir := newProject(t, kind)
			runGo(t, dir, "vet", "./...")
			runGo(t, dir, "test", "./...")
			if _, err := config.Load(filepath.Join(dir, config.FileName)); err != nil {
				t.Error(err)
			}
			built := build(t, dir)
			m := readModule(t, built.Path)
			if diff := cmp.Diff(needs, m.Ceiling()); diff != "" {
				t.Errorf("ceiling (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(built.Manifest, m.Manifest); diff != "" {
				t.Errorf("manifest (-want +got):\n%s", diff)
			}
			if again := build(t, dir); again.Digest != built.Digest {
				t.Errorf("built twice: %s and %s", built.Digest, again.Digest)
			}
		})
	}
}

func newProject(t *testing.T, kind abi.PluginKind) string {
	t.Helper()
	parent := t.TempDir()
	written, err := project.New(parent, kind, "my-first", policies)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(parent, "my-first")
	for _, want := range []string{"main.go", "main_test.go", "plugin.yaml", "vespiary.yaml", "policies/agents.cedar", ".gitignore", ".vespiary/sdk/abi/doc.go"} {
		if !slices.Contains(written, project.Written{Path: filepath.Join(dir, want)}) {
			t.Errorf("%s is not written", want)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "test.sh")); err != nil || info.Mode().Perm()&0o111 == 0 {
		t.Errorf("test.sh cannot be run: %v", err)
	}
	for _, w := range written {
		if strings.HasSuffix(w.Path, ".txt") || strings.Contains(w.Path, ".vespiary") && strings.HasSuffix(w.Path, "_test.go") {
			t.Errorf("%s is written", w.Path)
		}
	}
	return dir
}

// runGo runs the Go command with no network to fall back to.
func runGo(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "GOPROXY=off", "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, out)
	}
}

func build(t *testing.T, dir string) *project.Built {
	t.Helper()
	t.Setenv("GOPROXY", "off")
	var log bytes.Buffer
	built, err := project.Build(t.Context(), dir, "", &log)
	if err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	return built
}

func readModule(t *testing.T, path string) *project.Module {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m, err := project.ReadModule(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "taken", "file"), "")
	for name, tc := range map[string]struct {
		kind abi.PluginKind
		name string
	}{
		"a name that is a path": {abi.PluginTool, "../up"},
		"upper case":            {abi.PluginTool, "Tool"},
		"a connector":           {abi.PluginConnector, "hub"},
		"a folder in use":       {abi.PluginAgent, "taken"},
	} {
		if _, err := project.New(dir, tc.kind, tc.name, policies); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestInitKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "vespiary.yaml"), "version: 1 # mine\n")
	written, err := project.Init(dir, policies)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, w := range written {
		if w.Kept {
			kept = append(kept, w.Path)
		}
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, "vespiary.yaml")}, kept); diff != "" {
		t.Errorf("kept (-want +got):\n%s", diff)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "vespiary.yaml")); err != nil || string(b) != "version: 1 # mine\n" {
		t.Errorf("vespiary.yaml = %q, %v", b, err)
	}

	fresh := t.TempDir()
	if _, err := project.Init(fresh, policies); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(filepath.Join(fresh, config.FileName)); err != nil {
		t.Errorf("the configuration that Init writes: %v", err)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"plugin.yaml", "tools/a/plugin.yaml", ".vespiary/sdk/plugin.yaml", "data/plugin.yaml", "b/other.yaml"} {
		write(t, filepath.Join(dir, path), "")
	}
	got, err := project.Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{dir, filepath.Join(dir, "tools/a")}, got); diff != "" {
		t.Errorf("folders (-want +got):\n%s", diff)
	}
	if _, err := project.Find(filepath.Join(dir, "none")); err == nil {
		t.Error("a folder that is not there gave no error")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), fs.ModePerm); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
