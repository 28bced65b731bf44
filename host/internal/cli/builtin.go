package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vespiary/vespiary/host/internal/config"
)

// builtinPrefix marks the plugins of this binary in configurations.
const builtinPrefix = "builtin:"

// parts are the built-in plugins that are part of another one's module, which they
// name.
var parts = map[string]string{"files": "basic", "clock": "basic"}

// errNone says it once for all plugins that are then missing.
var errNone = errors.New("this binary has no built-in plugins; run make plugins, and build it again")

// lacking returns an error if the configuration names built-in plugins and this
// binary has none at all.
func (r *runner) lacking(cfg *config.Config) error {
	if len(r.app.Builtins()) > 0 {
		return nil
	}
	for _, t := range cfg.Tools {
		if strings.HasPrefix(t.Plugin, builtinPrefix) {
			return errNone
		}
	}
	for _, a := range cfg.Agents {
		if strings.HasPrefix(a.Plugin, builtinPrefix) {
			return errNone
		}
	}
	return nil
}

// module reads the module that a person names: a file, or builtin:NAME.
func (r *runner) module(ref string) ([]byte, error) {
	name, builtin := strings.CutPrefix(ref, builtinPrefix)
	if !builtin {
		return os.ReadFile(ref)
	}
	b, err := r.app.Builtin(cmp.Or(parts[name], name))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return b, nil
}
