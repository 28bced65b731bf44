package runtime

import (
	"context"

	"github.com/tetratelabs/wazero/api"

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
