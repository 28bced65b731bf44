package project_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/project"
	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
)

// module returns a module that imports functions "module name" and exports
// functions by name, each of the type () -> ().
func module(imports, exports []string) []byte {
	name := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	section := func(id byte, items [][]byte) []byte {
		body := append([]byte{byte(len(items))}, bytes.Join(items, nil)...)
		return append([]byte{id, byte(len(body))}, body...)
	}
	var imported, declared, exported, code [][]byte
	for _, i := range imports {
		from, what, _ := strings.Cut(i, " ")
		imported = append(imported, bytes.Join([][]byte{name(from), name(what), {0, 0}}, nil))
	}
	for n, e := range exports {
		declared = append(declared, []byte{0})
		exported = append(exported, append(name(e), 0, byte(len(imports)+n)))
		code = append(code, []byte{2, 0, 0x0b})
	}
	return bytes.Join([][]byte{
		[]byte("\x00asm\x01\x00\x00\x00"),
		section(1, [][]byte{{0x60, 0, 0}}),
		section(2, imported), section(3, declared), section(7, exported), section(10, code),
	}, nil)
}

const user = abi.NamespaceUser + " "

// shellPlugin is a folder whose plugin is made by a command.
func shellPlugin(t *testing.T, yaml string, wasm []byte) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, project.PluginFile), yaml)
	write(t, filepath.Join(dir, "made.wasm"), string(wasm))
	return dir
}

func TestBuildByCommand(t *testing.T) {
	dir := shellPlugin(t, `abi: 1
kind: agent
name: made
needs: [model_chat, http_fetch, emit]
build: echo building; cp made.wasm "$OUT"
`, module([]string{user + "model_chat", abi.NamespaceEnv + " http_request"}, []string{"handle"}))
	var log bytes.Buffer
	out := filepath.Join(t.TempDir(), "out.wasm")
	built, err := project.Build(t.Context(), dir, out, &log)
	if err != nil {
		t.Fatal(err)
	}
	if log.String() != "building\n" {
		t.Errorf("log = %q", &log)
	}
	if diff := cmp.Diff([]string{"emit"}, built.Unused); diff != "" {
		t.Errorf("unused needs (-want +got):\n%s", diff)
	}
	m := readModule(t, out)
	if diff := cmp.Diff([]string{"http_fetch", "model_chat"}, m.Ceiling()); diff != "" {
		t.Errorf("ceiling (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(out); err != nil || int(info.Size()) != built.Size {
		t.Errorf("size %d, %v; Build says %d", info.Size(), err, built.Size)
	}
}

func TestBuildErrors(t *testing.T) {
	const head = "abi: 1\nname: made\nneeds: [model_chat]\n"
	const copied = "build: cp made.wasm $OUT\n"
	good := module([]string{user + "model_chat"}, []string{"handle"})
	for name, tc := range map[string]struct {
		yaml string
		wasm []byte
		want string
	}{
		"export":   {head + "kind: tool\n" + copied, good, "does not export describe"},
		"import":   {head + "kind: agent\n" + copied, module([]string{user + "file_read"}, []string{"handle"}), "imports file_read, which plugin.yaml does not name"},
		"http":     {head + "kind: agent\n" + copied, module([]string{abi.NamespaceEnv + " http_request"}, []string{"handle"}), "imports http_fetch"},
		"no wasm":  {head + "kind: agent\n" + copied, []byte("#!/bin/sh"), "wasm:"},
		"command":  {head + "kind: agent\nbuild: exit 3\n", good, `"exit 3" failed`},
		"no out":   {head + "kind: agent\nbuild: 'true'\n", good, "wrote nothing to $OUT"},
		"no build": {head + "kind: agent\n", good, "there are no Go files"},
		"kind":     {head + "kind: robot\n" + copied, good, "plugin.yaml:1:1: manifest: kind"},
		"needs":    {strings.Replace(head, "model_chat", "modelchat", 1) + "kind: agent\n" + copied, good, "plugin.yaml:3:9: needs.0: there is no capability \"modelchat\"; did you mean model_chat?"},
		"key":      {head + "kind: agent\nneed: []\n", good, `plugin.yaml:5:1: need: unknown key; did you mean "needs"?`},
		"recovery": {head + "kind: agent\nrecovery: {a: sometimes}\n", good, "recovery of a"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := shellPlugin(t, tc.yaml, tc.wasm)
			_, err := project.Build(t.Context(), dir, "", io.Discard)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v, want one with %q", err, tc.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "made.wasm")); err != nil {
				t.Errorf("what was at the output is gone: %v", err)
			}
		})
	}
}

func TestReadModule(t *testing.T) {
	plain := module([]string{user + "file_read", user + "emit", "wasi_snapshot_preview1 fd_write"}, []string{"handle"})
	m, err := project.ReadModule(plain)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"emit", "file_read"}, m.Ceiling()); diff != "" || m.Manifest != nil {
		t.Errorf("without a manifest: %v (-want +got):\n%s", m.Manifest, diff)
	}
	damaged, err := wasm.WithSection(plain, abi.ManifestSection, []byte(`{"abi":1,"nedds":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := project.ReadModule(damaged); err == nil {
		t.Error("a damaged manifest was accepted")
	}
}
