//go:build !wasip1

package vespiary_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/vespiary/vespiary/abi"
)

// build compiles the Go package in folder to Wasm once for all tests.
func build(t *testing.T, folder string, arguments ...string) []byte {
	t.Helper()
	key := folder + " " + strings.Join(arguments, " ")
	once, _ := builds.LoadOrStore(key, sync.OnceValues(func() ([]byte, error) { return compile(folder, arguments) }))
	b, err := once.(func() ([]byte, error))()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var builds sync.Map

func compile(folder string, arguments []string) ([]byte, error) {
	to, err := os.MkdirTemp("", "guest")
	if err != nil {
		return nil, err
	}
	out := filepath.Join(to, "guest.wasm")
	arguments = append([]string{"build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-buildmode=c-shared", "-o", out}, arguments...)
	cmd := exec.Command("go", append(arguments, ".")...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if b, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build in %s: %w: %s", folder, err, b)
	}
	wasm, err := os.ReadFile(out)
	return wasm, errors.Join(err, os.RemoveAll(to))
}

// wasmHost is the least host that a guest runs on: Extism's memory blocks, the
// bulk copies of vespiary:mem, and capabilities that a test answers.
type wasmHost struct {
	answer func(name string, request []byte) []byte
	config map[string]string

	module  api.Module
	memory  []byte            // of all blocks; block 0 is none
	lengths map[uint64]uint64 // of the blocks in use
	input   []byte
	output  []byte
	err     string
	logs    []string
	asked   []string // requests to capabilities
}

// newWasmHost instantiates a guest, whose every capability answer performs.
func newWasmHost(t *testing.T, wasm []byte, answer func(name string, request []byte) []byte) *wasmHost {
	t.Helper()
	return newWasmHostOn(t, wazero.NewRuntimeConfigInterpreter(), wasm, answer)
}

func newWasmHostOn(t *testing.T, engine wazero.RuntimeConfig, wasm []byte, answer func(name string, request []byte) []byte) *wasmHost {
	t.Helper()
	ctx := t.Context()
	r := wazero.NewRuntimeWithConfig(ctx, engine)
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	h := &wasmHost{answer: answer, config: map[string]string{}, memory: make([]byte, 8), lengths: map[uint64]uint64{}}
	compiled, err := r.CompileModule(ctx, wasm)
	if err != nil {
		t.Fatal(err)
	}
	h.environment(t, r)
	h.capabilities(t, r, importsOf(t, wasm)[abi.NamespaceUser])
	h.module, err = r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithStartFunctions("_initialize"))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *wasmHost) environment(t *testing.T, r wazero.Runtime) {
	t.Helper()
	env := r.NewHostModuleBuilder(abi.NamespaceEnv)
	for name, f := range map[string]any{
		"alloc":          func(_ context.Context, n uint64) uint64 { return h.block(make([]byte, n)) },
		"free":           func(_ context.Context, b uint64) { h.free(t, b) },
		"length":         func(_ context.Context, b uint64) uint64 { return h.lengths[b] },
		"load_u8":        func(_ context.Context, at uint64) uint32 { return uint32(h.memory[at]) },
		"load_u64":       func(_ context.Context, at uint64) uint64 { return binary.LittleEndian.Uint64(h.memory[at:]) },
		"store_u8":       func(_ context.Context, at uint64, v uint32) { h.memory[at] = byte(v) },
		"store_u64":      func(_ context.Context, at, v uint64) { binary.LittleEndian.PutUint64(h.memory[at:], v) },
		"input_length":   func(context.Context) uint64 { return uint64(len(h.input)) },
		"input_load_u8":  func(_ context.Context, at uint64) uint32 { return uint32(h.input[at]) },
		"input_load_u64": func(_ context.Context, at uint64) uint64 { return binary.LittleEndian.Uint64(h.input[at:]) },
		"output_set":     func(_ context.Context, b, n uint64) { h.output = bytes.Clone(h.memory[b : b+n]); h.free(t, b) },
		"error_set":      func(_ context.Context, b uint64) { h.err = string(h.bytes(b)); h.free(t, b) },
		"config_get":     func(_ context.Context, b uint64) uint64 { return h.setting(string(h.bytes(b))) },
		"log_info":       func(_ context.Context, b uint64) { h.logs = append(h.logs, string(h.bytes(b))) },
		"log_warn":       func(_ context.Context, b uint64) { h.logs = append(h.logs, string(h.bytes(b))) },
		"log_error":      func(_ context.Context, b uint64) { h.logs = append(h.logs, string(h.bytes(b))) },
	} {
		env = env.NewFunctionBuilder().WithFunc(f).Export(name)
	}
	mem := r.NewHostModuleBuilder(abi.NamespaceMem).
		NewFunctionBuilder().WithFunc(func(_ context.Context, m api.Module, p, n uint32) { m.Memory().Write(p, h.input[:n]) }).Export("input_read").
		NewFunctionBuilder().WithFunc(func(_ context.Context, m api.Module, b uint64, p, n uint32) { m.Memory().Write(p, h.bytes(b)[:n]) }).Export("block_read").
		NewFunctionBuilder().WithFunc(func(_ context.Context, m api.Module, p, n uint32) uint64 {
		view, _ := m.Memory().Read(p, n)
		return h.block(view)
	}).Export("block_new")
	for _, b := range []wazero.HostModuleBuilder{env, mem} {
		if _, err := b.Instantiate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func (h *wasmHost) capabilities(t *testing.T, r wazero.Runtime, names []string) {
	t.Helper()
	user := r.NewHostModuleBuilder(abi.NamespaceUser)
	for _, name := range names {
		user = user.NewFunctionBuilder().WithFunc(func(_ context.Context, b uint64) uint64 {
			h.asked = append(h.asked, string(h.bytes(b)))
			return h.block(h.answer(name, bytes.Clone(h.bytes(b))))
		}).Export(name)
	}
	if _, err := user.Instantiate(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// importsOf reads a module's import section: names by namespace, of functions,
// which are all that Go imports.
func importsOf(t *testing.T, wasm []byte) map[string][]string {
	t.Helper()
	b := bytes.NewReader(wasm[8:])
	number := func() uint64 {
		n, err := binary.ReadUvarint(b)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	text := func() string {
		s := make([]byte, number())
		if _, err := io.ReadFull(b, s); err != nil {
			t.Fatal(err)
		}
		return string(s)
	}
	for section := number(); section != 2; section = number() {
		if _, err := b.Seek(int64(number()), io.SeekCurrent); err != nil {
			t.Fatal(err)
		}
	}
	number() // the section's length
	names := map[string][]string{}
	for range number() {
		namespace, name := text(), text()
		if kind := number(); kind != 0 {
			t.Fatalf("%s.%s is not a function", namespace, name)
		}
		number() // its type
		names[namespace] = append(names[namespace], name)
	}
	return names
}

func (h *wasmHost) block(b []byte) uint64 {
	at := uint64(len(h.memory))
	h.memory = append(append(h.memory, b...), make([]byte, 8)...) // no two blocks touch
	h.lengths[at] = uint64(len(b))
	return at
}

func (h *wasmHost) bytes(b uint64) []byte { return h.memory[b : b+h.lengths[b]] }

func (h *wasmHost) free(t *testing.T, b uint64) {
	t.Helper()
	if _, ok := h.lengths[b]; !ok {
		t.Errorf("block %d is freed and not in use", b)
	}
	delete(h.lengths, b)
}

func (h *wasmHost) setting(key string) uint64 {
	value, ok := h.config[key]
	if !ok {
		return 0
	}
	return h.block([]byte(value))
}

// call runs an export. A guest must leave no block behind but its output.
func (h *wasmHost) call(t *testing.T, export string, input []byte) ([]byte, error) {
	t.Helper()
	h.input, h.output, h.err = input, nil, ""
	if len(h.lengths) == 0 {
		h.memory = h.memory[:8]
	}
	results, err := h.module.ExportedFunction(export).Call(t.Context())
	if err != nil {
		return nil, err
	}
	if len(h.lengths) != 0 {
		t.Errorf("%s leaves %d blocks behind", export, len(h.lengths))
	}
	if results[0] != 0 {
		return nil, errors.New(h.err)
	}
	return h.output, nil
}
