package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host/internal/config"
)

func (r *runner) serveCommand() *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the host of the configuration",
		Long: `Run the host of the configuration until it is interrupted. On SIGHUP, or on
POST /v1/reload, it reads the configuration, the policies and the plugins again:
all of them, or, when one is in error, none.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := r.load()
			if err != nil {
				return err
			}
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			return r.serve(cmd.Context(), cfg, ServeOptions{
				Log:   slog.New(slog.NewTextHandler(r.err.w, &slog.HandlerOptions{Level: level})),
				Ready: func(url string) { r.out.linef("listening on %s", url) },
			})
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log more")
	return cmd
}

// errRunning is why a second host is not run.
var errRunning = errors.New("one is running")

// serve runs the host, unless one runs already.
func (r *runner) serve(ctx context.Context, cfg *config.Config, o ServeOptions) error {
	at, err := find(ctx, cfg)
	if err != nil {
		return err
	}
	if at != nil {
		return fmt.Errorf("run the host of %s: %w at %s already (process %d); stop it first", cfg.File, errRunning, at.URL, at.PID)
	}
	if err := r.lacking(cfg); err != nil {
		return err
	}
	if _, err := r.ensureKey(ctx, cfg); err != nil {
		return err
	}
	return r.app.Serve(ctx, cfg, o)
}
