package runtime

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
)

// Host answers a guest's host calls. A failure the guest should reason about is
// part of the answer (an abi.Result with an error); an error returned here ends
// the guest, and Instance.Call returns it wrapped. Call may take minutes, and
// must return soon after ctx is done. Its context is derived from the one given
// to Instance.Call. The request belongs to the callee.
type Host interface {
	Call(ctx context.Context, name string, request []byte) ([]byte, error)
}

// Options configure an engine. The zero value works and offers no capability.
type Options struct {
	// CacheDir holds compiled code across restarts. It must be writable by the
	// host alone, because what is in it is executed. Empty means no cache.
	CacheDir string
	// MemoryLimit bounds the linear memory of an instance, in bytes, and
	// separately the blocks it holds. Default 256 MiB, maximum 4 GiB. The call
	// stack of a guest that recurses comes on top, up to about 100 MB until it
	// overflows: wazero keeps it on the Go heap and has no option for it.
	MemoryLimit uint64
	// MaxModule bounds the size of a module in bytes. Default 64 MiB. Compiling
	// takes time in proportion to it, and in a hostile module up to a minute a
	// function; the context of Load is heeded between functions.
	MaxModule int64
	// Imports names the capabilities that guests may import. A module that
	// imports another one is refused by Load.
	Imports []string
	// Log receives what concerns the engine itself. Nil discards it.
	Log *slog.Logger
}

// Engine compiles modules. It may be used by several goroutines.
type Engine interface {
	// Load checks and compiles a module. Modules that differ only in custom
	// sections share their code. A module that can never run is refused with
	// an error that is ErrRefused. The bytes are not retained.
	Load(ctx context.Context, module []byte) (Module, error)
	// Memory returns what all instances need in bytes, 0 where the engine cannot
	// tell. An instance counts with its linear memory, but of its base image with
	// the most that one of its kind was seen to have changed, and with what wazero
	// keeps for it. Blocks come on top.
	Memory() int64
	// Close closes all modules. Code that instances still use is freed when
	// the last of them is closed. Close is idempotent.
	Close(ctx context.Context) error
}

// Module is a compiled module. It may be used by several goroutines.
type Module interface {
	Info() Info
	// Instantiate makes an instance and runs its start function and
	// initialiser (_initialize, else __wasm_call_ctors; then hs_init) within
	// ctx. A command module's _start is not run: it can be called.
	Instantiate(ctx context.Context, c Config) (Instance, error)
	// Close gives the module up; instances that exist go on. Idempotent.
	Close(ctx context.Context) error
}

// Info describes a loaded module.
type Info struct {
	Digest       string // sha256:… of the bytes given to Load
	Size         int64  // of these bytes
	Imports      []wasm.Import
	Exports      []wasm.Export
	Capabilities []string // what it may ask the host for, sorted
	Memory       wasm.Range
	Manifest     []byte   // custom section abi.ManifestSection, nil without one
	Prepared     int      // prepare.Version; 0 on the engine of Extism's SDK
	NoImage      []string // why its instances have no image, as far as the module tells; nil when they have
	Reseeds      bool     // exports vespiary_reseed
}

// Config is the world of one instance. Clock and Random are required, so that no
// guest ever reads time or randomness that nobody decided on.
type Config struct {
	Host   Host             // nil: a module that imports a capability is refused
	Clock  func() time.Time // wall and monotonic clock; must not run backwards
	Random io.Reader
	// Sleep waits for d or until ctx is done. Nil waits in real time.
	Sleep func(ctx context.Context, d time.Duration)
	// Vars is what Extism's config_get reads. It is not copied and must not change.
	Vars map[string]string
	// Log receives the guest's log calls and each line that it prints: standard
	// output at slog.LevelInfo, standard error at slog.LevelWarn. Extism's trace
	// level is LevelTrace. Nil discards.
	Log func(level slog.Level, message string)

	// The engine of Extism's SDK heeds none of these.

	// Fuel is what the instance draws from. Nil is without limit.
	Fuel Fuel
	// Memory bounds the linear memory of this instance, in bytes: memory.grow
	// fails beyond it. 0 stands for the engine's limit.
	Memory uint64
	// State is what the instance goes on from. Nil makes a fresh instance.
	State *State
}

// LevelTrace is the level of Extism's log_trace.
const LevelTrace = slog.LevelDebug - 4

// Instance is one running guest. It serves one call at a time.
type Instance interface {
	// Call runs an export of the type () -> () or () -> i32 with input and
	// returns its output, which belongs to the caller. A failure that the guest
	// reports is a *GuestError, and the instance goes on. A trap, an exit, the
	// end of ctx or an error of Host is a *TrapError: the instance is closed
	// then, and later calls fail with ErrUnusable.
	Call(ctx context.Context, export string, input []byte) ([]byte, error)
	// State returns what the instance is made of now, between two calls. The
	// error of an instance that cannot tell is ErrNoImage.
	State(ctx context.Context) (*State, error)
	// Fuel returns the fuel that all its calls have used. The same calls with the
	// same answers use the same.
	Fuel() int64
	// Close frees the instance, at once or when the call under way returns. It
	// is idempotent and may be called from any goroutine.
	Close(ctx context.Context) error
}

const (
	defaultMemory = 256 << 20
	maxMemory     = 4 << 30
)

func (o Options) withDefaults() Options {
	if o.MemoryLimit == 0 {
		o.MemoryLimit = defaultMemory
	}
	o.MemoryLimit = min(max(o.MemoryLimit, wasm.PageSize), maxMemory)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) pages() uint32 {
	return uint32(o.MemoryLimit / wasm.PageSize) //nolint:gosec // at most 65536
}
