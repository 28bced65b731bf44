package image

import "slices"

// Memory is the linear memory of one instance. It implements wazero's
// experimental.LinearMemory. It is for one goroutine at a time.
type Memory struct {
	b      []byte // mapped: the whole range, otherwise what there is
	size   uint64
	limit  uint64
	mapped bool
}

// NewMemory returns an empty memory that grows to limit bytes, at most 4 GiB.
// Where the system allows it, its range is reserved outside of the Go heap:
// growing never copies, a page costs nothing before it is touched, and Free
// returns it at once.
func NewMemory(limit uint64) *Memory {
	m := &Memory{limit: limit}
	if b := reserve(limit); b != nil {
		m.b, m.mapped = b, true
	}
	return m
}

// Reallocate sets the size, which never shrinks, and returns all bytes; beyond
// the limit nil. What is new is zero.
func (m *Memory) Reallocate(size uint64) []byte {
	if size > m.limit {
		return nil
	}
	if grown := int(size) - len(m.b); !m.mapped && grown > 0 { //nolint:gosec // within the limit
		m.b = append(slices.Clip(m.b), make([]byte, grown)...)
	}
	m.size = size
	return m.b[:size:len(m.b)]
}

// Bytes returns the memory's bytes, which are valid until it grows or is freed.
func (m *Memory) Bytes() []byte { return m.b[:m.size] }

// Free gives the memory up; nobody may touch its bytes any more. It is idempotent.
func (m *Memory) Free() {
	if m.mapped {
		release(m.b)
	}
	m.b, m.size, m.limit, m.mapped = nil, 0, 0, false
}
