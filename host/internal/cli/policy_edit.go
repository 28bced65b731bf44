package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
)

// policyName is the form of a policy file's name, as the host's API has it.
var policyName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.cedar$`)

func checkPolicyName(name string) error {
	if !policyName.MatchString(name) {
		return fmt.Errorf("the file name %q does not fit; use letters, digits, dots and dashes, and end it with %s", name, policySuffix)
	}
	return nil
}

// edit is a change of policies: how a running host makes it, and how it is made in their
// folder where none runs.
type edit struct {
	doing  string
	online func(ctx context.Context, c *client) (host.PolicySet, error)
	folder func(ctx context.Context, cfg *config.Config, files []host.PolicyFile) (host.PolicySet, error)
}

func (r *runner) edit(ctx context.Context, e edit) (host.PolicySet, error) {
	cfg, err := r.load()
	if err != nil {
		return host.PolicySet{}, err
	}
	set, err := e.make(ctx, cfg)
	if err != nil {
		return set, while(e.doing, err)
	}
	return set, nil
}

func (e *edit) make(ctx context.Context, cfg *config.Config) (host.PolicySet, error) {
	c, err := reach(ctx, cfg)
	if err != nil {
		return host.PolicySet{}, err
	}
	if c == nil {
		files, err := configured(cfg)
		if err != nil {
			return host.PolicySet{}, err
		}
		return e.folder(ctx, cfg, files)
	}
	defer c.Close() //nolint:errcheck // idle connections
	set, err := e.online(ctx, c)
	if _, faulty := errors.AsType[host.PolicyProblems](err); faulty {
		err = unfit(err)
	}
	return set, err
}

// unfit says above the faults of policies that nothing came of a change.
func unfit(faults error) error {
	return fmt.Errorf("nothing was changed, for the policies would not be valid:\n%w", faults)
}

// edited says what the policies are now.
func (r *runner) edited(what string, set host.PolicySet) {
	r.out.linef("%s: %s, all valid: %s", what, count(set.Policies, "policy", "policies"), set.Digest)
}

func (r *runner) policySetCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "set FILE",
		Short: "Put a file in its place among the policies, if they are all valid with it",
		Long: `Put a file in its place among the policies: in that of the one of the same name, or
beside them. A running host decides by them at once. If they are not all valid with
it, nothing is changed.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			set, name, err := r.setPolicy(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return r.show(asJSON, set, func() { r.edited("wrote "+name, set) })
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (r *runner) setPolicy(ctx context.Context, file string) (set host.PolicySet, name string, err error) {
	f := host.PolicyFile{Name: filepath.Base(file)}
	doing := "set " + f.Name
	if err := checkPolicyName(f.Name); err != nil {
		return set, "", fmt.Errorf("%s: %w", doing, err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return set, "", fmt.Errorf("%s: %w", doing, err)
	}
	f.Text = string(text)
	set, err = r.edit(ctx, edit{
		doing:  doing,
		online: func(ctx context.Context, c *client) (host.PolicySet, error) { return c.WritePolicy(ctx, f) },
		folder: func(ctx context.Context, cfg *config.Config, files []host.PolicyFile) (host.PolicySet, error) {
			set, err := r.app.CheckPolicies(ctx, cfg, replaced(files, f))
			if err != nil {
				return set, unfit(err)
			}
			return set, writeWhole(filepath.Join(cfg.Policies, f.Name), []byte(f.Text))
		},
	})
	return set, f.Name, err
}

func (r *runner) policyRemoveCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "remove FILE",
		Short: "Remove a file from the policies, if they are all valid without it",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := r.removePolicy(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return r.show(asJSON, set, func() { r.edited("removed "+args[0], set) })
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (r *runner) removePolicy(ctx context.Context, name string) (host.PolicySet, error) {
	doing := "remove " + name
	if err := checkPolicyName(name); err != nil {
		return host.PolicySet{}, fmt.Errorf("%s: %w", doing, err)
	}
	return r.edit(ctx, edit{
		doing:  doing,
		online: func(ctx context.Context, c *client) (host.PolicySet, error) { return c.RemovePolicy(ctx, name) },
		folder: func(ctx context.Context, cfg *config.Config, files []host.PolicyFile) (host.PolicySet, error) {
			rest := without(files, name)
			if len(rest) == len(files) {
				return host.PolicySet{}, errors.New("there is no such file; vespiary policy show lists them")
			}
			set, err := r.app.CheckPolicies(ctx, cfg, rest)
			if err != nil {
				return set, unfit(err)
			}
			return set, os.Remove(filepath.Join(cfg.Policies, name))
		},
	})
}
