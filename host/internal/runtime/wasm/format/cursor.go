package format

import (
	"fmt"
	"unicode/utf8"
)

// Error says where in a module the reader stopped and why.
type Error struct {
	Offset int // bytes from the start of the module
	Reason string
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("wasm: at byte %d: %s", e.Offset, e.Reason)
}

// Cursor reads a slice from front to back. The first failure is kept in err;
// from then on every read returns zero values and nothing moves, so that a
// decoder checks once at its end. Loops over a count are safe because count
// never returns more entries than the remaining bytes can hold.
type Cursor struct {
	b    []byte
	at   int
	base int // position of b[0] in the module
	err  error
}

// Fail records the first failure, at the current position, and stops all reading.
// Its arguments are those of fmt.Sprintf.
func (c *Cursor) Fail(format string, args ...any) {
	if c.err == nil {
		c.err = &Error{Offset: c.base + c.at, Reason: fmt.Sprintf(format, args...)}
		c.at = len(c.b)
	}
}

// Done reports whether nothing is left to read.
func (c *Cursor) Done() bool { return c.at >= len(c.b) }

// Left is the number of bytes that are left to read.
func (c *Cursor) Left() int { return len(c.b) - c.at }

// Finish reports the first failure, or bytes that were left over.
func (c *Cursor) Finish() error {
	if c.err == nil && !c.Done() {
		c.Fail("%d bytes too many in this section", c.Left())
	}
	return c.err
}

// U8 reads a byte.
func (c *Cursor) U8() byte {
	if c.Done() {
		c.Fail("the module ends too early; it may be truncated, build or copy it again")
		return 0
	}
	c.at++
	return c.b[c.at-1]
}

// U32 reads an unsigned LEB128 of at most 32 bits.
func (c *Cursor) U32() uint32 {
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		b := c.U8()
		if shift == 28 && b > 0x0f {
			break
		}
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
	c.Fail("integer is wider than 32 bits")
	return 0
}

// skipLEB passes over a LEB128 of at most size bytes whose value nobody needs.
func (c *Cursor) skipLEB(size int) {
	for range size {
		if c.U8() < 0x80 {
			return
		}
	}
	c.Fail("integer is longer than %d bytes", size)
}

// Bytes returns the next n bytes without copying them.
func (c *Cursor) Bytes(n uint32) []byte {
	if int64(n) > int64(c.Left()) {
		c.Fail("length %d exceeds the %d bytes that follow", n, c.Left())
		return nil
	}
	c.at += int(n)
	return c.b[c.at-int(n) : c.at : c.at]
}

// Name reads a string with its length before it.
func (c *Cursor) Name() string {
	b := c.Bytes(c.U32())
	if !utf8.Valid(b) {
		c.Fail("name is not UTF-8")
	}
	return string(b)
}

// Count reads the length of a vector whose entries take at least size bytes each.
func (c *Cursor) Count(what string, limit, size int) int {
	n := c.U32()
	switch {
	case int64(n) > int64(limit):
		c.Fail("%d %s exceed the limit of %d", n, what, limit)
	case int64(n)*int64(size) > int64(c.Left()):
		c.Fail("%d %s do not fit the %d bytes that follow", n, what, c.Left())
	default:
		return int(n)
	}
	return 0
}

// s32 reads a signed LEB128 of at most 32 bits.
func (c *Cursor) s32() uint32 {
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		b := c.U8()
		v |= uint32(b&0x7f) << shift
		if b >= 0x80 {
			continue
		}
		if shift < 28 && b&0x40 != 0 {
			v |= ^uint32(0) << (shift + 7)
		}
		if shift == 28 && b&0x78 != 0 && b&0x78 != 0x78 {
			break
		}
		return v
	}
	c.Fail("integer is wider than 32 bits")
	return 0
}
