package project

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
)

// Module is what a plugin's bytes say about it.
type Module struct {
	Wasm     *wasm.Module
	Manifest *abi.Manifest // nil for a module that vespiary build did not make
	Asks     []string      // the capabilities that it imports, sorted
}

// ReadModule reads a plugin's bytes. A damaged manifest is an error.
func ReadModule(b []byte) (*Module, error) {
	w, err := wasm.Read(b, wasm.Limits{})
	if err != nil {
		return nil, err
	}
	m := &Module{Wasm: w, Asks: asks(w)}
	switch sections := w.Custom(abi.ManifestSection); len(sections) {
	case 0:
		return m, nil
	case 1:
		m.Manifest, err = abi.ParseManifest(sections[0])
		return m, err
	default:
		return nil, errors.New("the module has more than one manifest; build it again")
	}
}

// Ceiling returns the capabilities that the plugin can ever be granted: those it
// imports and, where it has a manifest, declares as needs.
func (m *Module) Ceiling() []string {
	if m.Manifest == nil {
		return m.Asks
	}
	return slices.DeleteFunc(slices.Clone(m.Asks), func(name string) bool {
		return !slices.Contains(m.Manifest.Needs, name)
	})
}

// asks lists the capabilities that a module imports. Extism's own HTTP functions
// are http_fetch under another name: the host renames them when it loads.
func asks(w *wasm.Module) []string {
	var out []string
	for _, i := range w.Imports {
		switch {
		case i.Module == abi.NamespaceUser:
			out = append(out, i.Name)
		case i.Module == abi.NamespaceEnv && strings.HasPrefix(i.Name, "http_"):
			out = append(out, abi.CallHTTPFetch)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// check compares a module with the manifest it is about to carry.
func check(w *wasm.Module, m *abi.Manifest) error {
	var errs []error
	for _, name := range m.Kind.Exports() {
		if _, ok := w.ExportedFunc(name); !ok {
			errs = append(errs, fmt.Errorf("it does not export %s, which %s must; %s", name, article(m.Kind), registerHint(m.Kind)))
		}
	}
	for _, name := range asks(w) {
		if !slices.Contains(m.Needs, name) {
			errs = append(errs, fmt.Errorf("it imports %s, which plugin.yaml does not name; add it to needs, or do without it", name))
		}
	}
	return errors.Join(errs...)
}

func article(k abi.PluginKind) string {
	if k == abi.PluginAgent {
		return "an agent"
	}
	return "a " + string(k)
}

func registerHint(k abi.PluginKind) string {
	switch k {
	case abi.PluginAgent:
		return "with the Go SDK, vespiary.Agent registers it"
	case abi.PluginTool:
		return "with the Go SDK, vespiary.Tool registers it"
	}
	return "export it, or mend kind in plugin.yaml"
}
