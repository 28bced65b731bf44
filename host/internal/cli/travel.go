package cli

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host"
)

func (r *runner) sessionsForkCommand() *cobra.Command {
	var at uint64
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "fork SESSION",
		Short: "Open a session that goes on from a point of another one's past",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.durable(cmd.Context(), "fork session "+args[0], func(d Durable) error {
				s, err := d.Fork(cmd.Context(), args[0], at)
				if err != nil {
					return err
				}
				return r.show(asJSON, s, func() {
					r.out.linef("session %s shares the past of session %s up to entry %d", s.ID, s.Parent, s.At)
					r.goOn(s)
					r.out.linef("compare them later: vespiary sessions diff %s %s", s.Parent, s.ID)
				})
			})
		},
	}
	cmd.Flags().Uint64Var(&at, "at", 0, "the last entry that both share, as vespiary sessions show numbers them; 0 is the newest")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (r *runner) sessionsRevertCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "revert SESSION ENTRY",
		Short: "Go back to an entry of a session, and on from there",
		Long: `Go back to an entry of a session, as vespiary sessions show numbers
them. What follows it stays on record and is read by nobody. What calls did outside
is not undone: to keep both, fork the session instead.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := arguments(cmd, args); err != nil {
				return err
			}
			if n, err := strconv.ParseUint(args[1], 10, 64); err != nil || n == 0 {
				return fmt.Errorf("revert: %q is not the number of an entry; they count from 1", args[1])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := strconv.ParseUint(args[1], 10, 64)
			if err != nil {
				return err
			}
			return r.durable(cmd.Context(), "revert session "+args[0], func(d Durable) error {
				s, err := d.Revert(cmd.Context(), args[0], to)
				if err != nil {
					return err
				}
				return r.show(asJSON, s, func() {
					r.out.linef("session %s is as it was after entry %d: %s", s.ID, to, count(s.Turns, "turn", "turns"))
					r.goOn(s)
				})
			})
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (r *runner) sessionsUpgradeCommand() *cobra.Command {
	var o host.UpgradeOptions
	var replay, migrate, asJSON bool
	cmd := &cobra.Command{
		Use:   "upgrade SESSION",
		Short: "Let a session go on with another module",
		Long: `Let a session go on with another module: with --migrate the new one takes the old
one's state over, with --replay it runs what is on record. Where neither works out
nothing is changed.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if replay && migrate {
				return errors.New("upgrade: --replay and --migrate are two ways; give one")
			}
			return arguments(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case replay:
				o.Mode = host.UpgradeReplay
			case migrate:
				o.Mode = host.UpgradeMigrate
			}
			return r.durable(cmd.Context(), "upgrade session "+args[0], func(d Durable) error {
				u, err := d.Upgrade(cmd.Context(), args[0], o)
				if err != nil {
					return err
				}
				return r.show(asJSON, u, func() { r.upgraded(u) })
			})
		},
	}
	cmd.Flags().StringVar(&o.Module, "module", "", "digest of the module; else the one that the agent has now")
	cmd.Flags().BoolVar(&replay, "replay", false, "run what is on record")
	cmd.Flags().BoolVar(&migrate, "migrate", false, "take the state over")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (r *runner) upgraded(u host.Upgraded) {
	if u.From == u.To {
		r.out.linef("session %s has module %s already", u.Session, u.To)
		return
	}
	r.out.linef("session %s goes on with module %s from entry %d on, by %s", u.Session, u.To, u.Seq, u.Mode)
	r.out.linef("it had      %s", u.From)
}

func (r *runner) sessionsDiffCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff SESSION OTHER",
		Short: "Tell how two sessions differ",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.durable(cmd.Context(), fmt.Sprintf("compare sessions %s and %s", args[0], args[1]), func(d Durable) error {
				c, err := d.Diff(cmd.Context(), args[0], args[1])
				if err != nil {
					return err
				}
				return r.show(asJSON, c, func() { r.comparison(c) })
			})
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (r *runner) comparison(c host.Comparison) {
	if c.Shared > 0 {
		r.out.linef("sessions %s and %s share their past up to entry %d", c.A, c.B, c.Shared)
	} else {
		r.out.linef("sessions %s and %s share no past", c.A, c.B)
	}
	if c.Same {
		r.out.linef("what was said and done in them is the same")
	}
	for _, d := range c.Differences {
		where := fmt.Sprintf("turn %d", d.Turn)
		if d.Path != "" {
			where += ", call " + d.Path
		}
		r.out.linef("%s: the %s differs", where, d.What)
		r.side("-", d.A)
		r.side("+", d.B)
	}
}

// side shows what is on one side of a difference, if anything is.
func (r *runner) side(mark string, doc []byte) {
	if len(doc) > 0 {
		r.out.linef("  %s %s", mark, short(string(doc)))
	}
}
