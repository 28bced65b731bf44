// Package wasm tells what a core WebAssembly module declares and makes small
// changes to it: custom sections, names of imports, sizes of tables.
//
// It stands before the compiler. How a module is read, and what is refused, is
// the work of package format.
package wasm
