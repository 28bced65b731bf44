package runtime

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	goruntime "runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/runtime/prepare"
	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
)

var (
	_ Engine   = (*native)(nil)
	_ Module   = (*nativeModule)(nil)
	_ Instance = (*nativeInstance)(nil)
)

// compiling admits one compilation at a time in the process: wazero may panic
// when two goroutines compile the same module through a shared file cache, and
// a compilation uses every core by itself.
var compiling = make(chan struct{}, 1)

// native is the engine that implements Extism's ABI in Go on wazero.
type native struct {
	preparer
	memory atomic.Int64 // see Memory
	mu     sync.Mutex
	codes  map[[sha256.Size]byte]*code
	open   map[*nativeModule]struct{}
	closed bool
}

// NewNative returns the production engine.
func NewNative(o Options) (Engine, error) {
	p, err := newPreparer(o, true)
	if err != nil {
		return nil, err
	}
	return &native{
		preparer: p,
		codes:    map[[sha256.Size]byte]*code{},
		open:     map[*nativeModule]struct{}{},
	}, nil
}

// Memory implements Engine.
func (e *native) Memory() int64 { return e.memory.Load() }

var errEngineClosed = errors.New("load: the engine is closed")

// Load implements Engine.
func (e *native) Load(ctx context.Context, module []byte) (Module, error) {
	p, err := e.metered(module)
	if err != nil {
		return nil, err
	}
	c, err := e.compiled(ctx, p)
	// Whoever came first compiled under its own context. That it gave up says
	// nothing about the module, so that the next one tries again.
	for isContext(err) && ctx.Err() == nil {
		c, err = e.compiled(ctx, p)
	}
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", p.info.Digest, err)
	}
	m := &nativeModule{engine: e, info: p.info, code: c}
	if !e.enter(m) {
		e.release(ctx, c)
		return nil, errEngineClosed
	}
	return m, nil
}

// compiled returns the code of p with one use taken.
func (e *native) compiled(ctx context.Context, p *metered) (*code, error) {
	c, first, err := e.code(p)
	if err != nil {
		return nil, err
	}
	if first {
		c.compile(ctx, p.Code, e.opts)
	}
	if err := c.wait(ctx); err != nil {
		e.release(ctx, c)
		return nil, err
	}
	return c, nil
}

// enter lists an open module, unless the engine was closed meanwhile.
func (e *native) enter(m *nativeModule) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed {
		e.open[m] = struct{}{}
	}
	return !e.closed
}

// code returns the code of p, and whether the caller must compile it.
func (e *native) code(p *metered) (c *code, first bool, err error) {
	digest := p.digest()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, false, errEngineClosed
	}
	c = e.codes[digest]
	if c == nil {
		c = &code{digest: digest, data: p.Data, start: p.Start, globals: p.Globals, blocked: p.Blocked, cost: p.cost, ready: make(chan struct{})}
		e.codes[digest] = c
		first = true
	}
	c.refs++
	return c, first, nil
}

// retain takes one more use of code that is in use.
func (e *native) retain(c *code) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.refs++
}

// release gives up one use of the code and frees it with the last one.
func (e *native) release(ctx context.Context, c *code) {
	e.mu.Lock()
	c.refs--
	last := c.refs == 0
	if last || c.failed() {
		if e.codes[c.digest] == c {
			delete(e.codes, c.digest)
		}
	}
	e.mu.Unlock()
	if last {
		c.bases.free()
		c.data = nil // whoever keeps a closed module does not keep its bytes
		c.free(ctx)
	}
}

// Close implements Engine.
func (e *native) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	open := slices.Collect(maps.Keys(e.open))
	e.mu.Unlock()
	for _, m := range open {
		_ = m.Close(ctx) // never fails
	}
	return nil
}

// code is compiled code, shared by all modules that differ in nothing else. It
// has a wazero runtime of its own, because closing one of two compiled modules
// of the same bytes in one runtime breaks the other.
type code struct {
	digest  [sha256.Size]byte
	refs    int // modules and instances; guarded by native.mu
	data    []prepare.Segment
	start   bool
	globals []string // exports of the mutable globals
	blocked []string // why there can be no image
	cost    int64    // bytes of an instance beside its linear memory
	bases   bases

	ready    chan struct{} // closed once the fields below are set
	err      error
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	cache    wazero.CompilationCache
}

// wait returns once the code is compiled, or failed to, or ctx is done.
func (c *code) wait(ctx context.Context) error {
	select {
	case <-c.ready:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// failed reports whether compiling is over and was in vain.
func (c *code) failed() bool {
	select {
	case <-c.ready:
		return c.err != nil
	default:
		return false
	}
}

// compile sets what ready announces. It runs once.
func (c *code) compile(ctx context.Context, module []byte, o Options) {
	defer close(c.ready)
	select {
	case compiling <- struct{}{}:
		defer func() { <-compiling }()
	case <-ctx.Done():
		c.err = context.Cause(ctx)
		return
	}
	if c.err = c.compileCached(ctx, module, o, o.CacheDir); c.err == nil || o.CacheDir == "" {
		return
	}
	// A full disk or a damaged file must not keep a plugin from running.
	cached := c.err
	c.free(ctx)
	if c.err = c.compileCached(ctx, module, o, ""); c.err == nil {
		o.Log.WarnContext(ctx, "compiled a module without the cache; free its disk or empty it", "dir", o.CacheDir, "error", cached)
	}
}

// compileCached compiles with a cache in dir, or without one if that is empty.
// Host functions come first: they belong to the runtime that the module is
// compiled in, and cost a millisecond.
func (c *code) compileCached(ctx context.Context, module []byte, o Options, dir string) (err error) {
	config, cache, err := runtimeConfig(o, dir)
	if err != nil {
		return err
	}
	c.cache = cache
	c.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	if err := hostModules(ctx, c.runtime, o.Imports); err != nil {
		return err
	}
	// With more than one worker wazero heeds ctx between functions.
	c.compiled, err = c.runtime.CompileModule(experimental.WithCompilationWorkers(ctx, max(2, goruntime.GOMAXPROCS(0))), module)
	if err != nil {
		return refuse("%w", err)
	}
	return nil
}

// runtimeConfig is the configuration of wazero that both engines use. Custom
// sections, and the debug information in them, are gone when it compiles. The
// cache has an engine of its own in wazero, which closing the cache frees.
func runtimeConfig(o Options, dir string) (wazero.RuntimeConfig, wazero.CompilationCache, error) {
	config := wazero.NewRuntimeConfig().
		WithMemoryLimitPages(o.pages()).
		WithDebugInfoEnabled(false)
	if dir == "" {
		return config, nil, nil
	}
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("cache directory: %w", err)
	}
	return config.WithCompilationCache(cache), cache, nil
}

// free returns what the code takes. Its failures only concern memory that
// wazero's finalizers return later.
func (c *code) free(ctx context.Context) {
	if c.runtime != nil {
		_ = c.runtime.Close(ctx)
		c.runtime = nil
	}
	if c.compiled != nil {
		_ = c.compiled.Close(ctx)
		c.compiled = nil
	}
	if c.cache != nil {
		_ = c.cache.Close(ctx)
		c.cache = nil
	}
}

// hostModules installs what guests can import.
func hostModules(ctx context.Context, r wazero.Runtime, capabilities []string) error {
	wasi := r.NewHostModuleBuilder(namespaceWASI)
	wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(wasi)
	builders := map[string]wazero.HostModuleBuilder{namespaceWASI: wasi}
	define := func(namespace, name string, t wasm.FuncType, f api.GoModuleFunc) {
		if builders[namespace] == nil {
			builders[namespace] = r.NewHostModuleBuilder(namespace)
		}
		builders[namespace].NewFunctionBuilder().
			WithGoModuleFunction(f, valueTypes(t.Params), valueTypes(t.Results)).Export(name)
	}
	for name, f := range kernel {
		define(abi.NamespaceEnv, name, envTypes[name], guarded(f))
	}
	for name, f := range bulk {
		define(abi.NamespaceMem, name, bulkTypes[name], guarded(f))
	}
	for name, f := range stateless {
		define(namespaceWASI, name, statelessTypes[name], f)
	}
	define(prepare.MeterModule, prepare.MeterYield, typeNone, guarded(yield))
	for _, s := range services(capabilities) {
		define(s.namespace, s.name, s.typ, guarded(func(ctx context.Context, i *nativeInstance, _ api.Module, stack []uint64) error {
			return s.run(ctx, &i.world, &i.arena, stack)
		}))
	}
	for namespace, b := range builders {
		ctx := ctx
		if namespace == namespaceWASI {
			ctx = experimental.WithFunctionListenerFactory(ctx, toll{})
		}
		if _, err := b.Instantiate(ctx); err != nil {
			return err
		}
	}
	return nil
}

func valueTypes(ts []wasm.ValueType) []api.ValueType {
	out := make([]api.ValueType, len(ts))
	for i, t := range ts {
		out[i] = api.ValueType(t)
	}
	return out
}
