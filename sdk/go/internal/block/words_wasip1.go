//go:build nobulk

package block

import "encoding/binary"

//go:wasmimport extism:host/env input_load_u64
func inputWord(offset uint64) uint64

//go:wasmimport extism:host/env input_load_u8
func inputByte(offset uint64) uint32

//go:wasmimport extism:host/env load_u64
func loadWord(offset uint64) uint64

//go:wasmimport extism:host/env load_u8
func loadByte(offset uint64) uint32

//go:wasmimport extism:host/env store_u64
func storeWord(offset, v uint64)

//go:wasmimport extism:host/env store_u8
func storeByte(offset uint64, v uint32)

//go:wasmimport extism:host/env alloc
func alloc(n uint64) uint64

// Input copies the input of the running export.
func Input() []byte { return read(0, inputLength(), inputWord, inputByte) }

func load(block uint64) []byte { return read(block, length(block), loadWord, loadByte) }

func read(at, n uint64, word func(uint64) uint64, octet func(uint64) uint32) []byte {
	b := make([]byte, n)
	i := uint64(0)
	for ; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], word(at+i))
	}
	for ; i < n; i++ {
		b[i] = byte(octet(at + i))
	}
	return b
}

// New copies b into a new block.
func New(b []byte) uint64 {
	n := uint64(len(b))
	block := alloc(n)
	i := uint64(0)
	for ; i+8 <= n; i += 8 {
		storeWord(block+i, binary.LittleEndian.Uint64(b[i:]))
	}
	for ; i < n; i++ {
		storeByte(block+i, uint32(b[i]))
	}
	return block
}
