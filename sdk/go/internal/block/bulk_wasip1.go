//go:build !nobulk

package block

import "unsafe"

//go:wasmimport vespiary:mem input_read
func inputRead(p unsafe.Pointer, n uint32)

//go:wasmimport vespiary:mem block_read
func blockRead(block uint64, p unsafe.Pointer, n uint32)

//go:wasmimport vespiary:mem block_new
func blockNew(p unsafe.Pointer, n uint32) uint64

// Input copies the input of the running export.
func Input() []byte {
	b := make([]byte, inputLength())
	if len(b) > 0 {
		inputRead(unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)))
	}
	return b
}

// New copies b into a new block.
func New(b []byte) uint64 {
	return blockNew(unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)))
}

func load(block uint64) []byte {
	b := make([]byte, length(block))
	if len(b) > 0 {
		blockRead(block, unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)))
	}
	return b
}
