package cli

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host"
)

func (r *runner) sessionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "List, show and cancel sessions",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(r.sessionsListCommand(), r.sessionsShowCommand(), r.sessionsCancelCommand())
	return cmd
}

func (r *runner) sessionsListCommand() *cobra.Command {
	var f host.SessionFilter
	var status string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List sessions, the newest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, _, err := r.service(cmd.Context())
			if err != nil {
				return err
			}
			defer s.Close() //nolint:errcheck // only read from
			f.Status = host.SessionStatus(status)
			list, err := s.Sessions(cmd.Context(), f)
			if err != nil {
				return fmt.Errorf("list sessions: %w", err)
			}
			if asJSON {
				return r.json(list)
			}
			return r.sessionTable(list)
		},
	}
	cmd.Flags().StringVar(&f.Agent, "agent", "", "only those of this agent")
	cmd.Flags().StringVar(&status, "status", "", "only those that are idle, running, waiting or parked")
	cmd.Flags().IntVar(&f.Limit, "limit", 20, "how many")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	return cmd
}

func (r *runner) sessionTable(list []host.Session) error {
	w := tabwriter.NewWriter(r.out.w, 0, 0, 2, ' ', 0)
	table := printer{w}
	table.linef("SESSION\tAGENT\tSTATUS\tTURNS\tTOKENS\tUPDATED")
	for _, s := range list {
		table.linef("%s\t%s\t%s\t%d\t%d\t%s", s.ID, s.Agent, s.Status, s.Turns,
			s.Usage.InputTokens+s.Usage.OutputTokens, s.Updated.Local().Format(time.DateTime))
	}
	return w.Flush()
}

func (r *runner) sessionsCancelCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel SESSION",
		Short: "End what runs and what is queued in a session",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, _, err := r.service(cmd.Context())
			if err != nil {
				return err
			}
			session, err := s.Cancel(cmd.Context(), args[0])
			if err != nil {
				_ = s.Close()
				return fmt.Errorf("cancel session %s: %w", args[0], err)
			}
			r.out.linef("cancelled session %s; %d of its %d turns have ended", session.ID, session.Ended, session.Turns)
			return s.Close()
		},
	}
}

func (r *runner) sessionsShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show SESSION",
		Short: "Print the turns of a session: what was said, called, and decided by which policy",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, _, err := r.service(cmd.Context())
			if err != nil {
				return err
			}
			defer s.Close() //nolint:errcheck // only read from
			session, err := s.Session(cmd.Context(), args[0])
			if err != nil {
				return fmt.Errorf("show session %s: %w", args[0], err)
			}
			v := historyView{runner: r, asJSON: asJSON}
			v.head(session)
			return v.journal(cmd.Context(), s, args[0])
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the records of its journal as JSON, one a line")
	return cmd
}

func (r *runner) json(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	r.out.linef("%s", b)
	return nil
}
