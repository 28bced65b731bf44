package runtime

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func TestSizeClass(t *testing.T) {
	classes := map[int]uint64{}
	for n := uint64(1); n < 1<<22; n += 1 + n/500 {
		class, size := sizeClass(n)
		if size < n || size%align != 0 || n > 64 && size > n+n/4+align {
			t.Fatalf("%d bytes get %d", n, size)
		}
		if known, ok := classes[class]; ok && known != size {
			t.Fatalf("class %d has sizes %d and %d", class, known, size)
		}
		classes[class] = size
		if again, same := sizeClass(size); again != class || same != size {
			t.Fatalf("a block of %d bytes is freed into class %d, not %d", size, again, class)
		}
	}
}

// TestArenaIsBounded frees what it allocates, in sizes that differ each time.
func TestArenaIsBounded(t *testing.T) {
	a := arena{limit: 1 << 20}
	for n := range uint64(200_000) {
		off := a.alloc(1 + n*7919%20_000)
		if off == 0 {
			t.Fatalf("allocation %d failed with %d bytes in use", n, len(a.mem))
		}
		a.release(off)
	}
}

func TestArenaLimit(t *testing.T) {
	a := arena{limit: 1 << 16}
	n := 0
	for a.alloc(1) != 0 {
		n++
	}
	if got := n * (align + blockCost); got > 1<<16 || got < 1<<15 {
		t.Errorf("%d blocks of one byte fit", n)
	}
	if a.alloc(1<<63) != 0 || a.alloc(1<<64-1) != 0 {
		t.Error("an absurd size was granted")
	}
	a.reset()
	if a.alloc(1<<15) == 0 {
		t.Error("nothing fits after a reset")
	}
}

// TestArenaShowsNothingOld fills an arena and looks at what the next call sees.
func TestArenaShowsNothingOld(t *testing.T) {
	a := arena{limit: 1 << 20}
	fill := func(off uint64, n int) { copy(a.mem[off:], bytes.Repeat([]byte{0xff}, n)) }
	fill(a.alloc(5000), 5000)
	if err := a.setInput([]byte("in")); err != nil {
		t.Fatal(err)
	}
	freed := a.alloc(300)
	fill(freed, 300)
	a.release(freed)
	for _, n := range []uint64{300, 1000, 3} {
		off := a.zeroed(n)
		_, size := sizeClass(n)
		if b := a.mem[off : off+size]; len(bytes.Trim(b, "\x00")) > 0 {
			t.Errorf("a new block of %d bytes shows old ones", n)
		}
	}
	if b := a.mem[a.input.off : a.input.off+align]; string(bytes.TrimRight(b, "\x00")) != "in" {
		t.Errorf("the input's block holds %q", b)
	}
}

// FuzzArena runs any sequence of allocations and frees against a model that
// remembers every live block's content.
func FuzzArena(f *testing.F) {
	f.Add([]byte("\x01\x10\x00\x02\x00\x00\x01\x20\x00"))
	f.Add(bytes.Repeat([]byte{1, 200, 3, 2, 0, 0}, 50))
	f.Fuzz(func(t *testing.T, ops []byte) {
		a := arena{limit: 64 << 10}
		live := map[uint64][]byte{}
		var order []uint64
		for ; len(ops) >= 3; ops = ops[3:] {
			n := uint64(binary.LittleEndian.Uint16(ops[1:]))
			switch ops[0] % 3 {
			case 0:
				a.reset()
				clear(live)
				order = nil
			case 1:
				content := bytes.Repeat([]byte{ops[1] ^ byte(len(order))}, int(n))
				off, err := a.write(content)
				if (off == 0) != (n == 0 || err != nil) || live[off] != nil {
					t.Fatalf("block of %d bytes at %d, %v", n, off, err)
				}
				if off != 0 {
					live[off], order = content, append(order, off)
				}
			case 2:
				off := n
				if len(order) > 0 {
					off = order[int(n)%len(order)]
				}
				a.release(off)
				delete(live, off)
			}
			checkArena(t, &a, live)
		}
	})
}

func checkArena(t *testing.T, a *arena, live map[uint64][]byte) {
	t.Helper()
	if uint64(len(a.mem)) > a.limit {
		t.Fatalf("%d bytes in use", len(a.mem))
	}
	for off, want := range live {
		if got, err := a.read(off); err != nil || !bytes.Equal(got, want) || a.length(off) != uint64(len(want)) {
			t.Fatalf("block at %d of %d bytes holds others: %v", off, len(want), err)
		}
	}
	for _, b := range a.blocks {
		if b.live != (live[b.off] != nil) {
			t.Fatalf("block at %d is live: %v", b.off, b.live)
		}
	}
}
