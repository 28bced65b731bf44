package image

import (
	"bytes"
	"testing"
)

// blind is a base on a system that does not tell which pages were written to.
func blind(tb testing.TB, content []byte) *Base {
	tb.Helper()
	b := mapped(tb, content)
	if b.file != nil && b.file.pagemap != nil {
		_ = b.file.pagemap.Close()
		b.file.pagemap = nil
	}
	return b
}

// TestPrivate: where the system tells, only what was written to counts.
func TestPrivate(t *testing.T) {
	b := mapped(t, content(32))
	defer func() { _ = b.Close() }()
	if b.file.pagemap == nil {
		t.Skip("this system does not give /proc/self/pagemap")
	}
	m := restored(t, b, NewMemory, 40*PageSize)
	_ = bytes.Count(m.Bytes(), []byte{1})
	m.Bytes()[PageSize]++
	m.Bytes()[7*PageSize]++
	m.Bytes()[36*PageSize]++
	if got := b.Private(m); got != 2*PageSize {
		t.Errorf("%d bytes are private, want two pages", got)
	}
}
