package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
	"github.com/vespiary/vespiary/plugins"
	"github.com/vespiary/vespiary/registry"
)

// builtin is a plugin of this binary: a module, and of a module with the tools of
// several the ones whose names begin with a prefix.
type builtin struct{ module, prefix string }

// builtins are the plugins that a configuration names builtin:NAME. Tools that belong
// together share a module, which costs memory once.
var builtins = map[string]builtin{
	"loop":  {module: "loop"},
	"basic": {module: "basic"},
	"files": {module: "basic", prefix: "files_"},
	"clock": {module: "basic", prefix: "clock_"},
}

// plugin is a module that a configuration names.
type plugin struct {
	name     string
	digest   string
	prefix   string
	needs    []string
	manifest *abi.Manifest // nil for a module that brings none
}

// shelf finds plugins and remembers what their manifests say.
type shelf struct {
	registry *registry.Registry

	mu    sync.Mutex
	known map[string]plugin // by digest
}

// resolve finds the plugin that ref names and makes sure that its module is kept.
func (s *shelf) resolve(ctx context.Context, ref string) (plugin, error) {
	var b []byte
	var err error
	var prefix string
	switch name, isBuiltin := strings.CutPrefix(ref, "builtin:"); {
	case isBuiltin:
		alias, ok := builtins[name]
		if !ok {
			return plugin{}, fmt.Errorf("there is no built-in plugin %q; there are: %s", name, strings.Join(slices.Sorted(maps.Keys(builtins)), ", "))
		}
		prefix = alias.prefix
		b, err = plugins.Read(alias.module)
	case config.IsPath(ref):
		if b, err = os.ReadFile(ref); errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w; build it with vespiary build", err)
		}
	default:
		return s.registered(ctx, ref)
	}
	if err != nil {
		return plugin{}, err
	}
	digest, err := s.registry.Put(ctx, "", b, "config")
	if err != nil {
		return plugin{}, err
	}
	p, err := s.learn(string(digest), b, ref)
	p.prefix = prefix
	return p, err
}

func (s *shelf) registered(ctx context.Context, ref string) (plugin, error) {
	digest, err := s.registry.Resolve(ctx, ref)
	if errors.Is(err, registry.ErrNotFound) && !registry.Digest(ref).Valid() {
		err = fmt.Errorf("%w: vespiary install FILE --name %s", err, ref)
	}
	if err != nil {
		return plugin{}, err
	}
	return s.find(ctx, string(digest), ref)
}

// find returns the plugin with a digest.
func (s *shelf) find(ctx context.Context, digest, ref string) (plugin, error) {
	s.mu.Lock()
	p, ok := s.known[digest]
	s.mu.Unlock()
	if ok {
		return p, nil
	}
	b, err := s.registry.Bytes(ctx, registry.Digest(digest))
	if err != nil {
		return plugin{}, err
	}
	return s.learn(digest, b, ref)
}

// learn reads what a module says of itself.
func (s *shelf) learn(digest string, b []byte, ref string) (plugin, error) {
	p, err := describe(b)
	if err != nil {
		return plugin{}, fmt.Errorf("%s: %w", ref, err)
	}
	p.digest = digest
	if p.name == "" {
		p.name = ref
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[digest] = p
	return p, nil
}

// describe returns name and needs of a module. A module without a manifest needs what
// it imports.
func describe(b []byte) (plugin, error) {
	m, err := wasm.Read(b, wasm.Limits{})
	if err != nil {
		return plugin{}, err
	}
	sections := m.Custom(abi.ManifestSection)
	if len(sections) == 0 {
		return plugin{needs: imported(m)}, nil
	}
	manifest, err := abi.ParseManifest(sections[len(sections)-1])
	if err != nil {
		return plugin{}, err
	}
	return plugin{name: manifest.Name, needs: manifest.Needs, manifest: manifest}, nil
}

// imported returns the capabilities that a module imports; Extism's own HTTP request
// is the capability http_fetch.
func imported(m *wasm.Module) []string {
	var out []string
	for _, i := range m.Imports {
		switch {
		case i.Module == abi.NamespaceUser:
			out = append(out, i.Name)
		case i.Module == abi.NamespaceEnv && i.Name == "http_request":
			out = append(out, abi.CallHTTPFetch)
		}
	}
	return out
}

// Plugin implements session.Agents.
func (s *shelf) Plugin(ctx context.Context, digest string) (string, []string, error) {
	p, err := s.find(ctx, digest, digest)
	return p.name, p.needs, err
}
