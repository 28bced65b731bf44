package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/vespiary/vespiary/plugins"
)

// TestScripts runs the command as a person does: each process is the real one,
// with its own store, its built-in plugins and its policies. It is built for that
// without the race detector, under which a plugin takes minutes to compile.
func TestScripts(t *testing.T) {
	needPlugins(t)
	bin := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build the command: %v\n%s", err, out)
	}
	caches := map[string]string{}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH"} {
		caches[name] = goEnv(t, name)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			for name, value := range caches { // or a script would build the standard library anew
				env.Setenv(name, value)
			}
			env.Setenv("GOPROXY", "off")
			env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"await": await},
	})
}

// needPlugins skips where the built-in plugins were not built, unless all tests
// are required.
func needPlugins(t *testing.T) {
	t.Helper()
	if len(plugins.Names()) > 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("the built-in plugins are missing; run make plugins")
	}
	t.Skip("the built-in plugins are missing; run make plugins")
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// await waits until a file is there.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	for range 1200 {
		if _, err := os.Stat(filepath.Clean(ts.MkAbs(args[0]))); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("%s did not come", args[0])
}
