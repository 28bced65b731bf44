package cli

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host"
)

func (r *runner) tasksCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tasks",
		Short: "List, show, open and end tasks, and call as a program elsewhere does in one",
		Args:  arguments,
		RunE:  help,
	}
	cmd.AddCommand(r.tasksListCommand(), r.tasksShowCommand(), r.tasksOpenCommand(), r.tasksCallCommand(), r.tasksEndCommand())
	return cmd
}

func (r *runner) tasksListCommand() *cobra.Command {
	var f host.TaskFilter
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List tasks, the newest first",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd.Context(), r, "list tasks", func(t Tasks) error {
				list, err := t.Tasks(cmd.Context(), f)
				if err != nil {
					return err
				}
				if asJSON {
					return r.json(list)
				}
				return r.taskTable(list)
			})
		},
	}
	cmd.Flags().StringVar(&f.Agent, "agent", "", "only those of this agent")
	cmd.Flags().StringVar((*string)(&f.State), "state", "", "only those that are active, completed, cancelled or expired")
	cmd.Flags().IntVar(&f.Limit, "limit", 20, "how many")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (r *runner) taskTable(list []host.Task) error {
	w := tabwriter.NewWriter(r.out.w, 0, 0, 2, ' ', 0)
	table := printer{w}
	table.linef("TASK\tSTATE\tAGENT\tUSER\tSESSION\tOPENED\tEXPIRES\tPURPOSE")
	for _, t := range list {
		table.linef("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", t.ID, t.State, t.Agent, clean(t.User), t.Session,
			local(t.Opened), expiry(t.Expires), short(t.Purpose))
	}
	return w.Flush()
}

// expiry is for people when something ends.
func expiry(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return local(t)
}

func (r *runner) tasksShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show TASK",
		Short: "Print what a task is for, what it may do, and until when",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			return with(cmd.Context(), r, "show task "+args[0], func(d Tasks) error {
				t, err := d.Task(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return r.show(asJSON, t, func() { r.task(t) })
			})
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (r *runner) task(t host.Task) {
	r.out.linef("task     %s: %s", t.ID, t.State)
	if t.Purpose != "" {
		r.out.linef("purpose  %s", short(t.Purpose))
	}
	elsewhere := ""
	if t.External {
		elsewhere = ", a program elsewhere"
	}
	r.out.linef("agent    %s%s, for user %s", t.Agent, elsewhere, clean(t.User))
	r.out.linef("session  %s, turn %d", t.Session, t.Turn)
	if t.Parent != "" {
		r.out.linef("from     task %s of session %s", t.Parent, t.Above)
	}
	r.out.linef("opened   %s, expires %s", local(t.Opened), expiry(t.Expires))
	if !t.Ended.IsZero() {
		r.out.linef("ended    %s", local(t.Ended))
	}
	r.out.linef("budget   %s", budgetText(t.Budget))
	if t.Grants == nil {
		r.out.linef("grants   all that policies permit")
	} else {
		r.out.linef("grants   %s", cmp.Or(clean(strings.Join(grantTexts(t.Grants), " ")), "nothing"))
	}
	if t.State == host.TaskActive {
		r.out.linef("\nend it: vespiary tasks end %s cancelled", t.ID)
	}
}

func budgetText(b host.Budget) string {
	var out []string
	limit := func(n int64, what string) {
		if n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, what))
		}
	}
	limit(b.Tokens, "tokens")
	limit(b.Calls, "calls")
	limit(b.Fuel, "fuel")
	if b.CostMicros > 0 {
		out = append(out, fmt.Sprintf("%.6f USD", float64(b.CostMicros)/1e6))
	}
	if b.Time > 0 {
		out = append(out, b.Time.String())
	}
	return cmp.Or(strings.Join(out, ", "), "without limit")
}
