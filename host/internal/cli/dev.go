package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
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
configuration changes the host takes it in. Each call is shown with the policy
that decided it, and each denial with what would allow it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.dev(cmd.Context()) },
	}
}

func (r *runner) dev(ctx context.Context) error {
	dir := filepath.Dir(r.configFile)
	plugins, err := project.Find(dir)
	if err != nil {
		return fmt.Errorf("look for plugins: %w", err)
	}
	for _, p := range plugins {
		if !r.build(ctx, p) {
			return errFailed
		}
	}
	cfg, err := r.load()
	if err != nil {
		return err
	}
	changes, err := watch(dir, cfg.Data)
	if err != nil {
		return fmt.Errorf("watch %s: %w", dir, err)
	}
	defer changes.close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	done := make(chan struct{})
	ready := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ready:
			r.follow(ctx, cfg, plugins, changes)
		case <-ctx.Done():
		}
	}()
	err = r.serve(ctx, cfg, ServeOptions{
		Log: slog.New(slog.NewTextHandler(r.err.w, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Ready: func(url string) {
			r.out.linef("listening on %s; in another terminal: vespiary invoke AGENT TEXT", url)
			close(ready)
		},
		Activity: r.activity,
	})
	stop(nil)
	<-done
	return err
}

// follow rebuilds and reloads as files change, until ctx ends.
func (r *runner) follow(ctx context.Context, cfg *config.Config, plugins []string, changes *watcher) {
	for {
		files, err := changes.next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				r.err.linef("vespiary: watch %s: %v; changes are no longer seen", filepath.Dir(cfg.File), err)
			}
			return
		}
		good := true
		for _, p := range affected(plugins, files) {
			good = r.build(ctx, p) && good
		}
		if !good || ctx.Err() != nil {
			continue
		}
		if err := r.reload(ctx, cfg); err != nil {
			r.exit(err)
			continue
		}
		r.out.linef("reloaded")
	}
}

// build builds one plugin and says how it went.
func (r *runner) build(ctx context.Context, dir string) bool {
	built, err := project.Build(ctx, dir, "", r.err.w)
	if err != nil {
		r.exit(err)
		return false
	}
	r.out.linef("built %s %s", built.Path, built.Digest)
	return true
}

// affected returns the plugins whose sources are among files. What vespiary build
// writes is no source.
func affected(plugins, files []string) []string {
	var out []string
	for _, p := range plugins {
		for _, f := range files {
			rel, err := filepath.Rel(p, f)
			if err == nil && filepath.IsLocal(rel) && source(rel) {
				out = append(out, p)
				break
			}
		}
	}
	return out
}

// source reports whether a file of a plugin's folder may change what is built.
func source(rel string) bool {
	switch filepath.Ext(rel) {
	case ".wasm", ".cedar", ".md":
		return false
	}
	return filepath.Base(rel) != config.FileName && !strings.HasSuffix(rel, "_test.go")
}

func (r *runner) activity(a Activity) {
	if a.Over && (a.Call.Error == nil || !a.Call.Decision.Allowed) {
		return // nothing that the decision has not said
	}
	r.out.linef("%s %s %s", a.Time.Local().Format(time.TimeOnly), a.Agent, callLine(a.Call))
	for line := range strings.Lines(a.Hint) {
		r.out.linef("         %s", clean(strings.TrimRight(line, "\n")))
	}
}

var errWatch = errors.New("the watcher stopped")
