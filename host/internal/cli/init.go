package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/project"
)

func (r *runner) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write a configuration, policies and an API key into a folder",
		Long: `Write what a host needs to begin: vespiary.yaml with one agent that answers
without a network, policies that permit little, a folder of documents, and an API
key in the data folder. Files that are there are kept.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			written, err := project.Init(dir, r.app.Starter())
			r.tell(written)
			if err != nil {
				return fmt.Errorf("begin in %s: %w", dir, err)
			}
			cfg, err := config.Load(filepath.Join(dir, config.FileName))
			if err != nil {
				return err
			}
			made, err := r.ensureKey(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if made {
				r.out.linef("wrote %s", keyFile(cfg))
			}
			r.out.linef("\nNext: vespiary serve, and in another terminal\n  vespiary invoke assistant \"What can the agents do with the files in docs?\"")
			return nil
		},
	}
}

func (r *runner) tell(written []project.Written) {
	for _, w := range written {
		if w.Kept {
			r.out.linef("kept  %s", w.Path)
		} else {
			r.out.linef("wrote %s", w.Path)
		}
	}
}

func (r *runner) newCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "new agent|tool NAME",
		Short: "Write the project of a plugin into the new folder NAME",
		Long: `Write the project of a plugin into the new folder NAME: Go sources with a test,
plugin.yaml, a configuration that runs it, policies, the SDK, and test.sh, which
builds it and asks a host of its own. All of it needs the Go toolchain alone, and
no network.`,
		Args:      arguments,
		ValidArgs: []string{string(abi.PluginAgent), string(abi.PluginTool)},
		RunE: func(_ *cobra.Command, args []string) error {
			written, err := project.New(".", abi.PluginKind(args[0]), args[1], r.app.Starter())
			if err != nil {
				return fmt.Errorf("begin the plugin %s: %w", args[1], err)
			}
			r.out.linef("wrote %d files into %s", len(written), args[1])
			r.out.linef("\nNext: cd %s, then\n  go test ./...    runs its test\n  ./test.sh        builds it and asks it, on a host of its own\n  vespiary dev     builds it, runs it, and shows what it does", args[1])
			return nil
		},
	}
}

func (r *runner) buildCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "build [DIR]",
		Short: "Build the plugin in a folder",
		Long: `Build the plugin that plugin.yaml in the folder describes: run its build command
(for Go, go build), check that the module exports what its kind must and imports
no more than its needs, and write NAME.wasm, which carries the manifest.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			built, err := project.Build(cmd.Context(), dir, output, r.err.w)
			if err != nil {
				return err
			}
			r.out.linef("%s %s", built.Digest, built.Path)
			for _, need := range built.Unused {
				r.err.linef("vespiary: plugin.yaml needs %s, which the module does not import; leave it out", need)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "write the module here instead of NAME.wasm in the folder")
	return cmd
}

func (r *runner) installCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "install FILE",
		Short: "Give the host a module under a name that configurations can use",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := os.ReadFile(args[0])
			if err != nil {
				return fmt.Errorf("install a module: %w", err)
			}
			m, err := project.ReadModule(b)
			if err != nil {
				return fmt.Errorf("install %s: %w", args[0], err)
			}
			if name == "" && m.Manifest != nil {
				name = m.Manifest.Name
			}
			if name == "" {
				return fmt.Errorf("install %s: the module has no name of its own; give it one with --name", args[0])
			}
			return r.install(cmd, name, b)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "the name; that of its manifest when left out")
	return cmd
}

func (r *runner) install(cmd *cobra.Command, name string, b []byte) error {
	s, _, err := r.service(cmd.Context())
	if err != nil {
		return err
	}
	digest, err := s.Install(cmd.Context(), name, b)
	if err != nil {
		_ = s.Close()
		return fmt.Errorf("install %s: %w", name, err)
	}
	r.out.linef("%s %s", digest, name)
	return s.Close()
}
