package runtime

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	extism "github.com/extism/go-sdk"
	"github.com/tetratelabs/wazero"

	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
)

var (
	_ Engine   = (*extismEngine)(nil)
	_ Module   = (*extismModule)(nil)
	_ Instance = (*extismInstance)(nil)
)

// extismEngine runs guests on Extism's own SDK. Its HTTP client and its log,
// which know no host, are out of reach: prepare moved the imports that lead to
// them. It has no list of allowed hosts and no time limit of its own either.
type extismEngine struct {
	preparer
	mu     sync.Mutex
	open   map[*extismModule]struct{}
	closed bool
}

// NewExtism returns the engine on Extism's SDK. It offers no bulk copies, and its
// memory stays on the Go heap.
func NewExtism(o Options) (Engine, error) {
	p, err := newPreparer(o, false)
	if err != nil {
		return nil, err
	}
	return &extismEngine{preparer: p, open: map[*extismModule]struct{}{}}, nil
}

// Memory implements Engine: the SDK does not tell.
func (*extismEngine) Memory() int64 { return 0 }

// Load implements Engine.
func (e *extismEngine) Load(ctx context.Context, module []byte) (Module, error) {
	p, err := e.prepare(module)
	if err != nil {
		return nil, err
	}
	m := &extismModule{engine: e, info: p.info, refs: 1}
	if err := m.compile(ctx, p.code); err != nil {
		m.free(ctx)
		return nil, fmt.Errorf("load %s: %w", p.info.Digest, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		m.free(ctx)
		return nil, errEngineClosed
	}
	e.open[m] = struct{}{}
	return m, nil
}

// Close implements Engine.
func (e *extismEngine) Close(ctx context.Context) error {
	e.mu.Lock()
	e.closed = true
	open := slices.Collect(maps.Keys(e.open))
	e.mu.Unlock()
	for _, m := range open {
		_ = m.Close(ctx) // never fails
	}
	return nil
}

// extismModule is a compiled plugin with a runtime of its own.
type extismModule struct {
	engine *extismEngine
	info   Info
	plugin *extism.CompiledPlugin
	cache  wazero.CompilationCache
	once   sync.Once
	refs   int // itself and its instances; guarded by extismEngine.mu
}

// compile takes the turn that native compilations take too. Here the context
// ends a guest by wazero's own means, which make its loops many times slower.
func (m *extismModule) compile(ctx context.Context, code []byte) error {
	select {
	case compiling <- struct{}{}:
		defer func() { <-compiling }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	config, cache, err := runtimeConfig(m.engine.opts, m.engine.opts.CacheDir)
	if err != nil {
		return err
	}
	m.cache = cache
	m.plugin, err = extism.NewCompiledPlugin(ctx,
		extism.Manifest{Wasm: []extism.Wasm{extism.WasmData{Data: code}}},
		extism.PluginConfig{RuntimeConfig: config.WithCloseOnContextDone(true), EnableWasi: true},
		hostFunctions(m.engine.opts.Imports))
	if err != nil {
		return refuse("%w", err)
	}
	return nil
}

// hostFunctions offers the services to Extism's plugins.
func hostFunctions(capabilities []string) []extism.HostFunction {
	var all []extism.HostFunction
	for _, s := range services(capabilities) {
		run := func(ctx context.Context, p *extism.CurrentPlugin, stack []uint64) {
			i, ok := ctx.Value(instanceKey{}).(*extismInstance)
			if !ok {
				panic(errEnded)
			}
			if err := s.run(ctx, &i.world, extismMemory{p}, stack); err != nil {
				i.abort(err)
			}
		}
		f := extism.NewHostFunctionWithStack(s.name, run, extismTypes(s.typ.Params), extismTypes(s.typ.Results))
		f.SetNamespace(s.namespace)
		all = append(all, f)
	}
	return all
}

func extismTypes(ts []wasm.ValueType) []extism.ValueType {
	out := make([]extism.ValueType, len(ts))
	for i, t := range ts {
		out[i] = extism.ValueType(t)
	}
	return out
}

// extismMemory is block memory that Extism's kernel keeps.
type extismMemory struct{ p *extism.CurrentPlugin }

func (m extismMemory) read(off uint64) ([]byte, error) {
	if off == 0 {
		return nil, nil
	}
	n, err := m.p.Length(off)
	if err == nil && n == 0 {
		err = &rangeError{call: "use of a block", off: off}
	}
	if err != nil {
		return nil, err
	}
	return m.p.ReadBytes(off)
}

func (m extismMemory) write(b []byte) (uint64, error) {
	if len(b) == 0 {
		return 0, nil
	}
	off, err := m.p.WriteBytes(b)
	if err == nil && off == 0 {
		err = fmt.Errorf("%d bytes for the plugin do not fit its memory; raise the memory limit", len(b))
	}
	return off, err
}

// release ignores failures: all blocks are freed before the next call.
func (m extismMemory) release(off uint64) { _ = m.p.Free(off) }

// Info implements Module.
func (m *extismModule) Info() Info { return m.info }

// Close implements Module.
func (m *extismModule) Close(ctx context.Context) error {
	m.once.Do(func() {
		m.engine.mu.Lock()
		delete(m.engine.open, m)
		m.engine.mu.Unlock()
		m.release(ctx)
	})
	return nil
}

func (m *extismModule) release(ctx context.Context) {
	m.engine.mu.Lock()
	m.refs--
	last := m.refs == 0
	m.engine.mu.Unlock()
	if last {
		m.free(ctx)
	}
}

func (m *extismModule) free(ctx context.Context) {
	if m.plugin != nil {
		_ = m.plugin.Close(ctx)
	}
	if m.cache != nil {
		_ = m.cache.Close(ctx)
	}
}

func (m *extismModule) use() error {
	m.engine.mu.Lock()
	defer m.engine.mu.Unlock()
	if _, ok := m.engine.open[m]; !ok {
		return fmt.Errorf("instantiate %s: the module is closed; load it again", m.info.Digest)
	}
	m.refs++
	return nil
}

// Instantiate implements Module. The SDK runs the initialiser in the first call.
func (m *extismModule) Instantiate(ctx context.Context, c Config) (Instance, error) {
	if err := c.check(m.info); err != nil {
		return nil, err
	}
	if c.State != nil {
		return nil, fmt.Errorf("instantiate: %w", noImage(extismNoImage))
	}
	if err := m.use(); err != nil {
		return nil, err
	}
	i := &extismInstance{module: m, world: c.world(m.engine.opts.Log), ctx: ctx}
	i.free = func() { i.release(context.WithoutCancel(ctx)) }
	config := c.moduleConfig(func() context.Context { return i.ctx }, i.abort, func(uint64) {}) //nolint:contextcheck // sleep has the call's
	p, err := m.plugin.Instance(withInstance(ctx, i), extism.PluginInstanceConfig{ModuleConfig: config})
	if err != nil {
		i.close()
		return nil, trapped(ctx, "start", i.cause, err)
	}
	i.plugin = p
	p.Config = c.Vars
	return i, nil
}

// extismInstance is one guest of the Extism engine.
type extismInstance struct {
	life
	module *extismModule
	plugin *extism.Plugin
	world  world
	ctx    context.Context //nolint:containedctx // of the call under way, for the guest's sleep
	cause  error           // with which a service ended the guest
}

// Call implements Instance.
func (i *extismInstance) Call(ctx context.Context, export string, input []byte) ([]byte, error) {
	if err := i.begin(ctx); err != nil {
		return nil, err
	}
	reason := ""
	defer func() { i.end(reason) }()
	if err := i.module.info.checkExport(export); err != nil {
		return nil, err
	}
	if uint64(len(input))+2*wasm.PageSize > i.module.engine.opts.MemoryLimit {
		// The SDK would write it over the kernel's own data.
		return nil, fmt.Errorf("plugin function %s: %d bytes of input do not fit its memory; raise the memory limit", export, len(input))
	}
	i.ctx, i.cause = ctx, nil
	code, output, err := i.plugin.CallWithContext(withInstance(ctx, i), export, input)
	if err != nil && err.Error() == errSDKClosed {
		reason = "it exited, or its time was over when its last call returned"
		return nil, fmt.Errorf("%w: %s; make a new one", ErrUnusable, reason)
	}
	// The SDK returns a trap and the guest's own error in the same way. They are
	// told apart by what the guest set, which lies about itself at most.
	message := i.plugin.GetErrorWithContext(context.WithoutCancel(ctx))
	if err != nil && (message == "" || err.Error() != message) {
		t := trapped(ctx, export, i.cause, err)
		reason = t.Reason
		return nil, t
	}
	if code != 0 || message != "" {
		return nil, &GuestError{Export: export, Code: code, Message: message}
	}
	return output, nil
}

func (i *extismInstance) abort(cause error) {
	i.cause = cause
	panic(errEnded)
}

// errSDKClosed is what the SDK says of a guest that ended itself with code 0,
// which it reports as success.
const errSDKClosed = "module is closed"

// extismNoImage says why instances of this engine have no image.
var extismNoImage = []string{"the engine of Extism's SDK keeps the memory to itself; run the plugin on the native engine"}

// State implements Instance.
func (*extismInstance) State(context.Context) (*State, error) { return nil, noImage(extismNoImage) }

// Fuel implements Instance: this engine does not count it.
func (*extismInstance) Fuel() int64 { return 0 }

// Close implements Instance.
func (i *extismInstance) Close(context.Context) error {
	i.close()
	return nil
}

func (i *extismInstance) release(ctx context.Context) {
	if i.plugin != nil {
		_ = i.plugin.Close(ctx)
	}
	i.module.release(ctx)
}
