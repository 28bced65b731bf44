package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/runtime"
	"github.com/vespiary/vespiary/host/internal/store"
	"github.com/vespiary/vespiary/host/internal/tool"
	"github.com/vespiary/vespiary/registry"
)

// desk is where plugins of a configuration are looked at without a host. It changes
// nothing in the data folder but the cache of compiled code, and needs no data folder.
type desk struct {
	config  *config.Config
	plugins *shelf
	engines *engines
	catalog *tool.Catalog
	modules *looseModules
}

func newDesk(cfg *config.Config) *desk {
	cache := cacheOf(cfg.Data)
	m := &looseModules{cfg: cfg, put: map[registry.Digest][]byte{}}
	d := &desk{config: cfg, modules: m, plugins: &shelf{registry: m, known: map[string]plugin{}, own: map[string]plugin{}}}
	d.engines = &engines{
		options: runtime.Options{CacheDir: cache, MemoryLimit: memoryOf(cfg), Imports: imports()},
		fetch:   func(ctx context.Context, digest string) ([]byte, error) { return m.Bytes(ctx, registry.Digest(digest)) },
		choice:  func(string) string { return config.EngineNative },
		loaders: map[string]*runtime.Loader{},
	}
	known := descriptions{engine: d.engines.describing, ask: d.engines.describe}
	if cache != "" {
		known.dir = filepath.Join(cache, "tools")
	}
	d.catalog = tool.New(tool.Options{Describe: known.described})
	return d
}

// cacheOf is the cache of compiled code in a data folder; "", for none, where there is no
// folder that this process may write to.
func cacheOf(data string) string {
	if _, err := os.Stat(data); data == "" || err != nil {
		return ""
	}
	dir := filepath.Join(data, "cache")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return ""
	}
	f, err := os.CreateTemp(dir, "*.tmp")
	if err != nil {
		return ""
	}
	_ = f.Close()
	_ = os.Remove(f.Name())
	return dir
}

// tools describes the tools of the configuration. The error has a line for each that cannot
// be found or described: the host would go on without the latter, but a person hears of it.
func (d *desk) tools(ctx context.Context) ([]tool.Declared, error) {
	sources, on, missing := d.plugins.sources(ctx, d.config)
	d.engines.next.Store(&on)
	tools, dumb := d.catalog.Declared(ctx, sources)
	return tools, errors.Join(missing, dumb)
}

// able finds out what an agent of the configuration could ask for.
func (d *desk) able(ctx context.Context, name string) (a able, err error) {
	if _, ok := d.config.Agents[name]; !ok {
		return a, fmt.Errorf("find agent %s: the configuration has none of this name; it has: %s",
			name, strings.Join(slices.Sorted(maps.Keys(d.config.Agents)), ", "))
	}
	if a.tools, err = d.tools(ctx); err != nil {
		return a, err
	}
	for _, other := range slices.Sorted(maps.Keys(d.config.Agents)) {
		agent, err := d.plugins.agent(ctx, d.config, other)
		if err != nil {
			return a, fmt.Errorf("agent %s: %w", other, err)
		}
		if a.agents = append(a.agents, agent); other == name {
			a.agent = agent
		}
	}
	a.models = d.config.Models
	a.needs, err = d.plugins.needs(ctx, a.agent.Module)
	return a, err
}

func (d *desk) close(ctx context.Context) error {
	return errors.Join(d.engines.Close(context.WithoutCancel(ctx)), d.modules.close())
}

// looseModules are modules in memory, and those of a data folder behind them. It is for one
// goroutine; Bytes may be called by several.
type looseModules struct {
	cfg   *config.Config
	put   map[registry.Digest][]byte
	store *store.Local // open once a name was looked up
}

var _ modules = (*looseModules)(nil)

// Put implements modules. It keeps no names.
func (m *looseModules) Put(_ context.Context, _ string, wasm []byte, _ string) (registry.Digest, error) {
	d := registry.Of(wasm)
	m.put[d] = wasm
	return d, nil
}

// Bytes implements modules.
func (m *looseModules) Bytes(ctx context.Context, d registry.Digest) ([]byte, error) {
	if b, ok := m.put[d]; ok {
		return b, nil
	}
	kept, err := m.kept()
	if err != nil {
		return nil, err
	}
	return kept.Bytes(ctx, d)
}

// kept are the modules of the data folder.
func (m *looseModules) kept() (*registry.Registry, error) {
	o := registry.Options{Dir: filepath.Join(m.cfg.Data, "modules"), Tenant: host.DefaultTenant, Now: time.Now} //nolint:forbidigo // nothing is written, so nothing has a time
	if m.store != nil {
		o.Store = m.store
	}
	return registry.New(o)
}

// Resolve implements modules. What names lead to is in the store, which one process has at a
// time.
func (m *looseModules) Resolve(ctx context.Context, ref string) (registry.Digest, error) {
	if !registry.Digest(ref).Valid() && m.store == nil {
		if err := m.open(ctx); err != nil {
			return "", fmt.Errorf("find module %s: %w", ref, err)
		}
	}
	kept, err := m.kept()
	if err != nil {
		return "", err
	}
	return kept.Resolve(ctx, ref)
}

func (m *looseModules) open(ctx context.Context) error {
	o := storeOptions(m.cfg, Options{})
	if _, err := os.Stat(o.Dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: nothing is installed here yet", registry.ErrNotFound)
	}
	var err error
	m.store, err = store.Open(ctx, o)
	if errors.Is(err, store.ErrLocked) {
		return fmt.Errorf("what the name leads to is known to the host that runs alone; stop it, or name the plugin by its file or digest: %w", err)
	}
	return err
}

func (m *looseModules) close() error {
	if m.store == nil {
		return nil
	}
	return m.store.Close()
}
