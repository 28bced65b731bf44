package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"github.com/vespiary/vespiary/host/internal/runtime/image"
	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
)

// State is what an instance is made of between two calls. It does not alias the
// instance. Whoever makes another instance of it must give that one the same
// Config.Memory and Config.Vars, or the guest can tell.
type State struct {
	Base    string            // digest of the base image that Pages differ from
	Size    uint64            // of linear memory, bytes
	Globals []uint64          // the module's mutable globals
	Pages   []Page            // those that differ from the base, ascending
	Vars    map[string][]byte // Extism's variables
}

// Page is a piece of linear memory.
type Page struct {
	Number uint32 // at address Number * image.PageSize
	Data   []byte // image.PageSize bytes
}

var (
	// ErrNoImage is wrapped by errors about instances that have no State. Their
	// text gives the reasons.
	ErrNoImage = errors.New("the plugin cannot be hibernated")
	// ErrBase is wrapped by the error of Instantiate with a State that another
	// module, or another version of the host, has made. Replay the calls instead.
	ErrBase = errors.New("the state was made from another base image")
)

func noImage(reasons []string) error {
	return fmt.Errorf("%w: %s", ErrNoImage, strings.Join(reasons, "; "))
}

// State implements Instance.
func (i *nativeInstance) State(ctx context.Context) (*State, error) {
	if err := i.begin(ctx); err != nil {
		return nil, err
	}
	defer i.end("")
	if i.base == nil {
		return nil, noImage(i.noImage)
	}
	s := &State{Base: i.base.digest, Globals: i.globals(), Vars: cloneVars(i.vars.m)}
	if i.memory != nil {
		i.base.observe(i.memory.Memory)
		s.Size, s.Pages = uint64(len(i.bytes())), changedPages(i.base.image, i.memory.Memory)
	}
	return s, nil
}

// changedPages copies what m does not have from b.
func changedPages(b *image.Base, m *image.Memory) []Page {
	var pages []Page
	for n, page := range b.Changed(m) {
		pages = append(pages, Page{n, page})
	}
	data := make([]byte, 0, len(pages)*image.PageSize)
	for n := range pages {
		data = append(data, pages[n].Data...)
		pages[n].Data = data[n*image.PageSize:][:image.PageSize:image.PageSize]
	}
	return pages
}

// check demands of a state, which comes from outside, that it can be one of an
// instance of base.
func (s *State) check(b *base, limit uint64) error {
	switch {
	case s.Base != b.digest:
		return fmt.Errorf("restore: %w: it names %s, and this host's is %s; replay the calls instead", ErrBase, s.Base, b.digest)
	case s.Size < b.image.Size() || s.Size%wasm.PageSize != 0:
		return damaged("its memory has %d bytes", s.Size)
	case s.Size > limit:
		return fmt.Errorf("restore: the state has %d bytes of memory and the limit is %d; raise the memory limit", s.Size, limit)
	case len(s.Globals) != len(b.globals):
		return damaged("it has %d globals where the module has %d", len(s.Globals), len(b.globals))
	}
	next := uint64(0)
	for _, p := range s.Pages {
		n := uint64(p.Number)
		if n < next || (n+1)*image.PageSize > s.Size || len(p.Data) != image.PageSize {
			return damaged("page %d of %d bytes is out of place", n, len(p.Data))
		}
		next = n + 1
	}
	if sizeOfVars(s.Vars) > maxVars {
		return damaged("its variables exceed %d bytes", maxVars)
	}
	return nil
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("restore: the state is damaged: %s; replay the calls instead", fmt.Sprintf(format, args...))
}

// restore makes a guest that has not run yet into what s says.
func (i *nativeInstance) restore(s *State) error {
	i.vars.m, i.vars.size = cloneVars(s.Vars), sizeOfVars(s.Vars)
	for n, v := range s.Globals {
		if err := i.setGlobal(i.module.code.globals[n], v); err != nil {
			return err
		}
	}
	if i.memory == nil {
		if s.Size > 0 {
			return damaged("it has memory and the module has none")
		}
		return nil
	}
	more := (s.Size - uint64(len(i.bytes()))) / wasm.PageSize
	if _, ok := i.guest.Memory().Grow(uint32(more)); !ok { //nolint:gosec // at most 65536
		return damaged("its memory of %d bytes is more than the module allows", s.Size)
	}
	if err := i.base.image.Restore(i.memory.Memory); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	i.memory.lend(i.base.lends(len(s.Pages)))
	for _, p := range s.Pages {
		copy(i.bytes()[uint64(p.Number)*image.PageSize:], p.Data)
	}
	return nil
}

// globals returns the values of the module's mutable globals.
func (i *nativeInstance) globals() []uint64 {
	values := make([]uint64, len(i.module.code.globals))
	for n, name := range i.module.code.globals {
		g := i.guest.ExportedGlobal(name)
		values[n] = g.Get() & maskOf(g)
	}
	return values
}

func (i *nativeInstance) setGlobal(name string, v uint64) error {
	g, ok := i.guest.ExportedGlobal(name).(api.MutableGlobal)
	if !ok || v&^maskOf(g) != 0 {
		return damaged("%#x is no value of the global %s", v, name)
	}
	g.Set(v)
	return nil
}

// maskOf has the bits of a global's type.
func maskOf(g api.Global) uint64 {
	if t := g.Type(); t == api.ValueTypeI32 || t == api.ValueTypeF32 {
		return math.MaxUint32
	}
	return math.MaxUint64
}

// bytes is the guest's linear memory, empty if it has none.
func (i *nativeInstance) bytes() []byte {
	if i.memory == nil {
		return nil
	}
	return i.memory.Bytes()
}

// cloneVars returns nil for none, so that equal states are equal to every tool.
func cloneVars(vars map[string][]byte) map[string][]byte {
	if len(vars) == 0 {
		return nil
	}
	out := maps.Clone(vars)
	for name, value := range out {
		out[name] = bytes.Clone(value)
	}
	return out
}

func sizeOfVars(vars map[string][]byte) int {
	size := 0
	for name, value := range vars {
		size += len(name) + len(value)
	}
	return size
}
