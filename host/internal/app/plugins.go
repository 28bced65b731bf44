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
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
	"github.com/vespiary/vespiary/host/internal/tool"
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

// modules keeps modules: a registry, or what stands in for one.
type modules interface {
	Put(ctx context.Context, name string, wasm []byte, by string) (registry.Digest, error)
	Resolve(ctx context.Context, ref string) (registry.Digest, error)
	Bytes(ctx context.Context, d registry.Digest) ([]byte, error)
}

// shelf finds plugins and remembers what their manifests say.
type shelf struct {
	registry modules

	mu    sync.Mutex
	known map[string]plugin // by digest
	own   map[string]plugin // of this binary that are kept, by module
}

// resolve finds the plugin that ref names and makes sure that its module is kept.
func (s *shelf) resolve(ctx context.Context, ref string) (plugin, error) {
	if name, isBuiltin := strings.CutPrefix(ref, "builtin:"); isBuiltin {
		return s.builtin(ctx, name)
	}
	if !config.IsPath(ref) {
		return s.registered(ctx, ref)
	}
	b, err := os.ReadFile(ref)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w; build it with vespiary build", err)
	}
	if err != nil {
		return plugin{}, err
	}
	return s.keep(ctx, b, ref)
}

// keep makes sure that a module is kept, and learns about it.
func (s *shelf) keep(ctx context.Context, b []byte, ref string) (plugin, error) {
	digest, err := s.registry.Put(ctx, "", b, "config")
	if err != nil {
		return plugin{}, err
	}
	return s.learn(string(digest), b, ref)
}

// builtin finds a plugin of this binary. A configuration may name one for each of many tools,
// and the bytes do not change.
func (s *shelf) builtin(ctx context.Context, name string) (plugin, error) {
	alias, ok := builtins[name]
	if !ok {
		return plugin{}, fmt.Errorf("there is no built-in plugin %q; there are: %s", name, strings.Join(slices.Sorted(maps.Keys(builtins)), ", "))
	}
	s.mu.Lock()
	p, ok := s.own[alias.module]
	s.mu.Unlock()
	if !ok {
		b, err := plugins.Read(alias.module)
		if err != nil {
			return plugin{}, err
		}
		if p, err = s.keep(ctx, b, "builtin:"+name); err != nil {
			return plugin{}, err
		}
		s.mu.Lock()
		s.own[alias.module] = p
		s.mu.Unlock()
	}
	p.prefix = alias.prefix
	return p, nil
}

// sources finds the tools of a configuration, and which of them run on another engine than
// the native one, by digest. The error has a line for each tool that cannot be found.
func (s *shelf) sources(ctx context.Context, cfg *config.Config) ([]tool.Source, map[string]string, error) {
	var found []tool.Source
	var errs []error
	engines := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(cfg.Tools)) {
		source, err := s.source(ctx, name, cfg.Tools[name])
		if err != nil {
			errs = append(errs, fmt.Errorf("tool %s: %w", name, err))
			continue
		}
		found = append(found, source)
		if cfg.Tools[name].Engine == config.EngineExtism {
			engines[source.Module] = config.EngineExtism
		}
	}
	return found, engines, errors.Join(errs...)
}

func (s *shelf) source(ctx context.Context, name string, t config.Tool) (tool.Source, error) {
	if t.MCP != "" {
		return tool.Source{}, errors.New("this version of the host calls no MCP servers; give a plugin")
	}
	p, err := s.resolve(ctx, t.Plugin)
	if err != nil {
		return tool.Source{}, err
	}
	if p.manifest != nil && p.manifest.Kind != abi.PluginTool {
		return tool.Source{}, fmt.Errorf("%s is of the kind %s, not a tool", t.Plugin, p.manifest.Kind)
	}
	return tool.Source{Name: name, Plugin: p.name, Module: p.digest, Needs: p.needs, Prefix: p.prefix}, nil
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

// needs are the capabilities that the module of an agent may ask for. A program elsewhere
// may ask for all that there are.
func (s *shelf) needs(ctx context.Context, digest string) ([]string, error) {
	if digest == host.ModuleExternal {
		return imports(), nil
	}
	_, needs, err := s.Plugin(ctx, digest)
	return needs, err
}

// Plugin implements session.Agents.
func (s *shelf) Plugin(ctx context.Context, digest string) (string, []string, error) {
	p, err := s.find(ctx, digest, digest)
	return p.name, p.needs, err
}
