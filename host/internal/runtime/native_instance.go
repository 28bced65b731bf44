package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"github.com/vespiary/vespiary/host/internal/runtime/image"
	"github.com/vespiary/vespiary/host/internal/runtime/prepare"
	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
)

// nativeInstance is one guest of the native engine.
type nativeInstance struct {
	life
	module *nativeModule
	guest  api.Module
	memory *counted // nil if the module has none
	funcs  map[string]api.Function
	meter  meter

	made    *making  // the share of the base image; nil if the module can have none
	base    *base    // nil without an image
	noImage []string // why

	arena arena
	world world
	vars  vars
	env   map[string]string // Config.Vars
	asked bool              // for env

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
	i := m.newInstance(ctx, c)
	if err := i.boot(ctx, c); err != nil {
		i.close()
		return nil, err
	}
	return i, nil
}

// newInstance returns an instance without a guest. It owns one use of the code.
func (m *nativeModule) newInstance(ctx context.Context, c Config) *nativeInstance {
	i := &nativeInstance{
		module: m,
		funcs:  map[string]api.Function{},
		meter:  meter{account: c.Fuel},
		arena:  arena{limit: m.engine.opts.MemoryLimit},
		world:  c.world(m.engine.opts.Log),
		vars:   vars{limit: maxVars},
		env:    c.Vars,
		ctx:    ctx,
	}
	i.free = func() { i.release(context.WithoutCancel(ctx)) }
	m.engine.memory.Add(m.code.cost)
	return i
}

// boot makes the guest: from the base image, or by itself if there is none.
func (i *nativeInstance) boot(ctx context.Context, c Config) error {
	if i.noImage = i.module.code.blocked; len(i.noImage) == 0 {
		made, err := i.module.base(ctx, c.Vars)
		if err != nil {
			return fmt.Errorf("instantiate: %w", err)
		}
		i.made, i.base, i.noImage = made, made.base, made.reasons
	}
	switch {
	case i.base != nil:
		return i.clone(ctx, c)
	case c.State != nil:
		return fmt.Errorf("restore: %w", noImage(i.noImage))
	}
	return i.start(ctx, c)
}

// clone makes the guest from the base image, or from a state that it led to.
func (i *nativeInstance) clone(ctx context.Context, c Config) error {
	limit := i.limit(c)
	s := c.State
	if s == nil {
		s = &State{Base: i.base.digest, Size: i.base.image.Size(), Globals: i.base.globals, Vars: i.base.vars}
	}
	if err := s.check(i.base, limit); err != nil {
		return err
	}
	if err := i.instantiate(ctx, c); err != nil {
		return err
	}
	if err := i.restore(s); err != nil || c.State != nil {
		return err
	}
	return i.begun(ctx, c)
}

// begun makes a clone of the base one of its own: it says what it would have said
// while it was initialised, and gets randomness that no other clone has.
func (i *nativeInstance) begun(ctx context.Context, c Config) error {
	for _, l := range i.base.lines {
		if c.Log != nil {
			c.Log(l.level, l.message)
		}
	}
	if !i.module.info.Reseeds {
		return nil
	}
	seed := make([]byte, seedSize)
	if _, err := io.ReadFull(c.Random, seed); err != nil {
		return fmt.Errorf("instantiate: read from Config.Random: %w", err)
	}
	if _, err := i.Call(ctx, reseedExport, seed); err != nil {
		return fmt.Errorf("instantiate: %w", err)
	}
	return nil
}

// seedSize is how much randomness vespiary_reseed gets, in bytes.
const seedSize = 32

// limit is the most linear memory that the instance may have, in bytes.
func (i *nativeInstance) limit(c Config) uint64 {
	limit := uint64(i.module.engine.opts.pages()) * wasm.PageSize
	if c.Memory > 0 {
		limit = min(limit, c.Memory)
	}
	return limit
}

// instantiate makes a guest that has not been initialised. If the module can have
// no image, wazero writes its data and runs its start function.
func (i *nativeInstance) instantiate(ctx context.Context, c Config) error {
	limit := i.limit(c)
	if needs := uint64(i.module.info.Memory.Min) * wasm.PageSize; needs > limit {
		return fmt.Errorf("instantiate: the plugin starts with %d bytes of memory and the limit is %d; raise the memory limit", needs, limit)
	}
	allocator := experimental.MemoryAllocatorFunc(func(_, most uint64) experimental.LinearMemory {
		i.memory = &counted{Memory: image.NewMemory(min(most, limit)), sum: &i.module.engine.memory}
		return i.memory
	})
	config := c.moduleConfig(func() context.Context { return i.ctx }, i.abort, i.pay) //nolint:contextcheck // sleep has the call's
	cctx := withInstance(experimental.WithMemoryAllocator(ctx, allocator), i)
	var err error
	i.guest, err = i.module.code.runtime.InstantiateModule(cctx, i.module.code.compiled, config)
	if err != nil {
		i.meter.end()
		return trapped(ctx, startExport, i.cause, err)
	}
	i.meter.attach(i.guest)
	i.meter.end()
	return nil
}

// startExport stands for the start function in errors.
const startExport = "start"

// start makes a guest without an image and initialises it.
func (i *nativeInstance) start(ctx context.Context, c Config) error {
	if err := i.instantiate(ctx, c); err != nil {
		return err
	}
	for _, s := range i.module.code.data {
		if uint64(s.Offset)+uint64(len(s.Data)) > uint64(len(i.bytes())) {
			return trapped(ctx, startExport, nil, errOutOfBounds)
		}
		copy(i.bytes()[s.Offset:], s.Data)
	}
	if i.module.code.start {
		if err := i.run(ctx, prepare.ExportStart); err != nil {
			return trapped(ctx, startExport, i.cause, err)
		}
	}
	return i.initialise(ctx)
}

// errOutOfBounds is what wazero says of a data segment, or an access, outside of
// memory.
var errOutOfBounds = errors.New("out of bounds memory access")

// initialise runs what a module's toolchain wants run before its exports.
func (i *nativeInstance) initialise(ctx context.Context) error {
	for _, step := range initialisers(i.module.info) {
		err := i.run(ctx, step.name, step.args...)
		if i.cause == nil && exitedWell(err) {
			return &TrapError{Export: step.name, Reason: "it exited while it was initialised; build it as a reactor (library), not as a command"}
		}
		if err != nil {
			return trapped(ctx, step.name, i.cause, err)
		}
	}
	return nil
}

// run calls an export that is not for everyone.
func (i *nativeInstance) run(ctx context.Context, export string, args ...uint64) error {
	return i.metered(ctx, func(ctx context.Context) error {
		_, err := i.guest.ExportedFunction(export).Call(ctx, args...)
		return err
	})
}

// metered runs the guest and books its fuel.
func (i *nativeInstance) metered(ctx context.Context, call func(context.Context) error) error {
	i.ctx, i.cause = ctx, nil
	if i.cause = i.meter.begin(); i.cause != nil {
		return i.cause
	}
	defer i.meter.end()
	return call(withInstance(ctx, i))
}

// Call implements Instance.
func (i *nativeInstance) Call(ctx context.Context, export string, input []byte) ([]byte, error) {
	if err := i.begin(ctx); err != nil {
		return nil, err
	}
	reason := ""
	defer func() { i.end(reason) }()
	f, err := i.function(export)
	if err != nil {
		return nil, err
	}
	i.world.forget()
	if err := i.arena.setInput(input); err != nil {
		return nil, err
	}
	var stack [1]uint64
	err = i.metered(ctx, func(ctx context.Context) error { return f.CallWithStack(ctx, stack[:]) })
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

// Fuel implements Instance.
func (i *nativeInstance) Fuel() int64 { return i.meter.booked.Load() }

// Close implements Instance.
func (i *nativeInstance) Close(context.Context) error {
	i.close()
	return nil
}

// release frees the guest; wazero does not when instantiating fails halfway.
func (i *nativeInstance) release(ctx context.Context) {
	if i.base != nil && i.memory != nil && i.meter.booked.Load() > 0 {
		i.base.observe(i.memory.Memory)
	}
	if i.guest != nil {
		_ = i.guest.Close(ctx)
	}
	if i.memory != nil {
		i.memory.Free()
	}
	if i.made != nil {
		i.module.code.bases.leave(i.made)
	}
	i.arena, i.guest, i.funcs, i.meter.tank = arena{}, nil, nil, nil
	i.module.engine.memory.Add(-i.module.code.cost)
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
