// Package abi is the contract between the host and its guests, version 1.
//
// A guest is a core WebAssembly module (WASI preview 1). It exports handle (an
// agent), describe and call (a tool), or request and response (a connector), and
// imports capabilities from the module extism:host/user, each with the signature
// (i64 block) -> i64 block. Every block holds UTF-8 JSON, whose shapes are the
// types of this package; memory blocks themselves follow Extism's
// extism:host/env. Names that begin with "$" are reserved in all JSON.
//
// The package uses the standard library only and builds for wasip1, so that host
// and guests share one definition. The messages in testdata are run by the host
// and by every SDK.
package abi

// Version is the version of the contract that this package describes. A manifest
// names the version it was built for; a host refuses a newer one.
const Version = 1
