package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/vespiary/vespiary/host/internal/runtime/image"
	"github.com/vespiary/vespiary/host/internal/runtime/prepare"
)

// base is what an instance is made of when it has been initialised, for all
// instances that start there.
type base struct {
	digest  string
	image   *image.Base
	globals []uint64
	vars    map[string][]byte
	lines   []line // what the guest logged meanwhile
	private atomic.Int64
}

// line is a line of a guest's log.
type line struct {
	level   slog.Level
	message string
}

// lends is how many bytes the image will hold for an instance that starts with
// this many pages of its own: all but the most that one was seen to copy, and none
// as long as none was seen.
func (b *base) lends(pages int) int64 {
	size, private := int64(b.image.Size()), b.private.Load() //nolint:gosec // at most 4 GiB
	if private == 0 {
		return 0
	}
	return max(size-max(private, int64(pages)*image.PageSize), 0)
}

// observe learns from an instance how much of the image it has copied.
func (b *base) observe(m *image.Memory) {
	n := int64(b.image.Private(m)) //nolint:gosec // at most 4 GiB
	for old := b.private.Load(); n > old && !b.private.CompareAndSwap(old, n); old = b.private.Load() {
	}
}

// bases are the base images of one code: one for all, or if the guest asks for
// its configuration while it is initialised, one for each content of Config.Vars.
type bases struct {
	mu  sync.Mutex
	all *making
	of  map[[sha256.Size]byte]*making
}

// maxIdle is how many base images of one code are kept that nobody uses.
const maxIdle = 8

// making is a base image that is being made, or was, or cannot be.
type making struct {
	refs  int // guarded by bases.mu
	ready chan struct{}

	// Set when ready is closed.
	base    *base
	reasons []string // why there is none: each instance is initialised by itself
	err     error    // why there is no instance either
	given   bool     // up, because the context of whoever made it was done
}

// enter takes a share of the making for env, and whether the caller must do it.
func (b *bases) enter(env map[string]string) (m *making, first bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m = b.all; m == nil {
		key := varsKey(env)
		if m = b.of[key]; m == nil {
			b.shrink()
			m, first = &making{ready: make(chan struct{})}, true
			if b.of == nil {
				b.of = map[[sha256.Size]byte]*making{}
			}
			b.of[key] = m
		}
	}
	m.refs++
	return m, first
}

// serveAll makes m the one for each content of Config.Vars.
func (b *bases) serveAll(m *making) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all = m
}

// shrink frees images that nobody uses, if there are many. They would be made
// again, and be the same.
func (b *bases) shrink() {
	for key, m := range b.of {
		if len(b.of) < maxIdle {
			return
		}
		if m.refs == 0 {
			m.free()
			delete(b.of, key)
		}
	}
}

// leave gives a share back. One that was given up is forgotten.
func (b *bases) leave(m *making) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m.refs--
	if m.gaveUp() {
		maps.DeleteFunc(b.of, func(_ [sha256.Size]byte, other *making) bool { return other == m })
	}
}

// free frees all images, when there are no instances any more.
func (b *bases) free() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.of {
		m.free()
	}
	b.all, b.of = nil, nil
}

// gaveUp reports whether making it is over because of the maker's context, which
// says nothing about the module.
func (m *making) gaveUp() bool {
	select {
	case <-m.ready:
		return m.given
	default:
		return false
	}
}

func (m *making) free() {
	if m.base != nil {
		_ = m.base.image.Close() // of memory that is not used any more
	}
}

// varsKey identifies the content of Config.Vars.
func varsKey(env map[string]string) (key [sha256.Size]byte) {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(env)) {
		writeSized(h, []byte(name))
		writeSized(h, []byte(env[name]))
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func writeSized(w io.Writer, b []byte) {
	_, _ = w.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(b)))) // hashes do not fail
	_, _ = w.Write(b)
}

// base returns the making for env once it is over, with one share taken. The
// first who asks makes it, everyone else waits.
func (m *nativeModule) base(ctx context.Context, env map[string]string) (*making, error) {
	for {
		mk, first := m.code.bases.enter(env)
		if first {
			m.make(ctx, env, mk)
		}
		err := mk.wait(ctx)
		if err == nil {
			return mk, nil
		}
		m.code.bases.leave(mk)
		if ctx.Err() != nil || !mk.gaveUp() {
			return nil, err
		}
	}
}

func (m *making) wait(ctx context.Context) error {
	select {
	case <-m.ready:
		return m.err
	case <-ctx.Done():
		return fmt.Errorf("initialise: %w", context.Cause(ctx))
	}
}

// make initialises an instance in a nursery and keeps what becomes of it.
func (m *nativeModule) make(ctx context.Context, env map[string]string, mk *making) {
	defer close(mk.ready)
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	n := newNursery(m.code.digest, cancel)
	m.engine.retain(m.code)
	i := m.newInstance(inner, n.config(env))
	defer i.close()
	err := i.start(inner, n.config(env))
	switch {
	case err == nil:
		mk.base = i.freeze(m.code.digest, n.lines)
	case n.reason != "":
		mk.reasons = []string{n.reason}
	case ctx.Err() != nil:
		mk.err, mk.given = err, true
	case errors.Is(err, errNurseryFuel):
		mk.err = refuse("%w", err)
	default:
		mk.reasons = []string{"it fails while it is initialised: " + err.Error()}
	}
	if !i.asked && !mk.given {
		m.code.bases.serveAll(mk)
	}
}

// freeze makes the base image of an instance that has been initialised.
func (i *nativeInstance) freeze(code [sha256.Size]byte, lines []line) *base {
	b := &base{globals: i.globals(), vars: cloneVars(i.vars.m), lines: lines}
	content := i.bytes()
	h := sha256.New()
	h.Write(binary.LittleEndian.AppendUint64([]byte("vespiary base image\x00"), prepare.Version))
	h.Write(code[:])
	for _, v := range b.globals {
		h.Write(binary.LittleEndian.AppendUint64(nil, v))
	}
	for _, name := range slices.Sorted(maps.Keys(b.vars)) {
		writeSized(h, []byte(name))
		writeSized(h, b.vars[name])
	}
	writeSized(h, content)
	b.digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	var err error
	if b.image, err = image.NewBase(content); err != nil {
		i.world.faults.Warn("instances of a plugin share no memory, because the system refused an image; raise its limits", "module", i.module.info.Digest, "error", err)
		b.image = image.CopyBase(content)
	}
	return b
}
