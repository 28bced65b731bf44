//go:build linux || darwin

package runtime

import (
	"syscall"

	"github.com/tetratelabs/wazero/experimental"
)

// mapping is a linear memory outside of the Go heap: its whole range is reserved
// once, so that growing never copies; a page costs nothing before it is touched;
// and closing returns it to the system at once.
type mapping struct{ b []byte }

// newMemory makes the memory of an instance.
func newMemory(_, limit uint64) experimental.LinearMemory {
	b, err := syscall.Mmap(-1, 0, int(limit), //nolint:gosec // at most maxMemory
		syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_NORESERVE)
	if err != nil {
		return &heapMemory{limit: limit} // no address space left: grow by copying
	}
	return &mapping{b}
}

// Reallocate implements experimental.LinearMemory.
func (m *mapping) Reallocate(size uint64) []byte {
	if size > uint64(len(m.b)) {
		return nil
	}
	return m.b[:size:len(m.b)]
}

// Free implements experimental.LinearMemory; it may be called again.
func (m *mapping) Free() {
	if m.b != nil {
		_ = syscall.Munmap(m.b) // fails only for what Mmap did not return
		m.b = nil
	}
}
