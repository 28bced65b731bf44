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
		return nil, fmt.Errorf("read the built-in plugin %q: %w in this binary; it has %s (make plugins builds them)",
			name, fs.ErrNotExist, strings.Join(Names(), ", "))
	}
	return b, err
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
