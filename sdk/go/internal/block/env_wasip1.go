package block

//go:wasmimport extism:host/env input_length
func inputLength() uint64

//go:wasmimport extism:host/env length
func length(block uint64) uint64

//go:wasmimport extism:host/env free
func free(block uint64)

//go:wasmimport extism:host/env output_set
func outputSet(block, n uint64)

//go:wasmimport extism:host/env error_set
func errorSet(block uint64)

// Output makes b the output of the running export.
func Output(b []byte) { outputSet(New(b), uint64(len(b))) }

// Fail makes message the error of the running export.
func Fail(message string) { errorSet(New([]byte(message))) }

// Take copies a block that the host made for the guest, and frees it. Block 0 is
// no block and yields nil.
func Take(block uint64) []byte {
	if block == 0 {
		return nil
	}
	b := load(block)
	free(block)
	return b
}

// Send stores b in a block, passes the block to f, and takes the block that f
// returns.
func Send(f func(uint64) uint64, b []byte) []byte {
	request := New(b)
	response := f(request)
	free(request)
	return Take(response)
}

// Tell stores b in a block and passes it to f.
func Tell(f func(uint64), b []byte) {
	block := New(b)
	f(block)
	free(block)
}
