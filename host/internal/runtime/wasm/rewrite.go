package wasm

import (
	"encoding/binary"
	"fmt"
	"slices"
	"unicode/utf8"
)

// nameSection is the custom section with the names of functions, which stack
// traces show.
const nameSection = "name"

// Strip returns the module without its custom sections, so that modules that
// differ only in those compile to the same code. The section with function names
// stays if it is well formed.
func Strip(module []byte) ([]byte, error) {
	all, err := split(module)
	if err != nil {
		return nil, err
	}
	named := false
	kept := slices.DeleteFunc(all, func(s section) bool {
		if s.id != idCustom {
			return false
		}
		drop := named || s.name != nameSection || !validNames(s.body)
		named = named || !drop
		return drop
	})
	return join(kept), nil
}

// WithSection returns the module with payload as its only custom section of this
// name, at the end.
func WithSection(module []byte, name string, payload []byte) ([]byte, error) {
	if !utf8.ValidString(name) {
		return nil, fmt.Errorf("wasm: section name %q is not UTF-8", name)
	}
	all, err := split(module)
	if err != nil {
		return nil, err
	}
	kept := slices.DeleteFunc(all, func(s section) bool { return s.id == idCustom && s.name == name })
	return join(append(kept, section{id: idCustom, name: name, body: payload})), nil
}

// RenameImport returns the module with each import renamed by f, which gets and
// returns module and name.
func RenameImport(module []byte, f func(module, name string) (string, string)) ([]byte, error) {
	return rewrite(module, idImport, func(c *cursor) []byte {
		n := c.count("imports", maxImports, 4)
		out := appendCount(nil, n)
		for range n {
			mod, name := f(c.name(), c.name())
			out = appendString(appendString(out, mod), name)
			from := c.at
			c.importType()
			out = append(out, c.b[from:c.at]...)
		}
		return out
	})
}

// importType passes over the kind and the type of an import.
func (c *cursor) importType() {
	switch Kind(c.u8()) {
	case Func:
		c.u32()
	case Table:
		c.u8()
		c.limits("table")
	case Memory:
		c.limits("memory")
	case Global:
		c.bytes(2)
	default:
		c.fail("import of an unknown kind")
	}
}

// ClampTables returns the module with the maximum of every table lowered to
// limit, because table.grow is not subject to the limit on linear memory.
func ClampTables(module []byte, limit uint32) ([]byte, error) {
	return rewrite(module, idTable, func(c *cursor) []byte {
		n := c.count("tables", maxTables, 3)
		out := appendCount(nil, n)
		for range n {
			out = append(out, c.u8(), 1)
			r := c.limits("table")
			high := max(limit, r.Min)
			if r.Bounded {
				high = min(r.Max, high)
			}
			out = binary.AppendUvarint(out, uint64(r.Min))
			out = binary.AppendUvarint(out, uint64(high))
		}
		return out
	})
}

// rewrite replaces the body of the section id by what f makes of it.
func rewrite(module []byte, id byte, f func(*cursor) []byte) ([]byte, error) {
	all, err := split(module)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(s section) bool { return s.id == id })
	if i < 0 {
		return module, nil
	}
	c := &cursor{b: all[i].body, base: all[i].offset}
	all[i].body = f(c)
	if err := c.finish(); err != nil {
		return nil, err
	}
	return join(all), nil
}

// join is the inverse of split. Lengths are encoded in their shortest form.
func join(all []section) []byte {
	size := len(coreHeader)
	for _, s := range all {
		size += len(s.body) + len(s.name) + 16
	}
	out := append(make([]byte, 0, size), coreHeader...)
	for _, s := range all {
		var name []byte
		if s.id == idCustom {
			name = appendString(nil, s.name)
		}
		out = append(out, s.id)
		out = appendCount(out, len(name)+len(s.body))
		out = append(append(out, name...), s.body...)
	}
	return out
}

func appendString(b []byte, s string) []byte {
	return append(appendCount(b, len(s)), s...)
}

func appendCount(b []byte, n int) []byte {
	return binary.AppendUvarint(b, uint64(n)) //nolint:gosec // counts are not negative
}

// validNames reports whether a name section holds what it declares. Only the
// subsections that a decoder allocates for by count are looked into: module
// name, function names and local names.
func validNames(b []byte) bool {
	c := &cursor{b: b}
	for !c.done() {
		id := c.u8()
		in := &cursor{b: c.bytes(c.u32())}
		switch id {
		case 0:
			in.name()
		case 1:
			in.nameMap()
		case 2:
			for range in.count("functions", len(b), 2) {
				in.u32()
				in.nameMap()
			}
		default:
			in.at = len(in.b)
		}
		if c.err == nil {
			c.err = in.finish()
		}
	}
	return c.err == nil
}

// nameMap passes over pairs of an index and a name.
func (c *cursor) nameMap() {
	for range c.count("names", len(c.b), 2) {
		c.u32()
		c.name()
	}
}
