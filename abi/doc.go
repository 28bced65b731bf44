// Package abi is the contract between the host and its guests, version 1.
//
// A guest is a core WebAssembly module (WASI preview 1). It exports what its kind
// asks for, and imports capabilities from the module extism:host/user, each with
// the signature (i64 block) -> i64 block. Every block holds UTF-8 JSON, whose
// shapes are the types of this package; memory blocks themselves follow Extism's
// extism:host/env. Names that begin with "$" are reserved in all JSON.
//
// # Exports
//
// An export takes no parameters, reads its input and sets its output through
// extism:host/env, and returns an i32: 0, or 1 with an error set. It must have:
//
//	handle    an agent       Event -> Reply
//	describe  a tool         {} -> ToolList
//	call      a tool         ToolCallParams -> ToolResult
//	request   a connector
//	response  a connector
//
// It may have:
//
//	_initialize      before all others: the memory that it leaves is the image
//	                 that every instance begins as a copy of
//	vespiary_reseed  32 random bytes -> nothing; called in each new copy, once,
//	                 before its first event
//	save             nothing -> any JSON; called on the module that a session
//	                 leaves, between two turns
//	migrate          Migration -> {}; called on a new copy of the module that the
//	                 session goes over to, before its next event
//
// To export one of these is to promise that it works: a session goes over to a
// module that has migrate by calling it, and to one that has not by running the
// recorded turns again. While save and migrate run, every host call fails; an error
// of either leaves the session with the module it has.
//
// # Turns
//
// An agent's instance lives as long as its session: its memory at the end of a
// turn is what the next event finds, stored in between and restored, perhaps in
// another process, as often as the host likes. A turn that is interrupted is run
// again on the memory that it began with, and its calls, which must be the same,
// are given the results on record. Ids of started calls count from 1 in each turn.
// A tool's instance begins anew at every call.
//
// The package uses the standard library only and builds for wasip1, so that host
// and guests share one definition. The messages in testdata are run by the host
// and by every SDK.
package abi

// Version is the version of the contract that this package describes. A manifest
// names the version it was built for; a host refuses a newer one.
const Version = 1
