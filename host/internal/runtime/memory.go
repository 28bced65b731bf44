package runtime

import (
	"sync/atomic"

	"github.com/tetratelabs/wazero/experimental"
)

// counted is a linear memory whose size is part of its engine's sum.
type counted struct {
	experimental.LinearMemory
	sum  *atomic.Int64
	size int64
}

// Reallocate implements experimental.LinearMemory.
func (c *counted) Reallocate(size uint64) []byte {
	b := c.LinearMemory.Reallocate(size)
	if b != nil {
		c.resize(int64(size)) //nolint:gosec // within the limit of an instance
	}
	return b
}

// Free implements experimental.LinearMemory; it may be called again.
func (c *counted) Free() {
	c.LinearMemory.Free()
	c.resize(0)
}

func (c *counted) resize(size int64) {
	c.sum.Add(size - c.size)
	c.size = size
}
