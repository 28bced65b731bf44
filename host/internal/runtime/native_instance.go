package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"
)

// nativeInstance is one guest of the native engine.
type nativeInstance struct {
	life
	module *nativeModule
	guest  api.Module
	memory experimental.LinearMemory // nil if the module has none
	funcs  map[string]api.Function

	arena arena
	world world
	vars  vars
	env   map[string]string // Config.Vars

	ctx   context.Context //nolint:containedctx // of the call under way, for the guest's sleep
	cause error           // with which a host function ended the guest
}

// maxVars bounds Extism's variables of an instance, in bytes of names and values.
const maxVars = 1 << 20

// Instantiate implements Module.
func (m *nativeModule) Instantiate(ctx context.Context, c Config) (Instance, error) {
	if err := c.check(m.info); err != nil {
		return nil, err
	}
	if err := m.use(); err != nil {
		return nil, err
	}
	i := &nativeInstance{
		module: m,
		funcs:  map[string]api.Function{},
		arena:  arena{limit: m.engine.opts.MemoryLimit},
		world:  c.world(m.engine.opts.Log),
		vars:   vars{limit: maxVars},
		env:    c.Vars,
		ctx:    ctx,
	}
	i.free = func() { i.release(context.WithoutCancel(ctx)) }
	if err := i.start(ctx, c); err != nil {
		i.close()
		return nil, err
	}
	return i, nil
}

// start makes the guest, which runs its start function, and initialises it.
func (i *nativeInstance) start(ctx context.Context, c Config) error {
	allocator := experimental.MemoryAllocatorFunc(func(size, limit uint64) experimental.LinearMemory {
		i.memory = &counted{LinearMemory: newMemory(size, limit), sum: &i.module.engine.memory}
		return i.memory
	})
	cctx := withInstance(experimental.WithMemoryAllocator(ctx, allocator), i)
	var err error
	config := c.moduleConfig(func() context.Context { return i.ctx }, i.abort) //nolint:contextcheck // sleep has the call's
	i.guest, err = i.module.code.runtime.InstantiateModule(cctx, i.module.code.compiled, config)
	if err != nil {
		return trapped(ctx, "start", i.cause, err)
	}
	return i.initialise(cctx)
}

// initialise runs what a module's toolchain wants run before its exports.
func (i *nativeInstance) initialise(ctx context.Context) error {
	for _, step := range initialisers(i.module.info) {
		_, err := i.guest.ExportedFunction(step.name).Call(ctx, step.args...)
		if exitedWell(err) {
			return &TrapError{Export: step.name, Reason: "it exited while it was initialised; build it as a reactor (library), not as a command"}
		}
		if err != nil {
			return trapped(ctx, step.name, i.cause, err)
		}
	}
	return nil
}

// Call implements Instance.
func (i *nativeInstance) Call(ctx context.Context, export string, input []byte) ([]byte, error) {
	if err := i.begin(ctx); err != nil {
		return nil, err
	}
	reason := ""
	defer func() { i.end(reason) }()
	if i.guest.IsClosed() {
		reason = "its time was over when its last call returned"
		return nil, fmt.Errorf("%w: %s; make a new one", ErrUnusable, reason)
	}
	f, err := i.function(export)
	if err != nil {
		return nil, err
	}
	i.ctx, i.cause = ctx, nil
	if err := i.arena.setInput(input); err != nil {
		return nil, err
	}
	var stack [1]uint64
	err = f.CallWithStack(withInstance(ctx, i), stack[:])
	if i.cause == nil && exitedWell(err) {
		reason, stack[0], err = "it exited", 0, nil
	}
	if err != nil {
		t := trapped(ctx, export, i.cause, err)
		reason = t.Reason
		return nil, t
	}
	return i.result(export, api.DecodeU32(stack[0]))
}

// exitedWell reports whether a guest ended itself with code 0, which Extism
// takes for success.
func exitedWell(err error) bool {
	var exit *sys.ExitError
	return errors.As(err, &exit) && exit.ExitCode() == 0
}

// function finds an export once and keeps it, because wazero makes a call stack
// for each function it hands out.
func (i *nativeInstance) function(export string) (api.Function, error) {
	if f := i.funcs[export]; f != nil {
		return f, nil
	}
	if err := i.module.info.checkExport(export); err != nil {
		return nil, err
	}
	f := i.guest.ExportedFunction(export)
	i.funcs[export] = f
	return f, nil
}

// result reads what the guest left behind.
func (i *nativeInstance) result(export string, code uint32) ([]byte, error) {
	message, err := i.arena.read(i.arena.failed)
	if err != nil {
		return nil, fmt.Errorf("plugin function %s: error message: %w", export, err)
	}
	if code != 0 || len(message) > 0 {
		return nil, &GuestError{Export: export, Code: code, Message: string(message)}
	}
	return bytes.Clone(i.arena.out()), nil
}

// Close implements Instance.
func (i *nativeInstance) Close(context.Context) error {
	i.close()
	return nil
}

// release frees the guest; wazero does not when instantiating fails halfway.
func (i *nativeInstance) release(ctx context.Context) {
	if i.guest != nil {
		_ = i.guest.Close(ctx)
	}
	if i.memory != nil {
		i.memory.Free()
	}
	i.arena, i.guest, i.funcs = arena{}, nil, nil
	i.module.engine.release(ctx, i.module.code)
}

// initialiser is an export to call once, with zeros for what it takes.
type initialiser struct {
	name string
	args []uint64
}

// initialisers lists what to call before the first export: a reactor's
// _initialize, or the constructors of a command; then Haskell's hs_init.
func initialisers(info Info) []initialiser {
	var steps []initialiser
	for _, name := range []string{"_initialize", "__wasm_call_ctors"} {
		if t, ok := info.function(name); ok && len(t.Params) == 0 {
			steps = append(steps, initialiser{name: name})
			break
		}
	}
	if t, ok := info.function("hs_init"); ok && len(t.Params) == 2 {
		steps = append(steps, initialiser{"hs_init", []uint64{0, 0}})
	}
	return steps
}
