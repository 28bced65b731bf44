package runtime

import (
	"fmt"
	"math/bits"
	"slices"
	"sort"
)

// arena keeps a guest's blocks: byte ranges that guest and host address by
// offset. It lives outside of the guest's linear memory, and its bookkeeping
// outside of the bytes the guest can write, so that no guest can corrupt it.
//
// Blocks are handed out upwards. A freed block is given to the next request of
// its size class, so that a guest that allocates and frees in a loop stays within
// the memory of what it holds at once. Every call starts with an empty arena.
// What a fresh block shows never depends on earlier calls, because a call may be
// replayed on another instance.
type arena struct {
	limit  uint64
	mem    []byte   // [0, firstBlock) is never handed out
	blocks []block  // by offset
	free   [][]int  // by size class: indexes into blocks
	input  blockRef // what input_* read
	output blockRef
	failed uint64 // block with the guest's error message, or 0
	moved  uint64 // bytes that were cleared, copied or looked at since the last bill
}

type block struct {
	off, size, used uint64 // size is what the class grants, used what was asked for
	live            bool
}

type blockRef struct{ off, len uint64 }

const (
	firstBlock = 16 // no block has offset 0, which stands for none
	align      = 16
	blockCost  = 32      // bytes of bookkeeping charged for a block, so that many tiny ones are bounded too
	keepArena  = 1 << 20 // bytes an idle instance retains
)

// rangeError ends a guest that leaves its blocks.
type rangeError struct {
	call     string
	off, len uint64
	end      uint64
}

func (e *rangeError) Error() string {
	return fmt.Sprintf("%s of %d bytes at offset %d is outside of its blocks, which end at %d", e.call, e.len, e.off, e.end)
}

// reset frees all blocks. A large arena is given back, so that an idle instance
// does not hold what one large call needed.
func (a *arena) reset() {
	if cap(a.mem) > keepArena {
		a.mem = nil
	}
	a.mem = a.mem[:0]
	a.blocks = a.blocks[:0]
	for i := range a.free {
		a.free[i] = a.free[i][:0]
	}
	a.input, a.output, a.failed = blockRef{}, blockRef{}, 0
}

// sizeClass rounds n up to one of four sizes per power of two, which wastes at
// most a quarter, and returns the class's number.
func sizeClass(n uint64) (class int, size uint64) {
	n = (n + align - 1) &^ (align - 1)
	if n <= 4*align {
		return int(n / align), n
	}
	length := bits.Len64(n - 1)
	step := uint64(1) << (length - 3)
	size = (n + step - 1) &^ (step - 1)
	quarter := (size - 1) >> (length - 3) & 3
	return length*4 + int(quarter), size
}

// alloc returns a block of n bytes whose content is whatever was there, or 0
// when the limit forbids it.
func (a *arena) alloc(n uint64) uint64 {
	if n == 0 || n > a.limit {
		return 0
	}
	class, size := sizeClass(n)
	if b := a.reuse(class); b != nil {
		b.used, b.live = n, true
		return b.off
	}
	off := max(uint64(len(a.mem)), firstBlock)
	if off+size+uint64(len(a.blocks)+1)*blockCost > a.limit {
		return 0
	}
	a.mem = slices.Grow(a.mem, int(off+size)-len(a.mem))[:off+size] //nolint:gosec // within the limit
	a.blocks = append(a.blocks, block{off: off, size: size, used: n, live: true})
	return off
}

// reuse takes a freed block of the class, nil if there is none.
func (a *arena) reuse(class int) *block {
	if class >= len(a.free) || len(a.free[class]) == 0 {
		return nil
	}
	last := len(a.free[class]) - 1
	b := &a.blocks[a.free[class][last]]
	a.free[class] = a.free[class][:last]
	return b
}

// bill returns what the guest owes since the last one, in units of fuel.
func (a *arena) bill() uint64 {
	units := a.moved / bytesPerUnit
	a.moved = 0
	return units
}

// zeroed is alloc with a cleared block.
func (a *arena) zeroed(n uint64) uint64 {
	off := a.alloc(n)
	if off != 0 {
		_, size := sizeClass(n)
		clear(a.mem[off : off+size])
		a.moved += size
	}
	return off
}

// find returns the index of the live block that starts at off, or -1.
func (a *arena) find(off uint64) int {
	i := sort.Search(len(a.blocks), func(i int) bool { return a.blocks[i].off >= off })
	if i < len(a.blocks) && a.blocks[i].off == off && a.blocks[i].live {
		return i
	}
	return -1
}

// release frees a block; an offset that is none is ignored, as Extism does,
// because guest and host may both free what a host call consumed.
func (a *arena) release(off uint64) {
	i := a.find(off)
	if i < 0 {
		return
	}
	a.blocks[i].live = false
	class, _ := sizeClass(a.blocks[i].size)
	if class >= len(a.free) {
		a.free = append(a.free, make([][]int, class+1-len(a.free))...)
	}
	a.free[class] = append(a.free[class], i)
	if off == a.input.off {
		a.input.len = 0
	}
}

// length returns the size of the block at off, 0 if there is none.
func (a *arena) length(off uint64) uint64 {
	if i := a.find(off); i >= 0 {
		return a.blocks[i].used
	}
	return 0
}

// view returns n bytes at off, which must lie within the blocks handed out.
func (a *arena) view(call string, off, n uint64) ([]byte, error) {
	end := uint64(len(a.mem))
	if off < firstBlock || off > end || n > end-off {
		return nil, &rangeError{call, off, n, end}
	}
	return a.mem[off : off+n], nil
}

// read implements blockMemory. Unlike view it takes whole blocks only: the start of
// one that is live. The bytes are valid until the next allocation.
func (a *arena) read(off uint64) ([]byte, error) {
	if off == 0 {
		return nil, nil
	}
	i := a.find(off)
	if i < 0 {
		return nil, &rangeError{"use of a block", off, 0, uint64(len(a.mem))}
	}
	a.moved += a.blocks[i].used
	return a.mem[off : off+a.blocks[i].used], nil
}

// write implements blockMemory. What the size class grants beyond b is cleared,
// because the guest can read it.
func (a *arena) write(b []byte) (uint64, error) {
	off := a.alloc(uint64(len(b)))
	if off == 0 {
		if len(b) == 0 {
			return 0, nil
		}
		return 0, fmt.Errorf("%d bytes for the plugin do not fit its limit of %d bytes of blocks; raise the memory limit", len(b), a.limit)
	}
	_, size := sizeClass(uint64(len(b)))
	granted := a.mem[off : off+size]
	clear(granted[copy(granted, b):])
	a.moved += size
	return off, nil
}

// setInput empties the arena and makes b its input.
func (a *arena) setInput(b []byte) error {
	a.reset()
	off, err := a.write(b)
	a.input, a.moved = blockRef{off, uint64(len(b))}, 0
	return err
}

// inputView returns n bytes of the input from off on.
func (a *arena) inputView(call string, off, n uint64) ([]byte, error) {
	if off > a.input.len || n > a.input.len-off {
		return nil, &rangeError{call, off, n, a.input.len}
	}
	return a.mem[a.input.off+off : a.input.off+off+n], nil
}

// out returns the output, which is valid until the next allocation.
func (a *arena) out() []byte {
	return a.mem[a.output.off : a.output.off+a.output.len]
}
