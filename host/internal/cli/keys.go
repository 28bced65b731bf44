package cli

import (
	"cmp"
	"context"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host"
)

func (r *runner) keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make, list and revoke API keys",
		Args:  arguments,
		RunE:  help,
	}
	cmd.AddCommand(r.keysCreateCommand(), r.keysListCommand(), r.keysRevokeCommand())
	return cmd
}

func (r *runner) keysCreateCommand() *cobra.Command {
	var spec host.APIKeySpec
	var expires span
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make an API key and print it, the only time that it is shown",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Name = args[0]
			k, err := r.createKey(cmd.Context(), spec, expires)
			if err != nil {
				return while("create the key "+args[0], err)
			}
			return r.show(asJSON, k, func() {
				r.err.linef("vespiary: key %s of user %s, expires %s; it follows, and is not shown again", k.Key.ID, clean(k.Key.User), expiry(k.Key.Expires))
				r.out.linef("%s", k.Token)
			})
		},
	}
	cmd.Flags().StringVar(&spec.User, "user", "", "whose key it is; else yours")
	cmd.Flags().StringSliceVar(&spec.Scopes, "scope", nil, "an action of the API, or a group of them such as read, that it is limited to; may be given again")
	cmd.Flags().Var(&expires, "expires", "when it ends, from now, such as 30d; else it does not")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// createKey makes a key in the running host, else in the store of one that does not run.
func (r *runner) createKey(ctx context.Context, spec host.APIKeySpec, expires span) (createdKey, error) {
	cfg, err := r.load()
	if err != nil {
		return createdKey{}, err
	}
	c, err := reach(ctx, cfg)
	if err != nil {
		return createdKey{}, err
	}
	if c == nil {
		spec.Expires = expires.after(r.app.Now())
		k, token, err := r.app.CreateKey(ctx, cfg, spec)
		return createdKey{k, token}, err
	}
	defer c.Close() //nolint:errcheck // idle connections
	return c.CreateKey(ctx, keyBody{Name: spec.Name, User: spec.User, Scopes: spec.Scopes, ExpiresIn: expires.seconds()})
}

func (r *runner) keysListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List API keys, the oldest first",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd.Context(), r, "list keys", func(k Keyring) error {
				list, err := k.Keys(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return r.json(list)
				}
				return r.keyTable(list)
			})
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (r *runner) keyTable(list []host.APIKey) error {
	w := tabwriter.NewWriter(r.out.w, 0, 0, 2, ' ', 0)
	table := printer{w}
	table.linef("KEY\tSTATE\tUSER\tNAME\tSCOPES\tCREATED\tEXPIRES")
	for _, k := range list {
		table.linef("%s\t%s\t%s\t%s\t%s\t%s\t%s", k.ID, keyUse(k, r.app.Now()), clean(k.User), short(k.Name),
			cmp.Or(clean(strings.Join(k.Scopes, ",")), "all"), local(k.Created), expiry(k.Expires))
	}
	return w.Flush()
}

// keyUse is what a key is good for.
func keyUse(k host.APIKey, now time.Time) string {
	switch {
	case !k.Revoked.IsZero():
		return "revoked"
	case !k.Expires.IsZero() && !now.Before(k.Expires):
		return "expired"
	}
	return "valid"
}

func (r *runner) keysRevokeCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "revoke KEY",
		Short: "End an API key at once",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			return with(cmd.Context(), r, "revoke key "+args[0], func(k Keyring) error {
				key, err := k.RevokeKey(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return r.show(asJSON, key, func() {
					r.out.linef("key %s of user %s, %s, is revoked since %s", key.ID, clean(key.User), short(key.Name), local(key.Revoked))
				})
			})
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
