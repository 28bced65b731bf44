package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
)

const (
	namespaceWASI = "wasi_snapshot_preview1"
	maxTable      = 1_000_000 // elements; table.grow stops there
	reseedExport  = "vespiary_reseed"
)

// prepared is a module that passed every check that needs no compiler.
type prepared struct {
	info Info
	code []byte // no custom sections, tables bounded, gated imports moved

	elements uint64 // of all tables, at first
}

// envTypes are the functions of extism:host/env. Those in gated never reach the
// engine's own implementation.
var envTypes = map[string]wasm.FuncType{
	"alloc": typeMap, "free": typePut, "length": typeMap, "length_unsafe": typeMap,
	"load_u8": typeMap32, "load_u64": typeMap, "store_u8": typePutByte, "store_u64": typePut2,
	"input_length": typeGet, "input_offset": typeGet, "input_load_u8": typeMap32, "input_load_u64": typeMap, "input_set": typePut2,
	"output_set": typePut2, "output_offset": typeGet, "output_length": typeGet,
	"error_set": typePut, "error_get": typeGet,
	"reset": typeNone, "memory_bytes": typeGet,
	"config_get": typeMap, "var_get": typeMap, "var_set": typePut2,
}

var gated = gatedTypes()

func gatedTypes() map[string]wasm.FuncType {
	types := map[string]wasm.FuncType{}
	for _, s := range services(nil) {
		types[s.name] = s.typ
	}
	return types
}

// bulkTypes are the functions of vespiary:mem.
var bulkTypes = map[string]wasm.FuncType{
	"input_read": {Params: []wasm.ValueType{wasm.I32, wasm.I32}},
	"block_read": {Params: []wasm.ValueType{wasm.I64, wasm.I32, wasm.I32}},
	"block_new":  {Params: []wasm.ValueType{wasm.I32, wasm.I32}, Results: []wasm.ValueType{wasm.I64}},
}

// preparer checks modules against what an engine offers.
type preparer struct {
	opts Options
	bulk bool // offers vespiary:mem
	wasi map[string]wasm.FuncType
}

func newPreparer(o Options, bulk bool) (preparer, error) {
	wasi, err := wasiTypes()
	if err != nil {
		return preparer{}, fmt.Errorf("start engine: %w", err)
	}
	return preparer{opts: o.withDefaults(), bulk: bulk, wasi: wasi}, nil
}

// wasiTypes asks wazero which functions of WASI it has.
func wasiTypes() (map[string]wasm.FuncType, error) {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer func() { _ = r.Close(ctx) }()
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
		return nil, err
	}
	types := map[string]wasm.FuncType{}
	for name, f := range r.Module(namespaceWASI).ExportedFunctionDefinitions() {
		types[name] = wasm.FuncType{Params: readTypes(f.ParamTypes()), Results: readTypes(f.ResultTypes())}
	}
	return types, nil
}

func readTypes(ts []api.ValueType) []wasm.ValueType {
	out := make([]wasm.ValueType, len(ts))
	for i, t := range ts {
		out[i] = wasm.ValueType(t)
	}
	return out
}

// prepare checks a module and makes it ready to compile.
func (p preparer) prepare(module []byte) (*prepared, error) {
	m, err := wasm.Read(module, wasm.Limits{Size: p.opts.MaxModule, Pages: p.opts.pages(), Table: maxTable})
	if err != nil {
		return nil, refuse("%w", err)
	}
	if err := p.checkImports(m); err != nil {
		return nil, err
	}
	info, err := describe(module, m)
	if err != nil {
		return nil, err
	}
	code, err := rewritten(module)
	if err != nil {
		return nil, refuse("%w", err)
	}
	made := &prepared{info: info, code: code}
	for _, t := range m.Tables {
		made.elements += uint64(t.Min)
	}
	return made, nil
}

// rewritten is what both engines start from.
func rewritten(module []byte) ([]byte, error) {
	code, err := wasm.Strip(module)
	if err == nil {
		code, err = wasm.RenameImport(code, gate)
	}
	if err == nil {
		code, err = wasm.ClampTables(code, maxTable)
	}
	return code, err
}

// gate moves the functions that must pass the host.
func gate(module, name string) (string, string) {
	if _, ok := gated[name]; ok && module == abi.NamespaceEnv {
		return namespaceGate, name
	}
	return module, name
}

// describe makes the Info of a module.
func describe(module []byte, m *wasm.Module) (Info, error) {
	sum := sha256.Sum256(module)
	info := Info{
		Digest:       "sha256:" + hex.EncodeToString(sum[:]),
		Size:         int64(len(module)),
		Imports:      m.Imports,
		Exports:      m.Exports,
		Capabilities: capabilities(m),
	}
	if m.Memory != nil {
		info.Memory = *m.Memory
	}
	info.Reseeds = info.checkExport(reseedExport) == nil
	manifests := m.Custom(abi.ManifestSection)
	if len(manifests) > 1 {
		return Info{}, refuse("the module carries %d manifests and must carry one; build it again with vespiary build", len(manifests))
	}
	if len(manifests) == 1 {
		info.Manifest = slices.Clone(manifests[0])
	}
	return info, nil
}

// capabilities lists what the module may ask for. Extism's http_request is
// answered by http_fetch.
func capabilities(m *wasm.Module) []string {
	names := map[string]bool{}
	for _, i := range m.Imports {
		switch {
		case i.Module == abi.NamespaceUser:
			names[i.Name] = true
		case i.Module == abi.NamespaceEnv && i.Name == "http_request":
			names[abi.CallHTTPFetch] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// checkImports refuses what nobody could provide, now and with a reason, instead
// of failing each time the module is instantiated.
func (p preparer) checkImports(m *wasm.Module) error {
	for _, i := range m.Imports {
		if i.Kind != wasm.Func {
			return refuse("the module imports the %s %s.%s and the host offers functions only; define it in the module", i.Kind, i.Module, i.Name)
		}
		if err := p.checkImport(i); err != nil {
			return err
		}
	}
	for _, name := range capabilities(m) {
		if !slices.Contains(p.opts.Imports, name) {
			return refuse("the module asks for the capability %s and the host offers %s", name, list(p.opts.Imports))
		}
	}
	return nil
}

func (p preparer) checkImport(i wasm.Import) error {
	switch i.Module {
	case abi.NamespaceUser:
		return checkType(i, typeMap)
	case abi.NamespaceEnv:
		if t, ok := gated[i.Name]; ok {
			return checkType(i, t)
		}
		return checkName(i, envTypes)
	case abi.NamespaceMem:
		if !p.bulk {
			return refuse("the module imports %s, which this engine does not offer; build the plugin without bulk copies or run it on the native engine", i.Module)
		}
		return checkName(i, bulkTypes)
	case namespaceWASI:
		return checkName(i, p.wasi)
	}
	return refuse("the module imports %s from %s; the host offers %s", i.Name, i.Module,
		list([]string{abi.NamespaceEnv, abi.NamespaceUser, abi.NamespaceMem, namespaceWASI}))
}

func checkName(i wasm.Import, offered map[string]wasm.FuncType) error {
	t, ok := offered[i.Name]
	if !ok {
		return refuse("the module imports %s from %s; the host offers %s", i.Name, i.Module, list(slices.Sorted(maps.Keys(offered))))
	}
	return checkType(i, t)
}

func checkType(i wasm.Import, want wasm.FuncType) error {
	if !i.Type.Equal(want) {
		return refuse("the module imports %s.%s as %s and it is %s; fix the declaration in the plugin's source", i.Module, i.Name, i.Type, want)
	}
	return nil
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(slices.Values(names)), ", ")
}

// checkExport reports why export cannot be called.
func (i Info) checkExport(export string) error {
	t, ok := i.function(export)
	switch {
	case !ok:
		return errors.New("plugin has no function " + export + "; it has " + list(i.callable()))
	case !t.Equal(typeNone) && !t.Equal(typeGet32):
		return errors.New("plugin function " + export + " is " + t.String() + "; it must be () -> i32 or () -> ()")
	}
	return nil
}

// function returns the signature of an exported function.
func (i Info) function(name string) (wasm.FuncType, bool) {
	for _, e := range i.Exports {
		if e.Name == name && e.Kind == wasm.Func {
			return e.Type, true
		}
	}
	return wasm.FuncType{}, false
}

// callable lists the exports that Instance.Call takes.
func (i Info) callable() []string {
	var names []string
	for _, e := range i.Exports {
		if e.Kind == wasm.Func && (e.Type.Equal(typeNone) || e.Type.Equal(typeGet32)) {
			names = append(names, e.Name)
		}
	}
	return names
}
