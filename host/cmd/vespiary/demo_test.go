package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vespiary/vespiary/plugins"
)

// TestDemo runs the demonstration as a person would: real processes, one of which is
// killed in the middle of a turn.
func TestDemo(t *testing.T) {
	if len(plugins.Names()) < 2 {
		if os.Getenv("CI") == "true" {
			t.Fatal("the built-in plugins are not built: make plugins")
		}
		t.Skip("the built-in plugins are not built: make plugins")
	}
	bin := filepath.Join(t.TempDir(), "vespiary")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	dir := filepath.Join(t.TempDir(), "demo")
	cmd := exec.CommandContext(t.Context(), bin, "demo", "--dir", dir)
	for _, v := range os.Environ() { // the stand-in, whatever models this machine has
		if name, _, _ := strings.Cut(v, "="); name != "OPENAI_API_KEY" && name != "ANTHROPIC_API_KEY" && name != "OLLAMA_HOST" {
			cmd.Env = append(cmd.Env, v)
		}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "host.log"))
		t.Fatalf("demo: %v\n%s\n%s", err, out, log)
	}
	for _, want := range []string{
		"docs/RATIONALE.md", "files-stay-inside (limits.cedar:", "kill -9 of process", "took the session up",
		"Saved to notes/door.md", "effects: 1, performed twice: 0",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the demo does not show %q:\n%s", want, out)
		}
	}
	if again, err := exec.CommandContext(t.Context(), bin, "demo", "--dir", filepath.Dir(bin)).CombinedOutput(); err == nil || !strings.Contains(string(again), "--dir") {
		t.Errorf("a folder with files of another kind: %v\n%s", err, again)
	}
}
