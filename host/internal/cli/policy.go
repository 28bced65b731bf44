package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
)

func (r *runner) policyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Check, test, explain and change policies, and have some suggested",
		Args:  arguments,
		RunE:  help,
	}
	cmd.AddCommand(
		r.policyCheckCommand(), r.policyTestCommand(), r.policyShowCommand(), r.policySchemaCommand(),
		r.policySetCommand(), r.policyRemoveCommand(),
		r.policyExplainCommand(), r.policySimulateCommand(), r.policySuggestCommand(),
	)
	return cmd
}

func (r *runner) policyCheckCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check [DIR]",
		Short: "Compile and validate the policies of a folder; without one, of the configuration",
		Long: `Compile and validate the policies of a folder; without one, of the configuration.
Where there is a configuration, policies may name the actions of its tools.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, files, err := r.policiesOf("check policies", args)
			if err != nil {
				return err
			}
			set, err := r.app.CheckPolicies(cmd.Context(), cfg, files)
			if err != nil {
				return err
			}
			checked := host.PolicyCheck{Digest: set.Digest, Policies: set.Policies, Problems: []host.PolicyProblem{}}
			return r.show(asJSON, checked, func() {
				r.out.linef("%s, all valid: %s", count(set.Policies, "policy", "policies"), set.Digest)
			})
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (r *runner) policyShowCommand() *cobra.Command {
	var digest string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show [FILE]",
		Short: "Print which policies decide, or the text of a file of theirs",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := r.load()
			if err != nil {
				return err
			}
			set, err := r.decides(cmd.Context(), cfg, digest)
			if err != nil {
				return while("show policies", err)
			}
			if len(args) == 1 {
				return r.policyFile(set, args[0], asJSON)
			}
			return r.show(asJSON, set, func() { r.policySet(cfg, set, digest == "") })
		},
	}
	cmd.Flags().StringVar(&digest, "digest", "", "show this set instead, which once decided; the digest is in decisions")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// decides returns the set that decides: that of the running host, else that of the
// folder. With a digest it is one that the running host has kept.
func (r *runner) decides(ctx context.Context, cfg *config.Config, digest string) (host.PolicySet, error) {
	c, err := reach(ctx, cfg)
	if err != nil {
		return host.PolicySet{}, err
	}
	if c != nil {
		defer c.Close() //nolint:errcheck // idle connections
	}
	switch {
	case c != nil && digest != "":
		return c.PolicySet(ctx, digest)
	case c != nil:
		return c.Policies(ctx)
	case digest != "":
		return host.PolicySet{}, errNotDurable
	}
	files, err := configured(cfg)
	if err != nil {
		return host.PolicySet{}, err
	}
	set, err := r.app.CheckPolicies(ctx, cfg, files)
	if err == nil && set.Files == nil {
		set.Files = files
	}
	return set, err
}

// policySet says what a set is made of; active, and what counts besides.
func (r *runner) policySet(cfg *config.Config, set host.PolicySet, active bool) {
	r.out.linef("set       %s: %s in %s", set.Digest, count(set.Policies, "policy", "policies"), count(len(set.Files), "file", "files"))
	if set.Candidate != "" {
		r.out.linef("candidate %s, which is recorded and has no effect", set.Candidate)
	}
	if active && len(cfg.Enforce) > 0 {
		r.out.linef("enforced  %s, by enforce in %s", clean(strings.Join(cfg.Enforce, ", ")), cfg.File)
	}
	for _, f := range set.Files {
		r.out.linef("file      %s, %s", clean(f.Name), bytesText(int64(len(f.Text))))
	}
}

func (r *runner) policyFile(set host.PolicySet, name string, asJSON bool) error {
	for _, f := range set.Files {
		if f.Name == name {
			return r.show(asJSON, f, func() { r.out.text(clean(f.Text)) })
		}
	}
	return fmt.Errorf("show policies: the set has no file %s; vespiary policy show lists them", name)
}

func (r *runner) policySchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print what policies can talk about, the actions of tools among it",
		Long: `Print what policies can talk about, as a Cedar schema. Where there is a
configuration it has an action for each tool, with the types of its arguments.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := r.schema(cmd.Context())
			if err != nil {
				return while("print the schema of policies", err)
			}
			r.out.text(clean(text))
			return nil
		},
	}
}

func (r *runner) schema(ctx context.Context) (string, error) {
	cfg, err := r.optional()
	if err != nil {
		return "", err
	}
	if cfg == nil {
		return r.app.PolicySchema(ctx, nil)
	}
	c, err := reach(ctx, cfg)
	switch {
	case err != nil:
		return "", err
	case c == nil:
		return r.app.PolicySchema(ctx, cfg)
	}
	defer c.Close() //nolint:errcheck // idle connections
	return c.Schema(ctx)
}
