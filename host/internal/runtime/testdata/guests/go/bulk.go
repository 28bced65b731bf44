//go:build bulk

package main

import "unsafe"

//go:wasmimport vespiary:mem input_read
func inputRead(p unsafe.Pointer, n uint32)

//go:wasmimport vespiary:mem block_read
func blockRead(off uint64, p unsafe.Pointer, n uint32)

//go:wasmimport vespiary:mem block_new
func blockNew(p unsafe.Pointer, n uint32) uint64

func input() []byte {
	b := make([]byte, inputLength())
	inputRead(unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)))
	return b
}

func store(b []byte) uint64 {
	return blockNew(unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)))
}

func load(off uint64) []byte {
	b := make([]byte, length(off))
	blockRead(off, unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)))
	return b
}
