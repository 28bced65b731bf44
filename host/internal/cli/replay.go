package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

func (r *runner) sessionsReplayCommand() *cobra.Command {
	var o host.ReplayOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "replay SESSION",
		Short: "Run a session again on what is on record, and compare",
		Long: `Run a session again on what is on record, and tell of each turn whether it came to
the same. Nothing of it is kept, and no call is made but those of a model that
--model names. The command fails when anything was not the same.`,
		Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.durable(cmd.Context(), "replay session "+args[0], func(d Durable) error {
				report, err := d.Replay(cmd.Context(), args[0], o)
				if err != nil {
					return err
				}
				if err := r.show(asJSON, report, func() { r.replayed(report) }); err != nil {
					return err
				}
				return unlike(report)
			})
		},
	}
	cmd.Flags().StringVar(&o.Module, "module", "", "digest of another module than the session's")
	cmd.Flags().StringVar(&o.Model, "model", "", "a model of the configuration that is asked instead of what is on record")
	cmd.Flags().Uint64Var(&o.Until, "until", 0, "the last entry that takes part; 0 is the newest")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// unlike makes a replay that was not the same the command's failure.
func unlike(report host.Replayed) error {
	if report.Same {
		return nil
	}
	n := 0
	for _, t := range report.Turns {
		if !t.Same {
			n++
		}
	}
	return fmt.Errorf("%d of %s came to something else", n, count(len(report.Turns), "turn", "turns"))
}

func (r *runner) replayed(report host.Replayed) {
	for _, t := range report.Turns {
		verdict := "changed"
		if t.Same {
			verdict = "same"
		}
		r.out.linef("turn %d: %s, %s%s", t.Turn, verdict, count(t.Calls, "call", "calls"), fuel(t))
		for _, c := range t.Changes {
			r.out.linef("  %s %s: %s", c.Path, c.Name, changed(c))
			r.side("-", c.Was)
			r.side("+", c.Is)
		}
		r.reply("-", t.Was)
		r.reply("+", t.Is)
		if t.Error != "" {
			r.out.linef("  it ended without a reply: %s", short(t.Error))
		}
	}
	if u := report.Usage; u.InputTokens+u.OutputTokens > 0 {
		r.out.linef("asking again took %d tokens", u.InputTokens+u.OutputTokens)
	}
}

// fuel tells how the work of the guest has changed, if it has.
func fuel(t host.ReplayedTurn) string {
	if t.Fuel == t.WasFuel {
		return ""
	}
	return fmt.Sprintf(", %d fuel instead of %d", t.Fuel, t.WasFuel)
}

// changed says how a call compares with the record.
func changed(c host.ReplayedCall) string {
	text := map[host.Change]string{
		host.CallNew:     "it is not on record",
		host.CallMissing: "it was not made again",
		host.CallChanged: "its request is another one",
	}[c.Change]
	switch {
	case text == "":
		text = string(c.Change)
	case c.Answer == "asked":
		text += ", and was answered anew"
	case c.Answer == "refused":
		text += ", and was refused"
	}
	return text
}

// reply shows a reply that differs.
func (r *runner) reply(mark string, reply *abi.Reply) {
	if reply != nil {
		r.out.linef("  %s reply, %s: %s", mark, reply.Status, short(abi.TextOf(reply.Content)))
	}
}
