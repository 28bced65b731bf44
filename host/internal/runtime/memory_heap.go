package runtime

import "slices"

// heapMemory is a linear memory on the Go heap, where there is no mapping.
type heapMemory struct {
	limit uint64
	b     []byte
}

// Reallocate implements experimental.LinearMemory.
func (m *heapMemory) Reallocate(size uint64) []byte {
	if size > m.limit {
		return nil
	}
	if grown := int(size) - len(m.b); grown > 0 { //nolint:gosec // within the limit
		m.b = append(slices.Clip(m.b), make([]byte, grown)...)
	}
	return m.b[:size]
}

// Free implements experimental.LinearMemory.
func (m *heapMemory) Free() { m.b = nil }
