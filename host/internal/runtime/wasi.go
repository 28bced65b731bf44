package runtime

import (
	"context"
	"strings"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
)

// stateless are the functions of WASI that would change what file descriptors a
// guest has, which is no part of its State. A guest has its three standard
// streams and can open nothing, so that they have little to do.
var stateless = map[string]api.GoModuleFunc{
	"fd_close":            standardStream,
	"fd_fdstat_set_flags": standardStream,
	"fd_renumber": func(_ context.Context, _ api.Module, stack []uint64) {
		stack[0] = errnoBadFile
	},
}

var statelessTypes = map[string]wasm.FuncType{
	"fd_close":            {Params: []wasm.ValueType{wasm.I32}, Results: []wasm.ValueType{wasm.I32}},
	"fd_fdstat_set_flags": {Params: []wasm.ValueType{wasm.I32, wasm.I32}, Results: []wasm.ValueType{wasm.I32}},
	"fd_renumber":         {Params: []wasm.ValueType{wasm.I32, wasm.I32}, Results: []wasm.ValueType{wasm.I32}},
}

// Error numbers of WASI preview 1.
const (
	errnoSuccess = 0
	errnoBadFile = 8
)

// standardStream says yes to whatever is to be done to a standard stream, which
// stays open.
func standardStream(_ context.Context, _ api.Module, stack []uint64) {
	if fd := api.DecodeU32(stack[0]); fd <= 2 {
		stack[0] = errnoSuccess
	} else {
		stack[0] = errnoBadFile
	}
}

// toll makes a guest pay for what it has functions of WASI look at, which wazero
// knows nothing of. Only functions with an argument that is a length are listened to.
type toll struct{}

// NewFunctionListener implements experimental.FunctionListenerFactory.
func (toll) NewFunctionListener(f api.FunctionDefinition) experimental.FunctionListener {
	var all lengths
	for n, name := range f.ParamNames() {
		if size := sizeOf(name); size > 0 {
			all = append(all, length{n, size})
		}
	}
	if all == nil {
		return nil
	}
	return all
}

// sizeOf is how many bytes an argument with this name counts, 0 if it is no length.
func sizeOf(name string) uint64 {
	switch {
	case strings.HasPrefix(name, "result."): // where to put something
	case name == "nsubscriptions":
		return 48
	case strings.HasPrefix(name, "iovs_"), strings.HasPrefix(name, "ri_data_"), strings.HasPrefix(name, "si_data_"):
		return 8
	case strings.HasSuffix(name, "_len"):
		return 1
	}
	return 0
}

// length is an argument that counts things of a size in bytes.
type length struct {
	arg  int
	size uint64
}

// lengths are those of one function.
type lengths []length

// Before implements experimental.FunctionListener.
func (l lengths) Before(ctx context.Context, guest api.Module, _ api.FunctionDefinition, args []uint64, _ experimental.StackIterator) {
	i, ok := ctx.Value(instanceKey{}).(*nativeInstance)
	if !ok || guest.Memory() == nil {
		return
	}
	sum, most := uint64(0), uint64(guest.Memory().Size())
	for _, n := range l {
		sum += min(uint64(api.DecodeU32(args[n.arg]))*n.size, most)
	}
	i.pay(sum / bytesPerUnit)
}

// After implements experimental.FunctionListener.
func (lengths) After(context.Context, api.Module, api.FunctionDefinition, []uint64) {}

// Abort implements experimental.FunctionListener.
func (lengths) Abort(context.Context, api.Module, api.FunctionDefinition, error) {}
