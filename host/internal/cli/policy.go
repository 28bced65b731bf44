package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
)

// suggestedFile is where suggestions are added, in the policies' folder.
const suggestedFile = "suggested.cedar"

// maxDecisions is how many denials a suggestion looks back on.
const maxDecisions = 200

func (r *runner) policyCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "Check policies, and have some suggested", Args: arguments, RunE: help}
	cmd.AddCommand(r.policyCheckCommand(), r.policySuggestCommand())
	return cmd
}

func (r *runner) policyCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check [DIR]",
		Short: "Compile and validate the policies of a folder; without one, of the configuration",
		Args:  arguments,
		RunE: func(_ *cobra.Command, args []string) error {
			var dir string
			if len(args) == 1 {
				dir = args[0]
				info, err := os.Stat(dir)
				if err != nil {
					return fmt.Errorf("check policies: %w", err)
				}
				if !info.IsDir() {
					return fmt.Errorf("check policies: %s is a file; name its folder, for policies count together", dir)
				}
			} else {
				cfg, err := r.load()
				if err != nil {
					return err
				}
				dir = cfg.Policies
			}
			set, err := r.app.CheckPolicies(dir)
			if err != nil {
				return err
			}
			r.out.linef("%s, all valid: %s", count(set.Policies, "policy", "policies"), set.Digest)
			return nil
		},
	}
}

func (r *runner) policySuggestCommand() *cobra.Command {
	var last, write bool
	cmd := &cobra.Command{
		Use:   "suggest",
		Short: "Print the narrowest policies that would have allowed what was denied",
		Long: `Print the narrowest policies that would have allowed what was denied lately. Read
them: they permit what was asked for, not what is right.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			denied, cfg, err := r.denied(cmd.Context(), last)
			if err != nil {
				return fmt.Errorf("suggest policies: %w", err)
			}
			if len(denied) == 0 {
				r.err.linef("vespiary: nothing was denied")
				return nil
			}
			s, err := r.app.Suggest(cfg.Policies, denied)
			if err != nil {
				return fmt.Errorf("suggest policies: %w", err)
			}
			for _, note := range s.Notes {
				r.err.linef("vespiary: %s", clean(note))
			}
			if s.Policies == "" {
				return nil
			}
			r.out.text(s.Policies)
			if !write {
				return nil
			}
			return r.addPolicies(cmd.Context(), cfg, s.Policies)
		},
	}
	cmd.Flags().BoolVar(&last, "last", false, "only for the last turn in which something was denied")
	cmd.Flags().BoolVar(&write, "write", false, "add them to "+suggestedFile+" in the policies' folder")
	return cmd
}

// denied returns denials, the newest first; with last, those of the newest one's
// turn.
func (r *runner) denied(ctx context.Context, last bool) ([]host.DecisionRecord, *config.Config, error) {
	s, cfg, err := r.service(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer s.Close() //nolint:errcheck // only read from
	list, err := s.Decisions(ctx, true, maxDecisions)
	if err != nil || !last {
		return list, cfg, err
	}
	for i, d := range list {
		if d.Session != list[0].Session || d.Turn != list[0].Turn {
			return list[:i], cfg, nil
		}
	}
	return list, cfg, nil
}

// addPolicies adds text to the file of suggestions, and takes it back if the
// policies are then not valid. A running host reads them at once.
func (r *runner) addPolicies(ctx context.Context, cfg *config.Config, text string) error {
	path := filepath.Join(cfg.Policies, suggestedFile)
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("add the policies: %w", err)
	}
	absent := err != nil
	added := string(old)
	if added != "" {
		added += "\n"
	}
	if err := os.WriteFile(path, []byte(added+text), 0o644); err != nil { //nolint:gosec // policies are no secret
		return fmt.Errorf("add the policies: %w", err)
	}
	if _, err := r.app.CheckPolicies(cfg.Policies); err != nil {
		undo := os.Remove
		if !absent {
			undo = func(path string) error { return os.WriteFile(path, old, 0o644) } //nolint:gosec // as it was
		}
		return fmt.Errorf("add the policies: they do not fit those in %s: %w", cfg.Policies, errors.Join(err, undo(path)))
	}
	r.err.linef("vespiary: added to %s", path)
	return r.reload(ctx, cfg)
}

// reload makes the running host, if there is one, read its configuration again.
func (r *runner) reload(ctx context.Context, cfg *config.Config) error {
	at, err := find(ctx, cfg)
	if err != nil || at == nil {
		return err
	}
	c, err := newClient(cfg, at.URL)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // idle connections
	return c.Reload(ctx)
}
