// Package prepare turns a WebAssembly module into the module that the host
// compiles.
//
// Metering. The runtime's compiled code cannot be interrupted, so the module
// interrupts itself: at every function entry, at every loop header, and on every
// path of more than 1,024 instructions in between, it takes one from a global
// counter, the fuel, and calls the host when that falls below zero. Small
// functions without loops and calls have no probe; they count as instructions of
// their caller. Instructions that work on ranges of memory or of a table take one
// more for each KiB, and those on memory are split, so that none runs longer than
// 64 KiB take between two probes. Equal work takes equal fuel, on any machine.
//
// Images. An instance can be restored from its memory and its globals alone if the
// host can write both before any code runs. For that all mutable globals are
// exported, and active data segments and the start function are taken out, for the
// host to apply. A module that keeps state elsewhere is blocked, with the reasons.
//
// What is valid stays valid and means the same; what is invalid stays invalid.
// The module is taken apart and written anew by package format, which checks every
// index, so that a module can name nothing that is added here. Of the custom
// sections only the names of functions remain.
package prepare
