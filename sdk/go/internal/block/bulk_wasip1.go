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
		inputRead(data(b))
	}
	return b
}

// New copies b into a new block.
func New(b []byte) uint64 {
	return blockNew(data(b))
}

func load(block uint64) []byte {
	b := make([]byte, length(block))
	if len(b) > 0 {
		p, n := data(b)
		blockRead(block, p, n)
	}
	return b
}

// data is where b lies; the host is given addresses, as its interface wants.
func data(b []byte) (p unsafe.Pointer, n uint32) {
	return unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)) //nolint:gosec // G103, G115: a slice fits the 4 GiB of a guest
}
