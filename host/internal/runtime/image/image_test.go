package image

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// kinds are the ways in which a base and a memory come together. Each must behave
// like any other.
var kinds = []struct {
	name   string
	base   func(testing.TB, []byte) *Base
	memory func(uint64) *Memory
}{
	{"mapped", mapped, NewMemory},
	{"mapped without pagemap", blind, NewMemory},
	{"mapped to heap", mapped, heap},
	{"copied", copied, NewMemory},
	{"copied to heap", copied, heap},
}

func mapped(tb testing.TB, content []byte) *Base {
	tb.Helper()
	b, err := NewBase(content)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func copied(_ testing.TB, content []byte) *Base { return CopyBase(content) }

// heap is what NewMemory returns when the system has no address space left.
func heap(limit uint64) *Memory { return &Memory{limit: limit} }

func onKinds(t *testing.T, content []byte, f func(t *testing.T, b *Base, memory func(uint64) *Memory)) {
	t.Helper()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			b := k.base(t, content)
			defer func() {
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			}()
			f(t, b, k.memory)
		})
	}
}

// content has zero pages among others.
func content(pages int) []byte {
	b := make([]byte, pages*PageSize)
	for n := 0; n < len(b); n += 3 * PageSize {
		binary.LittleEndian.PutUint64(b[n:], uint64(n)+1)
	}
	return b
}

func restored(t *testing.T, b *Base, memory func(uint64) *Memory, size uint64) *Memory {
	t.Helper()
	m := memory(size + 32*PageSize)
	t.Cleanup(m.Free)
	m.Reallocate(size)
	if err := b.Restore(m); err != nil {
		t.Fatal(err)
	}
	return m
}

func changed(b *Base, m *Memory) []uint32 {
	var pages []uint32
	for n, page := range b.Changed(m) {
		if !bytes.Equal(page, m.Bytes()[n*PageSize:][:PageSize]) {
			panic("the page is not the memory's")
		}
		pages = append(pages, n)
	}
	return pages
}

func TestRestore(t *testing.T) {
	base := content(32)
	onKinds(t, base, func(t *testing.T, b *Base, memory func(uint64) *Memory) {
		t.Helper()
		m, other := restored(t, b, memory, 32*PageSize), restored(t, b, memory, 48*PageSize)
		if !bytes.Equal(m.Bytes(), base) || !bytes.Equal(other.Bytes()[:len(base)], base) || !zeroAll(other.Bytes()[len(base):]) {
			t.Fatal("a restored memory has other content")
		}
		clear(m.Bytes())
		if !bytes.Equal(other.Bytes()[:len(base)], base) {
			t.Error("a write to one memory shows in another")
		}
		if again := restored(t, b, memory, 32*PageSize); !bytes.Equal(again.Bytes(), base) {
			t.Error("a write to a memory shows in the base")
		}
		if pages := changed(b, other); pages != nil {
			t.Errorf("an untouched memory differs in the pages %v", pages)
		}
	})
}

func zeroAll(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

func TestChanged(t *testing.T) {
	base := content(32)
	onKinds(t, base, func(t *testing.T, b *Base, memory func(uint64) *Memory) {
		t.Helper()
		m := restored(t, b, memory, 40*PageSize)
		m.Bytes()[5*PageSize] = 1
		m.Bytes()[32*PageSize-1] = 1 // the last of the base
		m.Bytes()[39*PageSize+7] = 1
		m.Bytes()[10*PageSize]++ // there and back
		m.Bytes()[10*PageSize]--
		m.Bytes()[35*PageSize] = 0            // touched, and still zero
		_ = bytes.Count(m.Bytes(), []byte{1}) // read everything
		m.Reallocate(44 * PageSize)
		m.Bytes()[41*PageSize] = 1
		if got, want := changed(b, m), []uint32{5, 31, 39, 41}; !slices.Equal(got, want) {
			t.Errorf("pages %v differ, want %v", got, want)
		}
		if got := b.Private(m); got < 3*PageSize || got > 32*PageSize {
			t.Errorf("%d bytes are private", got)
		}
		for n := range b.Changed(m) {
			if n != 5 {
				t.Error("it goes on after the loop has ended")
			}
			break
		}
	})
}

// TestRandomWrites compares what every kind says with a model.
func TestRandomWrites(t *testing.T) {
	base := content(64)
	onKinds(t, base, func(t *testing.T, b *Base, memory func(uint64) *Memory) {
		t.Helper()
		for seed := range uint64(50) {
			r := rand.New(rand.NewPCG(seed, 1))
			m := restored(t, b, memory, 80*PageSize)
			model := append(bytes.Clone(base), make([]byte, 16*PageSize)...)
			want := map[uint32]bool{}
			for range r.IntN(200) {
				at, v := r.IntN(len(model)), byte(r.IntN(3))
				m.Bytes()[at], model[at] = v, v
			}
			for n := range uint32(80) {
				page, old := model[n*PageSize:][:PageSize], make([]byte, PageSize)
				if int(n) < len(base)/PageSize {
					old = base[n*PageSize:][:PageSize]
				}
				if !bytes.Equal(page, old) {
					want[n] = true
				}
			}
			if got := changed(b, m); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
				t.Fatalf("seed %d: pages %v differ, want %v", seed, got, slices.Sorted(maps.Keys(want)))
			}
			m.Free()
		}
	})
}

func TestOutlivesBase(t *testing.T) {
	base := content(16)
	for _, k := range kinds {
		b := k.base(t, base)
		m := restored(t, b, k.memory, 16*PageSize)
		for range 2 {
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if m.Bytes()[0]++; m.Bytes()[3*PageSize] == 0 {
			t.Errorf("%s: the memory lost its content with the base", k.name)
		}
	}
}

func TestTooSmall(t *testing.T) {
	onKinds(t, content(16), func(t *testing.T, b *Base, memory func(uint64) *Memory) {
		t.Helper()
		m := memory(32 * PageSize)
		defer m.Free()
		m.Reallocate(15 * PageSize)
		if b.Restore(m) == nil {
			t.Error("a base was restored into a memory that is too small for it")
		}
	})
}

func TestEmpty(t *testing.T) {
	onKinds(t, nil, func(t *testing.T, b *Base, memory func(uint64) *Memory) {
		t.Helper()
		m := restored(t, b, memory, 2*PageSize)
		m.Bytes()[PageSize] = 1
		if got := changed(b, m); b.Size() != 0 || !slices.Equal(got, []uint32{1}) || b.Private(m) != 0 {
			t.Errorf("of an empty base of %d bytes pages %v differ, %d bytes are private", b.Size(), got, b.Private(m))
		}
	})
}

// TestParallel restores from one base on many goroutines.
func TestParallel(t *testing.T) {
	base := content(64)
	onKinds(t, base, func(t *testing.T, b *Base, memory func(uint64) *Memory) {
		t.Helper()
		var all sync.WaitGroup
		for g := range uint32(16) {
			all.Go(func() {
				for n := range uint32(20) {
					m := memory(64 * PageSize)
					m.Reallocate(64 * PageSize)
					err := b.Restore(m)
					page := (g*20 + n) % 64
					m.Bytes()[page*PageSize+9] ^= 0xff
					if got := changed(b, m); err != nil || !slices.Equal(got, []uint32{page}) {
						t.Errorf("pages %v differ, want %d (%v)", got, page, err)
					}
					m.Free()
				}
			})
		}
		all.Wait()
	})
}

func TestMemory(t *testing.T) {
	for name, memory := range map[string]func(uint64) *Memory{"reserved": NewMemory, "heap": heap} {
		m := memory(1 << 20)
		first := m.Reallocate(1 << 16)
		first[0] = 7
		b := m.Reallocate(1 << 20)
		if b[0] != 7 || len(b) != 1<<20 || b[1<<20-1] != 0 {
			t.Errorf("%s: growing lost bytes", name)
		}
		if m.mapped && &b[0] != &first[0] {
			t.Errorf("%s: growing moved the memory", name)
		}
		if m.Reallocate(1<<20+1) != nil {
			t.Errorf("%s: memory grew beyond its limit", name)
		}
		m.Free()
		m.Free()
		if len(m.Bytes()) > 0 {
			t.Errorf("%s: bytes are left", name)
		}
	}
}

func BenchmarkRestore(b *testing.B) {
	for _, k := range kinds[:4] {
		b.Run(k.name, func(b *testing.B) {
			base := k.base(b, bytes.Repeat([]byte{1}, 600*PageSize))
			defer func() { _ = base.Close() }()
			for b.Loop() {
				m := k.memory(64 << 20)
				m.Reallocate(600 * PageSize)
				if err := base.Restore(m); err != nil {
					b.Fatal(err)
				}
				m.Free()
			}
		})
	}
}

func BenchmarkChanged(b *testing.B) {
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) {
			base := k.base(b, bytes.Repeat([]byte{1}, 600*PageSize))
			defer func() { _ = base.Close() }()
			m := k.memory(64 << 20)
			defer m.Free()
			m.Reallocate(600 * PageSize)
			if err := base.Restore(m); err != nil {
				b.Fatal(err)
			}
			for n := range 100 {
				m.Bytes()[n*6*PageSize] = 2
			}
			for b.Loop() {
				n := 0
				for range base.Changed(m) {
					n++
				}
				if n != 100 {
					b.Fatal(n)
				}
			}
		})
	}
}
