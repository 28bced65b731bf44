package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/config"
)

// Stdio is what a command reads and writes.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// Run runs the command line args, without the program's name, and returns the exit
// code: 1 if what was asked for failed, 2 if it was not understood.
func Run(ctx context.Context, args []string, stdio Stdio, app App) int {
	r := &runner{app: app, in: stdio.In, out: printer{stdio.Out}, err: printer{stdio.Err}}
	root := r.root() //nolint:contextcheck // each command gets its context when it runs
	root.SetArgs(args)
	root.SetIn(stdio.In)
	root.SetOut(stdio.Out)
	root.SetErr(stdio.Err)
	cmd, err := root.ExecuteContextC(ctx)
	return r.exit(cmd, err)
}

// runner is one run of the command.
type runner struct {
	app        App
	in         io.Reader
	out, err   printer
	configFile string
	understood bool // the command line was, so that a failure is not about usage
}

// errFailed ends a command that has already said what failed.
var errFailed = errors.New("failed")

// exit says what failed, unless cmd has, and returns the exit code.
func (r *runner) exit(cmd *cobra.Command, err error) int {
	switch {
	case err == nil:
		return exitOK
	case !r.understood:
		r.err.linef("vespiary: %v; see %s --help", err, cmd.CommandPath())
		return exitUsage
	case !errors.Is(err, errFailed):
		r.complain(err)
	}
	return exitFailed
}

// complain prints an error, which may have several lines.
func (r *runner) complain(err error) {
	for line := range strings.Lines(err.Error()) {
		r.err.linef("vespiary: %s", strings.TrimRight(line, "\n"))
	}
}

// help is what a command does that only has commands below it. Without it their
// names would not be checked.
func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// arguments checks a command's arguments against its usage line, which names them
// in order: "[DIR]" may be left out.
func arguments(cmd *cobra.Command, args []string) error {
	names := strings.Fields(cmd.Use)[1:]
	switch {
	case cmd.HasSubCommands() && len(args) > 0:
		return cobra.NoArgs(cmd, args) // which says that there is no such command
	case len(args) < len(names) && !strings.HasPrefix(names[len(args)], "["):
		missing := strings.ReplaceAll(names[len(args)], "|", " or ")
		return fmt.Errorf("%s: %s is missing", cmd.Name(), missing)
	case len(args) > len(names) && len(names) == 0:
		return fmt.Errorf("%s: it takes no arguments, and was given %q", cmd.Name(), args[0])
	case len(args) > len(names):
		return fmt.Errorf("%s: %q is one argument too many; put quotes around what holds spaces", cmd.Name(), args[len(names)])
	}
	return nil
}

func (r *runner) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "vespiary",
		Short: "Host AI agents as WebAssembly plugins",
		Long: `Vespiary hosts AI agents. Agents and their tools are WebAssembly modules that
can touch nothing but what the host does for them, under policies, on record.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(*cobra.Command, []string) {
			r.understood = true
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().StringVarP(&r.configFile, "config", "c", config.FileName, "the configuration")
	root.AddCommand(
		r.initCommand(), r.serveCommand(), r.devCommand(), r.demoCommand(),
		r.newCommand(), r.buildCommand(), r.inspectCommand(), r.installCommand(),
		r.invokeCommand(), r.sessionsCommand(), r.tasksCommand(), r.approvalsCommand(),
		r.policyCommand(), r.auditCommand(), r.keysCommand(),
		r.backupCommand(), r.restoreCommand(), r.doctorCommand(), r.versionCommand(),
	)
	return root
}

// load reads the configuration.
func (r *runner) load() (*config.Config, error) {
	cfg, err := config.Load(r.configFile)
	if err != nil {
		return nil, r.explainLoad(err)
	}
	return cfg, nil
}

func (r *runner) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this command and of the contract it speaks",
		Args:  arguments,
		Run: func(*cobra.Command, []string) {
			r.out.linef("vespiary %s, abi %d, %s %s/%s", version(), abi.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		},
	}
}

// version is the module's version, or the commit that it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return "development"
}

// printer writes lines for people. That a terminal went away is not worth an
// error of its own.
type printer struct{ w io.Writer }

func (p printer) linef(format string, args ...any) { _, _ = fmt.Fprintf(p.w, format+"\n", args...) }

func (p printer) text(s string) { _, _ = io.WriteString(p.w, s) }

// clean takes out what would command a terminal: agents and files write what is
// shown.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' && c != '\n' && c != '\t' || c >= 0x7f && c < 0xa0 {
			return -1
		}
		return c
	}, s)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
