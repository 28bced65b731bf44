package app_test

import (
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/project"
)

// TestToolsRunOnTheEngineThatIsNamed runs one tool on both engines. For Extism's own it
// is built without bulk copies, which that engine cannot offer.
func TestToolsRunOnTheEngineThatIsNamed(t *testing.T) {
	dir := newFolder(t, base+`agents:
  greeter: {plugin: builtin:loop, model: main, tools: [native, extism]}
`)
	yaml := strings.Replace(base, "tools:\n", "tools:\n  native: {plugin: ./native.wasm}\n  extism: {plugin: ./extism.wasm, engine: extism}\n", 1) +
		"agents:\n  greeter: {plugin: builtin:loop, model: main, tools: [native, extism]}\n"
	put(t, filepath.Join(dir, "vespiary.yaml"), yaml)
	for name, source := range map[string]string{"native": "../../../examples/hello", "extism": "testdata/plain"} {
		if _, err := project.Build(t.Context(), source, filepath.Join(dir, name+".wasm"), io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	s := serve(t, dir)
	for _, tool := range []string{"native", "extism"} {
		turn := s.invoke("greeter", "Use the tool "+tool+" to greet World", "")
		if text := abi.TextOf(turn.Content); !strings.Contains(text, "World") || strings.Contains(text, "did not do it") {
			t.Errorf("%s: %s", tool, text)
		}
	}
}
