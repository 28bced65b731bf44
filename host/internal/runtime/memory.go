package runtime

import (
	"sync/atomic"

	"github.com/vespiary/vespiary/host/internal/runtime/image"
)

// counted is a linear memory whose size is part of its engine's sum.
type counted struct {
	*image.Memory
	sum  *atomic.Int64
	size int64 // as counted
	lent int64 // of the bytes, those that a base image is expected to hold for it
}

// Reallocate implements experimental.LinearMemory.
func (c *counted) Reallocate(size uint64) []byte {
	b := c.Memory.Reallocate(size)
	if b != nil {
		c.resize(int64(size) - c.lent) //nolint:gosec // within the limit of an instance
	}
	return b
}

// lend leaves n bytes out of the count.
func (c *counted) lend(n int64) {
	c.resize(c.size + c.lent - n)
	c.lent = n
}

// Free implements experimental.LinearMemory; it may be called again.
func (c *counted) Free() {
	c.Memory.Free()
	c.resize(0)
}

func (c *counted) resize(size int64) {
	c.sum.Add(size - c.size)
	c.size = size
}
