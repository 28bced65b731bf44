package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/project"
)

func (r *runner) devCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "dev",
		Short: "Run the host of a project, rebuild what changes, and show each call",
		Long: `Build the plugins below the folder of the configuration and run its host. When a
source changes its plugin is built again; when a plugin, a policy or the
configuration changes the host takes it in. What is in error is said, and waits for
the change that mends it. Each call is shown with the policy that decided it, each
denial with what would allow it, and what a turn waits for with how to answer.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.dev(cmd.Context()) },
	}
}

func (r *runner) dev(ctx context.Context) error {
	dir := filepath.Dir(r.configFile)
	d := &developer{runner: r, dir: dir, digests: map[string]string{}, outputs: map[string]bool{}}
	if _, err := os.Stat(r.configFile); errors.Is(err, fs.ErrNotExist) {
		return r.explainLoad(err) // nothing to wait for in a folder of another kind
	}
	var err error
	if d.changes, err = watch(dir, filepath.Join(dir, "data")); err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	defer d.changes.close()
	return d.run(ctx)
}

// developer is one run of vespiary dev.
type developer struct {
	*runner
	cfg     *config.Config
	dir     string
	plugins []string          // folders
	digests map[string]string // of what each folder was built to last
	outputs map[string]bool   // absolute paths of files that were built
	changes *watcher
	serving bool // a host has answered
}

// run builds and serves. What keeps the host from its start is said, and tried again
// after the next change.
func (d *developer) run(ctx context.Context) error {
	for {
		err := d.prepare(ctx)
		if err == nil {
			err = d.serve(ctx)
		}
		if err == nil || d.serving || ctx.Err() != nil || errors.Is(err, errRunning) {
			return err
		}
		d.complain(err)
		d.err.linef("vespiary: waiting for a change in %s", d.dir)
		if err := d.wait(ctx); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// prepare does what comes before a host: it builds all plugins, and reads the
// configuration and the policies.
func (d *developer) prepare(ctx context.Context) error {
	var err error
	if d.plugins, err = project.Find(d.dir); err != nil {
		return fmt.Errorf("look for plugins: %w", err)
	}
	for _, p := range d.plugins {
		if _, err := d.build(ctx, p); err != nil {
			return err
		}
	}
	if d.cfg, err = d.load(); err != nil {
		return err
	}
	d.changes.data = absolute(d.cfg.Data)
	files, err := configured(d.cfg)
	if err != nil {
		return fmt.Errorf("read the policies: %w", err)
	}
	_, err = d.app.CheckPolicies(ctx, d.cfg, files)
	return err
}

// wait returns after a change that may mend what failed, or with nil when ctx ends:
// that is how a person leaves.
func (d *developer) wait(ctx context.Context) error {
	for {
		files, err := d.changes.next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return fmt.Errorf("watch %s: %w", d.dir, err)
		}
		files = d.foreign(files)
		if slices.ContainsFunc(files, desired) || len(affected(d.plugins, files)) > 0 {
			return nil
		}
	}
}

// foreign returns the files that d did not build itself.
func (d *developer) foreign(files []string) []string {
	return slices.DeleteFunc(files, func(f string) bool { return d.outputs[f] })
}

// serve runs the host, and follows changes from when it answers until it ends.
func (d *developer) serve(ctx context.Context) error {
	following, stop := context.WithCancel(ctx)
	ready, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ready:
			d.follow(following)
		case <-following.Done():
		}
	}()
	err := d.runner.serve(ctx, d.cfg, ServeOptions{
		Log: slog.New(slog.NewTextHandler(d.err.w, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Ready: func(url string) {
			d.serving = true
			d.out.linef("listening on %s; in another terminal: vespiary invoke AGENT TEXT", url)
			close(ready)
		},
		Activity: d.activity,
	})
	stop()
	<-done
	return err
}

// follow takes in what changes until ctx ends. What is wrong is said, and left to
// the next change.
func (d *developer) follow(ctx context.Context) {
	for {
		files, err := d.changes.next(ctx)
		if err == nil {
			err = d.take(ctx, files)
		}
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errWatch):
			d.err.linef("vespiary: watch %s: %v; changes are no longer seen", d.dir, err)
			return
		case err != nil:
			d.complain(err)
		}
	}
}

// take builds the plugins whose sources are among files, and reloads the host if
// that or the files make a difference to it.
func (d *developer) take(ctx context.Context, files []string) error {
	files = d.foreign(files)
	reload := slices.ContainsFunc(files, desired)
	for _, p := range affected(d.plugins, files) {
		changed, err := d.build(ctx, p)
		if err != nil {
			return err
		}
		reload = reload || changed
	}
	if !reload {
		return nil
	}
	if err := d.reload(ctx, d.cfg); err != nil {
		return err
	}
	d.out.linef("reloaded")
	return nil
}

// build builds one plugin and reports whether it differs from before.
func (d *developer) build(ctx context.Context, dir string) (changed bool, err error) {
	built, err := project.Build(ctx, dir, "", d.err.w)
	if err != nil {
		return false, err
	}
	d.outputs[absolute(built.Path)] = true
	if d.digests[dir] == built.Digest {
		return false, nil
	}
	d.digests[dir] = built.Digest
	d.out.linef("built %s %s", built.Path, built.Digest)
	return true, nil
}

// desired reports whether a file may be part of what the host is to do: the
// configuration, policies, instructions, plugins that are built elsewhere.
func desired(file string) bool {
	return slices.Contains([]string{".yaml", ".cedar", ".md", ".txt", ".wasm"}, filepath.Ext(file))
}

// affected returns the plugins whose sources are among files.
func affected(plugins, files []string) []string {
	var out []string
	for _, p := range plugins {
		if slices.ContainsFunc(files, func(f string) bool {
			rel, err := filepath.Rel(absolute(p), absolute(f))
			return err == nil && filepath.IsLocal(rel) && source(rel)
		}) {
			out = append(out, p)
		}
	}
	return out
}

// source reports whether a file of a plugin's folder may change what is built.
func source(rel string) bool {
	switch filepath.Ext(rel) {
	case ".wasm", ".cedar", ".md", ".log":
		return false
	}
	return filepath.Base(rel) != config.FileName && !strings.HasSuffix(rel, "_test.go")
}

func (r *runner) activity(a Activity) {
	for i, line := range a.lines() {
		if i == 0 {
			line = a.Time.Local().Format(time.TimeOnly) + " " + a.Agent + " " + line
		} else {
			line = "         " + line
		}
		r.out.linef("%s", line)
	}
}

func (a *Activity) lines() []string {
	switch {
	case a.Approval != nil:
		return asks(*a.Approval)
	case a.Suspension != nil:
		return suspends(a.Session, *a.Suspension)
	case a.Over && (a.Call.Error == nil || !a.Call.Decision.Allowed):
		return nil // nothing that the decision has not said
	}
	out := []string{callLine(a.Call)}
	if a.Call.Decision.Approval != "" {
		return out // no policy is missing but an answer, which is asked for next
	}
	for line := range strings.Lines(a.Hint) {
		out = append(out, clean(strings.TrimRight(line, "\n")))
	}
	return out
}

var errWatch = errors.New("the watcher stopped")
