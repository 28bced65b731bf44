package runtime

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero/api"
)

// hostFunc is a host function of the native engine. Its arguments are in stack,
// where it leaves its result. An error ends the guest.
type hostFunc func(ctx context.Context, i *nativeInstance, guest api.Module, stack []uint64) error

// errEnded carries control out of a guest whose instance knows the cause.
var errEnded = errors.New("ended by a host function")

// guarded finds the instance and turns an error into the end of the guest. The
// panic is wazero's way to unwind a guest; it never leaves wazero.
func guarded(f hostFunc) api.GoModuleFunc {
	return func(ctx context.Context, guest api.Module, stack []uint64) {
		i, ok := ctx.Value(instanceKey{}).(*nativeInstance)
		if !ok {
			panic(errEnded)
		}
		if err := f(ctx, i, guest, stack); err != nil {
			i.abort(err)
		}
		i.pay(i.arena.bill())
	}
}

// abort ends the guest from within a host function.
func (i *nativeInstance) abort(cause error) {
	i.cause = cause
	panic(errEnded)
}

// kernel is Extism's extism:host/env, whose own implementation is a Wasm module
// of that name. An offset outside of the blocks ends the guest here, where
// Extism reads 0 or ignores a write in some functions and traps in others.
var kernel = map[string]hostFunc{
	"alloc":          pure(func(a *arena, s []uint64) error { s[0] = a.zeroed(s[0]); return nil }),
	"free":           pure(func(a *arena, s []uint64) error { a.release(s[0]); return nil }),
	"length":         pure(func(a *arena, s []uint64) error { s[0] = a.length(s[0]); return nil }),
	"length_unsafe":  pure(func(a *arena, s []uint64) error { s[0] = a.length(s[0]); return nil }),
	"load_u8":        pure(loadU8),
	"load_u64":       pure(loadU64),
	"store_u8":       pure(storeU8),
	"store_u64":      pure(storeU64),
	"input_set":      pure(inputSet),
	"input_length":   pure(func(a *arena, s []uint64) error { s[0] = a.input.len; return nil }),
	"input_offset":   pure(func(a *arena, s []uint64) error { s[0] = a.input.off; return nil }),
	"input_load_u8":  pure(inputLoadU8),
	"input_load_u64": pure(inputLoadU64),
	"output_set":     pure(outputSet),
	"output_offset":  pure(func(a *arena, s []uint64) error { s[0] = a.output.off; return nil }),
	"output_length":  pure(func(a *arena, s []uint64) error { s[0] = a.output.len; return nil }),
	"error_set":      pure(errorSet),
	"error_get":      pure(func(a *arena, s []uint64) error { s[0] = a.failed; return nil }),
	"reset":          pure(func(a *arena, _ []uint64) error { a.reset(); return nil }),
	"memory_bytes":   pure(func(a *arena, s []uint64) error { s[0] = uint64(len(a.mem)); return nil }),
	"config_get":     configGet,
	"var_get":        varGet,
	"var_set":        varSet,
}

// pure makes a host function of one that needs nothing but the blocks.
func pure(f func(*arena, []uint64) error) hostFunc {
	return func(_ context.Context, i *nativeInstance, _ api.Module, stack []uint64) error {
		return f(&i.arena, stack)
	}
}

func loadU8(a *arena, s []uint64) error {
	b, err := a.view("load_u8", s[0], 1)
	if err == nil {
		s[0] = uint64(b[0])
	}
	return err
}

func loadU64(a *arena, s []uint64) error {
	b, err := a.view("load_u64", s[0], 8)
	if err == nil {
		s[0] = binary.LittleEndian.Uint64(b)
	}
	return err
}

func storeU8(a *arena, s []uint64) error {
	b, err := a.view("store_u8", s[0], 1)
	if err == nil {
		b[0] = byte(s[1]) //nolint:gosec // a byte is stored, whatever is given
	}
	return err
}

func storeU64(a *arena, s []uint64) error {
	b, err := a.view("store_u64", s[0], 8)
	if err == nil {
		binary.LittleEndian.PutUint64(b, s[1])
	}
	return err
}

func inputSet(a *arena, s []uint64) error {
	_, err := a.view("input_set", s[0], s[1])
	if err == nil {
		a.input = blockRef{s[0], s[1]}
	}
	return err
}

func inputLoadU8(a *arena, s []uint64) error {
	b, err := a.inputView("input_load_u8", s[0], 1)
	if err == nil {
		s[0] = uint64(b[0])
	}
	return err
}

func inputLoadU64(a *arena, s []uint64) error {
	b, err := a.inputView("input_load_u64", s[0], 8)
	if err == nil {
		s[0] = binary.LittleEndian.Uint64(b)
	}
	return err
}

// outputSet takes (0, 0) as empty output, which is what alloc(0) leads to.
func outputSet(a *arena, s []uint64) error {
	if s[1] == 0 {
		a.output = blockRef{}
		return nil
	}
	_, err := a.view("output_set", s[0], s[1])
	if err == nil {
		a.output = blockRef{s[0], s[1]}
	}
	return err
}

func errorSet(a *arena, s []uint64) error {
	_, err := a.read(s[0])
	if err == nil {
		a.failed = s[0]
	}
	return err
}

func configGet(_ context.Context, i *nativeInstance, _ api.Module, s []uint64) error {
	i.asked = true
	name, err := i.arena.read(s[0])
	if err == nil {
		s[0], err = i.arena.write([]byte(i.env[string(name)]))
	}
	return err
}

// varGet frees the block with the name, as Extism does; so does varSet with both
// of its blocks.
func varGet(_ context.Context, i *nativeInstance, _ api.Module, s []uint64) error {
	name, err := i.arena.read(s[0])
	if err != nil {
		return err
	}
	value := i.vars.m[string(name)]
	i.arena.release(s[0])
	s[0], err = i.arena.write(value)
	return err
}

func varSet(_ context.Context, i *nativeInstance, _ api.Module, s []uint64) error {
	name, err := i.arena.read(s[0])
	if err != nil {
		return err
	}
	value, err := i.arena.read(s[1])
	if err != nil {
		return err
	}
	if s[1] == 0 {
		i.vars.remove(string(name))
	} else if err := i.vars.set(string(name), value); err != nil {
		return err
	}
	i.arena.release(s[0])
	i.arena.release(s[1])
	return nil
}

// vars are Extism's variables: they live as long as the instance.
type vars struct {
	m           map[string][]byte
	size, limit int // bytes of names and values
}

func (v *vars) set(name string, value []byte) error {
	size := v.size + len(name) + len(value)
	if old, ok := v.m[name]; ok {
		size -= len(name) + len(old)
	}
	if size > v.limit {
		return fmt.Errorf("var_set: variables would take %d bytes and the limit is %d; store less", size, v.limit)
	}
	if v.m == nil {
		v.m = map[string][]byte{}
	}
	v.m[name], v.size = append([]byte(nil), value...), size
	return nil
}

func (v *vars) remove(name string) {
	if old, ok := v.m[name]; ok {
		v.size -= len(name) + len(old)
		delete(v.m, name)
	}
}
