package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (r *runner) auditKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "key NAME",
		Short: "Print a new key to sign checkpoints with, for audit.key of the configuration",
		Long: `Print a new key to sign checkpoints with. NAME stands in every checkpoint, so take that of
the host. Keep the key where the data folder is not, and refer to it before the host first
starts: a tree that was signed by one key is not extended with another.`,
		Args: arguments,
		RunE: func(_ *cobra.Command, args []string) error {
			private, public, err := r.app.AuditKey(args[0])
			if err != nil {
				return fmt.Errorf("make a key of the audit: %w", err)
			}
			r.err.linef("vespiary: checkpoints are checked with %s; the key follows, and is secret", public)
			r.out.linef("%s", private)
			return nil
		},
	}
}
