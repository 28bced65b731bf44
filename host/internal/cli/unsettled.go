package cli

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host"
)

func (r *runner) sessionsUnsettledCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "unsettled",
		Short: "List the calls of which nobody knows whether they happened",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.durable(cmd.Context(), "list unsettled calls", func(d Durable) error {
				list, err := d.Unsettled(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return r.json(list)
				}
				return r.unsettledTable(list)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	return cmd
}

func (r *runner) unsettledTable(list []host.Unsettled) error {
	if len(list) == 0 {
		r.err.linef("vespiary: of every call it is known whether it happened")
		return nil
	}
	w := tabwriter.NewWriter(r.out.w, 0, 0, 2, ' ', 0)
	table := printer{w}
	table.linef("SESSION\tCALL\tAGENT\tWHAT\tSINCE\tKEY")
	for _, u := range list {
		table.linef("%s\t%s\t%s\t%s\t%s\t%s", u.Session, u.Path, u.Agent, asksFor(u.Action, u.Resource),
			u.Time.Local().Format(time.DateTime), clean(u.Key))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	r.err.linef("vespiary: find out what became of one, and say so with vespiary sessions settle SESSION CALL happened or did-not-happen")
	return nil
}

// outcomes are the words for what became of a call.
var outcomes = []string{host.SettledHappened, strings.ReplaceAll(host.SettledNot, "_", "-")}

func (r *runner) sessionsSettleCommand() *cobra.Command {
	var s host.Settlement
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "settle SESSION CALL happened|did-not-happen",
		Short: "Say what became of a call whose outcome is unknown",
		Long: `Say what became of a call whose outcome is unknown. CALL is its path, as
vespiary sessions unsettled lists it. The host does not make the call again; the
agent learns of it with --tell.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := arguments(cmd, args); err != nil {
				return err
			}
			if !slices.Contains(outcomes, strings.ReplaceAll(args[2], "_", "-")) {
				return fmt.Errorf("settle: %q is no outcome; use %s", args[2], strings.Join(outcomes, " or "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			s.Path, s.Outcome = args[1], strings.ReplaceAll(args[2], "-", "_")
			return r.durable(cmd.Context(), fmt.Sprintf("settle call %s of session %s", args[1], args[0]), func(d Durable) error {
				u, err := d.Settle(cmd.Context(), args[0], s)
				if err != nil {
					return err
				}
				return r.show(asJSON, u, func() { r.tellSettled(u, s) })
			})
		},
	}
	cmd.Flags().StringVar(&s.Note, "note", "", "how it was found out, for the record")
	cmd.Flags().BoolVar(&s.Tell, "tell", false, "tell the agent, by a signal named settled")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (r *runner) tellSettled(u host.Unsettled, s host.Settlement) {
	r.out.linef("settled call %s of session %s, %s: it %s", u.Path, u.Session, asksFor(u.Action, u.Resource), strings.ReplaceAll(s.Outcome, "_", " "))
	if s.Tell {
		r.out.linef("the agent is told; see what comes of it: vespiary sessions show %s", u.Session)
	}
}
