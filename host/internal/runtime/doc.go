// Package runtime runs plugins: core WebAssembly modules that reach the outside
// world through host calls and nothing else.
//
// An Engine loads a module once (read, check, prepare, compile) and instantiates
// it many times. A guest follows Extism's memory ABI: input, output and host
// calls travel in blocks that the host keeps outside of the guest's linear
// memory, addressed by 64-bit offsets. A capability is a function of
// extism:host/user with the signature (i64 block) -> i64 block; the engine
// carries the bytes and Host answers. Guests that import vespiary:mem copy whole
// blocks at once instead of eight bytes a call.
//
// There are two engines. The native one, on wazero, is for production: it
// implements the ABI in Go. The one on Extism's own SDK is the oracle that the
// same guests are run on in tests, and serves plugins that need that SDK.
// Both refuse a module that imports what is not offered, give the guest no file,
// no socket, no environment, and no clock or randomness but those in Config, and
// end a guest whose context is done.
package runtime
