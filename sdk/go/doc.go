// Package vespiary is the Go SDK for guests: agents and tools that run as
// WebAssembly inside a Vespiary host.
//
// A tool is a typed function, an agent a handler of events. Both are registered
// while the module initialises, in a package variable or in init:
//
//	var _ = vespiary.Tool("hello", "Greets a person.", hello)
//	var _ = vespiary.Agent(handle)
//
// A guest touches the world only through the methods of Context. Each is one
// import of the module, so that a plugin asks for what its code can reach and
// nothing else. A host call blocks; to make several at a time, see Go and All.
//
// An agent lives as long as its session: the state that AgentOf gives it, and its
// package variables, are at each event what the one before left. Packages save,
// migrate and reseed add the optional exports; a module that does not import
// them does not have them. Go's math/rand/v2 draws the same numbers in every
// session; see package reseed.
//
// Every error of a host call is an *abi.Error, a denial by policy among them:
//
//	if errors.Is(err, &abi.Error{Code: abi.CodeDenied}) { … }
//
// A plugin is built by vespiary build, or by the Go toolchain alone:
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o hello.wasm .
//
// With -tags nobulk the module imports nothing beyond Extism's own interface and
// the capabilities. Built for any other platform the package serves unit tests,
// where package vespiarytest plays the host.
package vespiary
