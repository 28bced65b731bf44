package runtime

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
)

// namespaceGate is where the import of a function that Extism answers by itself,
// but that must pass the host, is moved to when a module is prepared.
const namespaceGate = "vespiary:gate"

// blockMemory is the block memory of either engine.
type blockMemory interface {
	read(off uint64) ([]byte, error) // of offset 0 nothing; of what is no block an error
	write(b []byte) (uint64, error)  // a new block, 0 for no bytes
	release(off uint64)              // frees a block, and ignores what is none
}

// world is what the services of one instance act on.
type world struct {
	host   Host
	log    func(slog.Level, string)
	faults *slog.Logger // for panics of the host
	status int          // of the last response to http_request
	header []byte       // of the same, a JSON object
}

// forget drops the last response: what a guest reads never depends on earlier
// calls, because an instance may be made anew between two.
func (w *world) forget() { w.status, w.header = 0, nil }

// service is a host function that both engines offer in the same way. Run gets
// the arguments in stack and leaves its result there.
type service struct {
	namespace, name string
	typ             wasm.FuncType
	run             func(ctx context.Context, w *world, mem blockMemory, stack []uint64) error
}

var (
	typeNone    = wasm.FuncType{}
	typeGet     = wasm.FuncType{Results: []wasm.ValueType{wasm.I64}}
	typeGet32   = wasm.FuncType{Results: []wasm.ValueType{wasm.I32}}
	typePut     = wasm.FuncType{Params: []wasm.ValueType{wasm.I64}}
	typePut2    = wasm.FuncType{Params: []wasm.ValueType{wasm.I64, wasm.I64}}
	typePutByte = wasm.FuncType{Params: []wasm.ValueType{wasm.I64, wasm.I32}}
	typeMap     = wasm.FuncType{Params: []wasm.ValueType{wasm.I64}, Results: []wasm.ValueType{wasm.I64}}
	typeMap32   = wasm.FuncType{Params: []wasm.ValueType{wasm.I64}, Results: []wasm.ValueType{wasm.I32}}
	typeMap2    = wasm.FuncType{Params: []wasm.ValueType{wasm.I64, wasm.I64}, Results: []wasm.ValueType{wasm.I64}}
)

// services returns the gated functions of Extism and the capabilities by name.
func services(capabilities []string) []service {
	all := []service{
		{namespaceGate, "http_request", typeMap2, httpRequest},
		{namespaceGate, "http_status_code", typeGet32, httpStatus},
		{namespaceGate, "http_headers", typeGet, httpHeaders},
		{namespaceGate, "get_log_level", typeGet32, logLevel},
	}
	for name, level := range logLevels {
		all = append(all, service{namespaceGate, name, typePut, logAt(level)})
	}
	for _, name := range capabilities {
		all = append(all, service{abi.NamespaceUser, name, typeMap, capability(name)})
	}
	return all
}

// capability carries one block to the host and its answer back. Who frees the
// request is up to the guest, as in Extism.
func capability(name string) func(context.Context, *world, blockMemory, []uint64) error {
	return func(ctx context.Context, w *world, mem blockMemory, stack []uint64) error {
		request, err := mem.read(stack[0])
		if err != nil {
			return err
		}
		answer, err := w.call(ctx, name, append([]byte(nil), request...))
		if err != nil {
			return err
		}
		stack[0], err = mem.write(answer)
		return err
	}
}

// call asks the host. A panic there is a fault of the host that ends this guest
// and no other: wazero would recover from it too, and lose the stack.
func (w *world) call(ctx context.Context, name string, request []byte) (answer []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			w.faults.ErrorContext(ctx, "host call panicked", "call", name, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("host call %s: fault of the host: %v", name, p)
		}
	}()
	if answer, err = w.host.Call(ctx, name, request); err != nil {
		return nil, fmt.Errorf("host call %s: %w", name, err)
	}
	return answer, ctx.Err() // no guest sees an answer after its time
}

var logLevels = map[string]slog.Level{
	"log_trace": LevelTrace,
	"log_debug": slog.LevelDebug,
	"log_info":  slog.LevelInfo,
	"log_warn":  slog.LevelWarn,
	"log_error": slog.LevelError,
}

// maxMessage is how much of what a guest logs at once is passed on, in bytes.
const maxMessage = 64 << 10

// logAt logs a block, of a very long one the beginning, and frees it, as Extism does.
func logAt(level slog.Level) func(context.Context, *world, blockMemory, []uint64) error {
	return func(_ context.Context, w *world, mem blockMemory, stack []uint64) error {
		message, err := mem.read(stack[0])
		if err != nil {
			return err
		}
		if w.log != nil {
			w.log(level, string(message[:min(len(message), maxMessage)]))
		}
		mem.release(stack[0])
		return nil
	}
}

// logLevel tells the guest from which level on its messages are wanted: 0 for
// all, or Extism's off.
func logLevel(_ context.Context, w *world, _ blockMemory, stack []uint64) error {
	if stack[0] = 0; w.log == nil {
		stack[0] = math.MaxInt32
	}
	return nil
}
