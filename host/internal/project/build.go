package project

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
)

// goBuild is how a plugin in Go is built: reproducibly, and without what a guest
// has no use for.
var goBuild = []string{"go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-buildmode=c-shared"}

// Built is a plugin that was built.
type Built struct {
	Manifest *abi.Manifest
	Path     string // of the module
	Digest   string // "sha256:…"
	Size     int    // bytes
	Unused   []string
}

// Build builds the plugin in dir as its plugin.yaml says, checks that the module
// exports what its kind must and imports nothing beyond its needs, and writes it
// with its manifest to output, or to NAME.wasm in dir when output is empty. What
// is at output stays until the new module is whole. log gets the words of the
// build command.
//
// The command runs in dir by sh -c and must write the module to $OUT; without
// one, the folder is a Go package.
func Build(ctx context.Context, dir, output string, log io.Writer) (*Built, error) {
	manifest, command, err := readPlugin(dir)
	if err != nil {
		return nil, err
	}
	output = cmp.Or(output, filepath.Join(dir, manifest.Name+".wasm"))
	module, err := compile(ctx, dir, command, log)
	if err != nil {
		return nil, fmt.Errorf("build the plugin %s: %w", manifest.Name, err)
	}
	b, unused, err := seal(module, manifest)
	if err != nil {
		return nil, fmt.Errorf("check the plugin %s: %w", manifest.Name, err)
	}
	if err := replace(output, b); err != nil {
		return nil, fmt.Errorf("write the plugin %s: %w", manifest.Name, err)
	}
	sum := sha256.Sum256(b)
	return &Built{
		Manifest: manifest, Path: output, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: len(b), Unused: unused,
	}, nil
}

// compile runs the build command and returns the module it made.
func compile(ctx context.Context, dir, command string, log io.Writer) ([]byte, error) {
	temp, err := os.MkdirTemp("", "vespiary-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(temp) //nolint:errcheck // in the folder for temporary files
	out := filepath.Join(temp, "plugin.wasm")
	cmd := exec.CommandContext(ctx, "sh", "-c", command) //nolint:gosec // the project's own command is what is asked for
	if command == "" {
		if goFiles, _ := filepath.Glob(filepath.Join(dir, "*.go")); len(goFiles) == 0 {
			return nil, errors.New("there are no Go files; add a command as build to plugin.yaml that writes the module to $OUT")
		}
		args := append(slices.Clone(goBuild), "-o", out, ".")
		cmd = exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // fixed but for the path
		cmd.Env = append(cmd.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	}
	cmd.Env = append(cmd.Environ(), "OUT="+out)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("the command %q failed: %w", cmp.Or(command, "go build"), err)
	}
	b, err := os.ReadFile(out)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the command %q wrote nothing to $OUT; let it write the module there", command)
	}
	return b, err
}

// seal returns the module with its manifest, and the needs that it does not use.
func seal(module []byte, m *abi.Manifest) (sealed []byte, unused []string, err error) {
	w, err := wasm.Read(module, wasm.Limits{})
	if err != nil {
		return nil, nil, err
	}
	if err := check(w, m); err != nil {
		return nil, nil, err
	}
	imported := asks(w)
	for _, need := range m.Needs {
		if !slices.Contains(imported, need) {
			unused = append(unused, need)
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil, nil, err
	}
	sealed, err = wasm.WithSection(module, abi.ManifestSection, b)
	return sealed, unused, err
}

// replace writes a file whole or not at all. A file that holds b already is left
// alone, so that nothing that watches it stirs.
func replace(path string, b []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, b) {
		return nil
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".build-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) //nolint:errcheck // gone once it is renamed
	_, err = temp.Write(b)
	if err = errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}
