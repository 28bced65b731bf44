// Package plugins holds the built-in plugins as they were built into this binary.
// Their sources are in the folders agents and tools; make plugins builds them.
package plugins

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

//go:embed all:dist
var dist embed.FS

// Read returns the module of a built-in plugin.
func Read(name string) ([]byte, error) {
	b, err := fs.ReadFile(dist, "dist/"+name+".wasm")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil, fmt.Errorf("read the built-in plugin %q: %w in this binary; %s", name, fs.ErrNotExist, advice(Names()))
	}
	return b, err
}

// advice says what a binary with the plugins in have is good for.
func advice(have []string) string {
	if len(have) == 0 {
		return "this binary has none; run make plugins"
	}
	return "it has " + strings.Join(have, ", ") + " (make plugins builds them)"
}

// Names lists the built-in plugins that this binary has, in order.
func Names() []string {
	files, err := fs.Glob(dist, "dist/*.wasm")
	if err != nil {
		return nil // only a malformed pattern fails
	}
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = strings.TrimSuffix(path.Base(f), ".wasm")
	}
	return names
}
