package runtime

import (
	"context"
	"fmt"

	"github.com/tetratelabs/wazero/api"
)

// bulk is vespiary:mem: it copies whole blocks between the host and the guest's
// linear memory.
var bulk = map[string]hostFunc{
	"input_read": inputRead,
	"block_read": blockRead,
	"block_new":  blockNew,
}

// inputRead copies the first len bytes of the input to ptr; if there are fewer,
// all of them.
func inputRead(_ context.Context, i *nativeInstance, guest api.Module, s []uint64) error {
	b, err := i.arena.inputView("input_read", 0, i.arena.input.len)
	if err != nil {
		return err
	}
	i.arena.moved += min(i.arena.input.len, uint64(api.DecodeU32(s[1])))
	return copyOut("input_read", guest, b, api.DecodeU32(s[0]), api.DecodeU32(s[1]))
}

// blockRead copies the first len bytes of a block to ptr; if there are fewer, all
// of them.
func blockRead(_ context.Context, i *nativeInstance, guest api.Module, s []uint64) error {
	b, err := i.arena.read(s[0])
	if err != nil {
		return err
	}
	return copyOut("block_read", guest, b, api.DecodeU32(s[1]), api.DecodeU32(s[2]))
}

// blockNew makes a block of the len bytes at ptr; of none, 0.
func blockNew(_ context.Context, i *nativeInstance, guest api.Module, s []uint64) error {
	ptr, size := api.DecodeU32(s[0]), api.DecodeU32(s[1])
	b, ok := readMemory(guest, ptr, size)
	if !ok {
		return outside("block_new", ptr, size)
	}
	var err error
	s[0], err = i.arena.write(b)
	return err
}

func copyOut(call string, guest api.Module, b []byte, ptr, size uint32) error {
	size = uint32(min(uint64(len(b)), uint64(size))) //nolint:gosec // not above size
	target, ok := readMemory(guest, ptr, size)
	if !ok {
		return outside(call, ptr, size)
	}
	copy(target, b)
	return nil
}

func readMemory(guest api.Module, ptr, size uint32) ([]byte, bool) {
	m := guest.Memory()
	if m == nil {
		return nil, size == 0
	}
	return m.Read(ptr, size)
}

func outside(call string, ptr, size uint32) error {
	return fmt.Errorf("%s: %d bytes at address %#x are outside of its memory", call, size, ptr)
}
