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
	return copyOut("input_read", guest, b, uint32(s[0]), uint32(s[1]))
}

// blockRead copies the first len bytes of a block to ptr; if there are fewer, all
// of them.
func blockRead(_ context.Context, i *nativeInstance, guest api.Module, s []uint64) error {
	b, err := i.arena.read(s[0])
	if err != nil {
		return err
	}
	return copyOut("block_read", guest, b, uint32(s[1]), uint32(s[2]))
}

// blockNew makes a block of the len bytes at ptr; of none, 0.
func blockNew(_ context.Context, i *nativeInstance, guest api.Module, s []uint64) error {
	b, ok := readMemory(guest, uint32(s[0]), uint32(s[1]))
	if !ok {
		return outside("block_new", s[0], s[1])
	}
	var err error
	s[0], err = i.arena.write(b)
	return err
}

func copyOut(call string, guest api.Module, b []byte, ptr, size uint32) error {
	b = b[:min(len(b), int(size))]
	target, ok := readMemory(guest, ptr, uint32(len(b)))
	if !ok {
		return outside(call, uint64(ptr), uint64(len(b)))
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

func outside(call string, ptr, size uint64) error {
	return fmt.Errorf("%s: %d bytes at address %#x are outside of its memory", call, size, ptr)
}
