package wasm

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

// cursor reads a slice from front to back. The first failure is kept in err;
// from then on every read returns zero values and nothing moves, so that a
// decoder checks once at its end. Loops over a count are safe because count
// never returns more entries than the remaining bytes can hold.
type cursor struct {
	b    []byte
	at   int
	base int // position of b[0] in the module
	err  error
}

// fail records the first failure, at the current position, and stops all reading.
func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = &Error{Offset: c.base + c.at, Reason: fmt.Sprintf(format, args...)}
		c.at = len(c.b)
	}
}

func (c *cursor) done() bool { return c.at >= len(c.b) }

func (c *cursor) left() int { return len(c.b) - c.at }

// finish reports the first failure, or bytes that were left over.
func (c *cursor) finish() error {
	if c.err == nil && !c.done() {
		c.fail("%d bytes too many in this section", c.left())
	}
	return c.err
}

func (c *cursor) u8() byte {
	if c.done() {
		c.fail("the module ends too early; it may be truncated, build or copy it again")
		return 0
	}
	c.at++
	return c.b[c.at-1]
}

// u32 reads an unsigned LEB128 of at most 32 bits.
func (c *cursor) u32() uint32 {
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		b := c.u8()
		if shift == 28 && b > 0x0f {
			break
		}
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
	c.fail("integer is wider than 32 bits")
	return 0
}

// skipLEB passes over a LEB128 of at most size bytes whose value nobody needs.
func (c *cursor) skipLEB(size int) {
	for range size {
		if c.u8() < 0x80 {
			return
		}
	}
	c.fail("integer is longer than %d bytes", size)
}

// bytes returns the next n bytes without copying them.
func (c *cursor) bytes(n uint32) []byte {
	if int64(n) > int64(c.left()) {
		c.fail("length %d exceeds the %d bytes that follow", n, c.left())
		return nil
	}
	c.at += int(n)
	return c.b[c.at-int(n) : c.at : c.at]
}

// name reads a string with its length before it.
func (c *cursor) name() string {
	b := c.bytes(c.u32())
	if !utf8.Valid(b) {
		c.fail("name is not UTF-8")
	}
	return string(b)
}

// count reads the length of a vector whose entries take at least size bytes each.
func (c *cursor) count(what string, limit, size int) int {
	n := c.u32()
	switch {
	case int64(n) > int64(limit):
		c.fail("%d %s exceed the limit of %d", n, what, limit)
	case int64(n)*int64(size) > int64(c.left()):
		c.fail("%d %s do not fit the %d bytes that follow", n, what, c.left())
	default:
		return int(n)
	}
	return 0
}
