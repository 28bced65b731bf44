package cli

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/project"
	"github.com/vespiary/vespiary/host/internal/runtime/wasm"
)

func (r *runner) inspectCommand() *cobra.Command {
	var agent string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect FILE|builtin:NAME",
		Short: "Print what a module is, the most that it can ever ask for, and what it could do here",
		Long: `Print what a module is and the most that it can ever ask for. Where agents of the
configuration run it, print what each could do here today, as the policies are.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := r.module(args[0])
			if err != nil {
				return fmt.Errorf("inspect a module: %w", err)
			}
			m, err := project.ReadModule(b)
			if err != nil {
				return fmt.Errorf("inspect %s: %w", args[0], err)
			}
			i := inspection{Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(b)), Size: len(b), Manifest: m.Manifest, Ceiling: m.Ceiling(), module: m}
			i.fill()
			i.Image = imageOf(r.app.Image(cmd.Context(), b))
			if i.Reach, err = r.reachOf(cmd.Context(), args[0], i.Digest, agent); err != nil {
				return fmt.Errorf("inspect %s: %w", args[0], err)
			}
			if asJSON {
				return r.json(i)
			}
			i.print(r.out)
			for _, could := range i.Reach {
				printReach(r.out, could, i.Digest)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&agent, "agent", "", "print what this agent of the configuration could do; else each that runs the module")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print it as JSON")
	return cmd
}

// inspection is what there is to know of a module without running it.
type inspection struct {
	Digest   string        `json:"digest"`
	Size     int           `json:"size"`
	Kind     string        `json:"kind"` // of the manifest, or what the exports fit
	Manifest *abi.Manifest `json:"manifest,omitempty"`
	Exports  []string      `json:"exports"`
	Ceiling  []string      `json:"ceiling"`           // capabilities
	Refused  []string      `json:"refused,omitempty"` // imported, and not among the needs
	Foreign  []string      `json:"foreign,omitempty"` // imports that no host of this kind offers
	Memory   memory        `json:"memory"`
	Image    Image         `json:"image"`
	Reach    []host.Reach  `json:"reach,omitempty"` // of the agents that run it

	module *project.Module
}

// memory is in bytes; Max 0 means that the module sets no bound.
type memory struct {
	Start int64 `json:"start"`
	Max   int64 `json:"max,omitempty"`
}

func (i *inspection) fill() {
	w := i.module.Wasm
	for _, e := range w.Exports {
		if e.Kind == wasm.Func {
			i.Exports = append(i.Exports, e.Name)
		}
	}
	i.Kind = i.kind()
	for _, name := range i.module.Asks {
		if !slices.Contains(i.Ceiling, name) {
			i.Refused = append(i.Refused, name)
		}
	}
	for _, imp := range w.Imports {
		if foreign(imp) {
			i.Foreign = append(i.Foreign, imp.Module+"."+imp.Name)
		}
	}
	if w.Memory != nil {
		i.Memory.Start = int64(w.Memory.Min) * wasm.PageSize
		if w.Memory.Bounded {
			i.Memory.Max = int64(w.Memory.Max) * wasm.PageSize
		}
	}
}

// foreign reports whether an import is of no namespace that hosts offer.
func foreign(i wasm.Import) bool {
	return !slices.Contains([]string{abi.NamespaceEnv, abi.NamespaceUser, abi.NamespaceMem, "wasi_snapshot_preview1"}, i.Module)
}

func (i *inspection) kind() string {
	if i.Manifest != nil {
		return string(i.Manifest.Kind)
	}
	for _, k := range []abi.PluginKind{abi.PluginAgent, abi.PluginTool, abi.PluginConnector} {
		if !slices.ContainsFunc(k.Exports(), func(name string) bool { return !slices.Contains(i.Exports, name) }) {
			return string(k)
		}
	}
	return "unknown"
}

func (i *inspection) print(out printer) {
	if m := i.Manifest; m != nil {
		out.linef("%s %s, a plugin of the kind %s (abi %d): %s", m.Name, clean(m.Version), m.Kind, m.ABI, clean(m.Description))
	} else {
		out.linef("a module without a manifest; its exports are those of the kind: %s", i.Kind)
	}
	out.linef("digest   %s", i.Digest)
	out.linef("size     %d bytes", i.Size)
	out.linef("memory   begins with %s, %s", bytesText(i.Memory.Start), i.bound())
	out.linef("exports  %s", clean(strings.Join(i.Exports, ", ")))
	i.Image.say(out)
	i.printCeiling(out)
	for _, name := range i.Refused {
		out.linef("It imports %s, which its manifest does not name: the host refuses to load it.", clean(name))
	}
	for _, name := range i.Foreign {
		out.linef("It imports %s, which no host offers: it cannot be loaded.", clean(name))
	}
}

func (i *inspection) bound() string {
	if i.Memory.Max == 0 {
		return "grows up to the host's limit"
	}
	return "grows up to " + bytesText(i.Memory.Max)
}

func (i *inspection) printCeiling(out printer) {
	if len(i.Ceiling) == 0 {
		out.linef("\nIt can ask for nothing: it computes its answer from what it is given.")
		return
	}
	out.linef("\nThe most that it can ever do, if the policies permit it:")
	for _, name := range i.Ceiling {
		what, known := project.Describe(name)
		if !known {
			what = "ask for something that this version does not know"
		}
		out.linef("  %-15s %s", clean(name), what)
	}
	out.linef("It cannot ask for anything else: no network, no files and no clock but through these.")
}

func bytesText(n int64) string {
	const unit = 1 << 10
	for _, u := range []string{"bytes", "KiB", "MiB"} {
		if n < unit {
			return fmt.Sprintf("%d %s", n, u)
		}
		n /= unit
	}
	return fmt.Sprintf("%d GiB", n)
}
