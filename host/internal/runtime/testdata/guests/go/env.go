package main

//go:wasmimport extism:host/env input_length
func inputLength() uint64

//go:wasmimport extism:host/env alloc
func alloc(n uint64) uint64

//go:wasmimport extism:host/env free
func free(off uint64)

//go:wasmimport extism:host/env length
func length(off uint64) uint64

//go:wasmimport extism:host/env length_unsafe
func lengthUnsafe(off uint64) uint64

//go:wasmimport extism:host/env load_u64
func loadU64(off uint64) uint64

//go:wasmimport extism:host/env load_u8
func loadU8(off uint64) uint32

//go:wasmimport extism:host/env store_u64
func storeU64(off uint64, v uint64)

//go:wasmimport extism:host/env store_u8
func storeU8(off uint64, v uint32)

//go:wasmimport extism:host/env output_set
func outputSet(off uint64, n uint64)

//go:wasmimport extism:host/env error_set
func errorSet(off uint64)

//go:wasmimport extism:host/env config_get
func configGet(off uint64) uint64

//go:wasmimport extism:host/env var_get
func varGet(off uint64) uint64

//go:wasmimport extism:host/env var_set
func varSet(name, value uint64)

//go:wasmimport extism:host/env log_trace
func logTrace(off uint64)

//go:wasmimport extism:host/env log_debug
func logDebug(off uint64)

//go:wasmimport extism:host/env log_info
func logInfo(off uint64)

//go:wasmimport extism:host/env log_warn
func logWarn(off uint64)

//go:wasmimport extism:host/env log_error
func logError(off uint64)

//go:wasmimport extism:host/env get_log_level
func logLevel() int32

//go:wasmimport extism:host/env http_request
func httpRequest(request, body uint64) uint64

//go:wasmimport extism:host/env http_status_code
func httpStatus() int32

//go:wasmimport extism:host/env http_headers
func httpHeaders() uint64

//go:wasmimport extism:host/user tool_call
func toolCall(off uint64) uint64

func output(b []byte) { outputSet(store(b), uint64(len(b))) }
