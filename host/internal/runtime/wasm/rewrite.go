package wasm

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/vespiary/vespiary/host/internal/runtime/wasm/format"
)

// nameSection is the custom section with the names of functions, which stack
// traces show.
const nameSection = "name"

// Strip returns the module without its custom sections, so that modules that
// differ only in those compile to the same code. The section with function names
// stays if it is well formed.
func Strip(module []byte) ([]byte, error) {
	all, err := format.Split(module)
	if err != nil {
		return nil, err
	}
	named := false
	kept := slices.DeleteFunc(all, func(s format.Section) bool {
		if s.ID != format.SectionCustom {
			return false
		}
		drop := named || s.Name != nameSection || !validNames(s.Body)
		named = named || !drop
		return drop
	})
	return format.Join(kept), nil
}

// WithSection returns the module with payload as its only custom section of this
// name, at the end.
func WithSection(module []byte, name string, payload []byte) ([]byte, error) {
	if !utf8.ValidString(name) {
		return nil, fmt.Errorf("wasm: section name %q is not UTF-8", name)
	}
	all, err := format.Split(module)
	if err != nil {
		return nil, err
	}
	kept := slices.DeleteFunc(all, func(s format.Section) bool { return s.ID == format.SectionCustom && s.Name == name })
	return format.Join(append(kept, format.Section{ID: format.SectionCustom, Name: name, Body: payload})), nil
}

// RenameImport returns the module with each import renamed by f, which gets and
// returns module and name.
func RenameImport(module []byte, f func(module, name string) (string, string)) ([]byte, error) {
	return rewrite(module, format.SectionImport, func(c *format.Cursor) []byte {
		n := c.Count("imports", format.MaxImports, 4)
		out := format.AppendCount(nil, n)
		for range n {
			i := c.Import()
			i.Module, i.Name = f(i.Module, i.Name)
			out = format.AppendImport(out, i)
		}
		return out
	})
}

// ClampTables returns the module with the maximum of every table lowered to
// limit, because table.grow is not subject to the limit on linear memory.
func ClampTables(module []byte, limit uint32) ([]byte, error) {
	return rewrite(module, format.SectionTable, func(c *format.Cursor) []byte {
		n := c.Count("tables", format.MaxTables, 3)
		out := format.AppendCount(nil, n)
		for range n {
			t := c.TableType()
			t.Size = t.Size.Clamp(limit)
			out = format.AppendTableType(out, t)
		}
		return out
	})
}

// rewrite replaces the body of the section id by what f makes of it.
func rewrite(module []byte, id byte, f func(*format.Cursor) []byte) ([]byte, error) {
	all, err := format.Split(module)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(s format.Section) bool { return s.ID == id })
	if i < 0 {
		return module, nil
	}
	c := all[i].Cursor()
	all[i].Body = f(c)
	if err := c.Finish(); err != nil {
		return nil, err
	}
	return format.Join(all), nil
}

// validNames reports whether a name section holds what it declares. Only the
// subsections that a decoder allocates for by count are looked into: module
// name, function names and local names.
func validNames(b []byte) bool {
	c := format.Section{Body: b}.Cursor()
	for !c.Done() {
		id := c.U8()
		if in := (format.Section{Body: c.Bytes(c.U32())}).Cursor(); !validNamesOf(id, in) {
			return false
		}
	}
	return c.Finish() == nil
}

// validNamesOf reports whether the subsection id holds what it declares.
func validNamesOf(id byte, c *format.Cursor) bool {
	switch id {
	case 0:
		c.Name()
	case 1:
		nameMap(c)
	case 2:
		for range c.Count("functions", c.Left(), 2) {
			c.U32()
			nameMap(c)
		}
	default:
		return true
	}
	return c.Finish() == nil
}

// nameMap passes over pairs of an index and a name.
func nameMap(c *format.Cursor) {
	for range c.Count("names", c.Left(), 2) {
		c.U32()
		c.Name()
	}
}
