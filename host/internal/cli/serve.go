package cli

import (
	"context"
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
		Args:  cobra.NoArgs,
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

// serve runs the host, unless one runs already.
func (r *runner) serve(ctx context.Context, cfg *config.Config, o ServeOptions) error {
	at, err := find(ctx, cfg)
	if err != nil {
		return err
	}
	if at != nil {
		return fmt.Errorf("run the host of %s: one is running at %s already (process %d); stop it first", cfg.File, at.URL, at.PID)
	}
	if _, err := r.ensureKey(ctx, cfg); err != nil {
		return err
	}
	return r.app.Serve(ctx, cfg, o)
}
