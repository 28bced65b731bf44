// Package image keeps the content of linear memories that many instances start
// from, and tells what an instance made of it.
//
// A Base is content, a Memory the bytes of one instance. On Linux a base is a
// sealed file in memory, and restoring it maps that file privately: nothing is
// copied before the instance writes, and then a page at a time. Elsewhere, and
// where the system refuses, restoring copies.
package image

import (
	"bytes"
	"fmt"
	"iter"
)

// PageSize is the unit in which memories are compared, in bytes. It is a property
// of stored states, and has nothing to do with the pages of the system.
const PageSize = 4096

// Base is the content that memories start from. It never changes. It may be used
// by several goroutines, but not after Close.
type Base struct {
	content []byte
	file    *file // nil: restoring copies
}

// NewBase returns a base of content, which is not retained. The error is that of
// the system, and CopyBase does without it.
func NewBase(content []byte) (*Base, error) {
	if len(content) == 0 {
		return &Base{}, nil
	}
	f, err := newFile(content)
	if err != nil {
		return nil, fmt.Errorf("image of %d bytes: %w", len(content), err)
	}
	if f == nil {
		return CopyBase(content), nil
	}
	return &Base{content: f.content(), file: f}, nil
}

// CopyBase returns a base whose content is copied into each memory.
func CopyBase(content []byte) *Base {
	return &Base{content: bytes.Clone(content)}
}

// Size returns the length of the content in bytes.
func (b *Base) Size() uint64 { return uint64(len(b.content)) }

// Close frees the base. Memories that were restored from it keep their content.
// It is idempotent.
func (b *Base) Close() error {
	b.content = nil
	if b.file == nil {
		return nil
	}
	f := b.file
	b.file = nil
	return f.close()
}

// Restore gives the content to the first Size bytes of m, which must have grown
// to that size and never have been written to.
func (b *Base) Restore(m *Memory) error {
	if m.size < b.Size() {
		return fmt.Errorf("restore an image of %d bytes into %d: grow the memory first", b.Size(), m.size)
	}
	if b.file != nil && m.mapped {
		return b.file.restore(m.b)
	}
	for n := 0; n < len(b.content); n += PageSize {
		page := b.content[n:min(n+PageSize, len(b.content))]
		if !zero(page) { // m is, and is not to be touched for it
			copy(m.b[n:], page)
		}
	}
	return nil
}

// Changed returns the pages of m, which was restored from b, that differ from
// the base, in ascending order; beyond the base from zero. They alias m, whose
// size must be a multiple of PageSize. Nobody may write to m meanwhile.
func (b *Base) Changed(m *Memory) iter.Seq2[uint32, []byte] {
	return func(yield func(uint32, []byte) bool) {
		for n := range b.touched(m) {
			at := uint64(n) * PageSize
			page := m.b[at : at+PageSize]
			if !b.equal(at, page) && !yield(n, page) {
				return
			}
		}
	}
}

func (b *Base) equal(at uint64, page []byte) bool {
	if at >= b.Size() {
		return zero(page)
	}
	same := b.content[at:min(at+PageSize, b.Size())]
	return bytes.Equal(page[:len(same)], same) && zero(page[len(same):])
}

// Private returns how many bytes m holds for itself, within what it was restored
// from b; an upper bound where the system does not tell.
func (b *Base) Private(m *Memory) uint64 {
	var n uint64
	for page := range b.touched(m) {
		if uint64(page)*PageSize >= b.Size() {
			break
		}
		n += PageSize
	}
	return min(n, b.Size())
}

// touched returns the pages of m that may differ from the base, ascending: those
// that the system has given m for itself, or all of them.
func (b *Base) touched(m *Memory) iter.Seq[uint32] {
	if b.file != nil && m.mapped {
		if pages := b.file.touched(m.Bytes()); pages != nil {
			return pages
		}
	}
	return func(yield func(uint32) bool) {
		for n := range uint32(m.size / PageSize) { //nolint:gosec // at most 4 GiB
			if !yield(n) {
				return
			}
		}
	}
}

var zeros [PageSize]byte

func zero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }
