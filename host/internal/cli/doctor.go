package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host/internal/config"
)

// needed are the plugins that a binary built by make build holds.
var needed = []string{"basic", "loop"}

// lowSpace is the free space below which the doctor warns, where the
// configuration says nothing, in bytes.
const lowSpace = 1 << 30

func (r *runner) doctorCommand() *cobra.Command {
	var models bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check what a host needs, and say what to do",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &doctor{runner: r, ctx: cmd.Context()}
			d.examine(models)
			if d.failed > 0 {
				return errFailed
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&models, "models", false, "also ask each model for an answer")
	return cmd
}

// doctor is one examination.
type doctor struct {
	*runner
	ctx    context.Context //nolint:containedctx // of the one command that it lives for
	failed int
}

func (d *doctor) examine(models bool) {
	d.check("plugins of this binary", d.builtins)
	d.check("Go toolchain", d.toolchain)
	var cfg *config.Config
	d.check("configuration", func() (string, error) {
		var err error
		cfg, err = d.load()
		return d.configFile, err
	})
	if cfg == nil {
		return
	}
	d.check("policies", func() (string, error) { return d.policies(cfg) })
	d.check("secrets", func() (string, error) { return d.secrets(cfg) })
	d.check("plugins of the configuration", func() (string, error) { return pluginFiles(cfg) })
	d.check("host", func() (string, error) { return d.host(cfg) })
	d.check("key of this command", func() (string, error) { return keyState(cfg) })
	d.check("free space", func() (string, error) { return space(cfg) })
	if models {
		for _, name := range slices.Sorted(maps.Keys(cfg.Models)) {
			d.check("model "+name, func() (string, error) { return "answers", d.app.ProbeModel(d.ctx, cfg, name) })
		}
	}
}

// check runs one check and prints its line.
func (d *doctor) check(what string, run func() (string, error)) {
	found, err := run()
	if err == nil {
		d.out.linef("ok    %s: %s", what, found)
		return
	}
	for _, problem := range problems(err) {
		mark := "FAIL"
		if _, ok := errors.AsType[warning](problem); ok {
			mark = "warn"
		} else {
			d.failed++
		}
		for line := range strings.Lines(problem.Error()) {
			d.out.linef("%s  %s: %s", mark, what, strings.TrimRight(line, "\n"))
		}
	}
}

// warning is a problem that may be none.
type warning struct{ error }

// problems takes apart what errors.Join joined, and no other error that wraps several.
func problems(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if ok && errors.Join(joined.Unwrap()...).Error() == err.Error() {
		return joined.Unwrap()
	}
	return []error{err}
}

func (d *doctor) builtins() (string, error) {
	have := d.app.Builtins()
	for _, name := range needed {
		if !slices.Contains(have, name) {
			return "", fmt.Errorf("%s is missing; build this binary with make build", name)
		}
	}
	return strings.Join(have, ", "), nil
}

// toolchain: only building plugins in Go needs it.
func (d *doctor) toolchain() (string, error) {
	out, err := exec.CommandContext(d.ctx, "go", "env", "GOVERSION").Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "not found; install Go to build plugins in Go, a host runs without", nil
	}
	if err != nil {
		return "", fmt.Errorf("run go env: %w; mend the installation", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// policies: those of an older version say nothing of people, who then may do nothing.
func (d *doctor) policies(cfg *config.Config) (string, error) {
	files, err := configured(cfg)
	if err != nil {
		return "", err
	}
	set, err := d.app.CheckPolicies(d.ctx, cfg, files)
	if err != nil {
		return "", err
	}
	if !letsInvoke(files) {
		return "", warning{fmt.Errorf("no policy permits %s, so nobody can use an agent; vespiary init adds what is missing, such as %s, and keeps the files that are there",
			invokeAction, filepath.Join(cfg.Policies, "people.cedar"))}
	}
	return fmt.Sprintf("%d in %s", set.Policies, cfg.Policies), nil
}

// secrets: a running host has its variables from where it was started, which need
// not be this shell.
func (d *doctor) secrets(cfg *config.Config) (string, error) {
	at, err := find(d.ctx, cfg)
	if err != nil {
		return "", err
	}
	var errs []error
	n := 0
	try := func(where string, s config.Secret) {
		if s.IsZero() {
			return
		}
		n++
		_, err := s.Resolve()
		variable, unset := unsetVariable(err)
		switch {
		case unset && at != nil:
			errs = append(errs, warning{fmt.Errorf("%s: %s is not set in this shell; set it where the host is started", where, variable)})
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Models)) {
		m := cfg.Models[name]
		try("models."+name+".key", m.Key)
		for _, header := range slices.Sorted(maps.Keys(m.Headers)) {
			try("models."+name+".headers."+header, m.Headers[header])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Tools)) {
		try("tools."+name+".token", cfg.Tools[name].Token)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Webhooks)) {
		w := cfg.Webhooks[name]
		try("webhooks."+name+".url", w.URL)
		for i, s := range w.Secrets {
			try(fmt.Sprintf("webhooks.%s.secrets.%d", name, i), s)
		}
	}
	return fmt.Sprintf("all %d can be read", n), errors.Join(errs...)
}

// unsetVariable returns the reference in the error of a Secret that is to be in a
// variable; such an error has no other cause than that it is not set.
func unsetVariable(err error) (ref string, ok bool) {
	if err == nil {
		return "", false
	}
	text, ok := strings.CutPrefix(err.Error(), "read ${env:")
	name, _, closed := strings.Cut(text, "}")
	return "${env:" + name + "}", ok && closed
}

// pluginFiles looks for the files that the configuration names.
func pluginFiles(cfg *config.Config) (string, error) {
	var errs []error
	n := 0
	look := func(plugin string) {
		if !config.IsPath(plugin) {
			return
		}
		n++
		if _, err := os.Stat(plugin); err != nil {
			errs = append(errs, fmt.Errorf("%w; build it with vespiary build", err))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Tools)) {
		look(cfg.Tools[name].Plugin)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Agents)) {
		look(cfg.Agents[name].Plugin)
	}
	return fmt.Sprintf("all %d files are there", n), errors.Join(errs...)
}

// host looks for the running host; where none runs, one must be able to start.
func (d *doctor) host(cfg *config.Config) (string, error) {
	at, err := find(d.ctx, cfg)
	if err != nil {
		return "", err
	}
	if at != nil {
		return fmt.Sprintf("running at %s (process %d)", at.URL, at.PID), nil
	}
	var listen net.ListenConfig
	l, err := listen.Listen(d.ctx, "tcp", cfg.Listen)
	if err != nil {
		return "", fmt.Errorf("%w; stop what uses the address, or change listen", err)
	}
	if err := l.Close(); err != nil {
		return "", err
	}
	if _, err := os.Stat(cfg.Data); errors.Is(err, fs.ErrNotExist) {
		return "not running; its data folder will be made", nil
	}
	s, err := d.app.Open(d.ctx, cfg)
	if err != nil {
		return "", err
	}
	return "not running; its store opens", s.Close()
}

func keyState(cfg *config.Config) (string, error) {
	info, err := os.Stat(keyFile(cfg))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "none yet; vespiary serve makes one", nil
	case err != nil:
		return "", err
	case info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("others can read %s; run chmod 600 on it", keyFile(cfg))
	}
	return keyFile(cfg), nil
}

func space(cfg *config.Config) (string, error) {
	dir := cfg.Data
	if _, err := os.Stat(dir); err != nil {
		dir = "."
	}
	free, err := freeSpace(dir)
	if err != nil {
		return "", fmt.Errorf("ask the disk of %s: %w", dir, err)
	}
	if least := max(int64(cfg.Limits.Free), lowSpace); free < least {
		return "", fmt.Errorf("%s are left for %s, and %s should be; free some, or move data", bytesText(free), dir, bytesText(least))
	}
	return bytesText(free), nil
}
