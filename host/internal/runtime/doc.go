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
//
// What follows is of the native engine alone.
//
// Fuel. A guest counts what it does (package prepare) and yields when it has used
// a slice: then other goroutines run, its context may end it, and it draws its
// next slice from Config.Fuel. The same calls with the same answers use the same
// fuel, and an account that is empty ends a guest at the same point each time.
//
// Images. A module is initialised once, in a world that is the same in every
// process: no host to call, a clock of its own, randomness out of its digest. What
// becomes of it is the base image (package image), which all instances share until
// they write. An export vespiary_reseed gives a clone randomness that no other has.
// A guest that calls the host or sleeps while it is initialised has no image, and
// each instance is initialised in the world of its Config.
//
// State. Between two calls an instance is its memory, its globals and Extism's
// variables. Instance.State takes them, as the pages that differ from the base
// image, and Config.State goes on from them, in another process too: the base
// image has the same digest everywhere. No call remembers anything else; blocks
// and the last HTTP response are gone when the next one begins.
package runtime
