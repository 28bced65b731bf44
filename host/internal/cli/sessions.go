package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

func (r *runner) sessionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "List, show, cancel, fork, replay, export and mend sessions",
		Args:  arguments,
		RunE:  help,
	}
	cmd.AddCommand(
		r.sessionsListCommand(), r.sessionsShowCommand(), r.sessionsCancelCommand(), r.sessionsSignalCommand(),
		r.sessionsForkCommand(), r.sessionsRevertCommand(), r.sessionsReplayCommand(), r.sessionsDiffCommand(), r.sessionsUpgradeCommand(),
		r.sessionsUnsettledCommand(), r.sessionsSettleCommand(), r.sessionsResumeCommand(),
		r.sessionsExportCommand(), r.sessionsImportCommand(), r.sessionsVerifyCommand(), r.sessionsEraseCommand(),
	)
	return cmd
}

func (r *runner) sessionsListCommand() *cobra.Command {
	var f host.SessionFilter
	var status string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List sessions, the newest first",
		Args:  arguments,
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
	cmd.Flags().StringVar(&status, "status", "", "only those that are idle, running, waiting, suspended, erased or parked")
	cmd.Flags().IntVar(&f.Limit, "limit", 20, "how many")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	return cmd
}

func (r *runner) sessionTable(list []host.Session) error {
	w := tabwriter.NewWriter(r.out.w, 0, 0, 2, ' ', 0)
	table := printer{w}
	table.linef("SESSION\tAGENT\tSTATUS\tTURNS\tTOKENS\tUPDATED\tWHY")
	for _, s := range list {
		table.linef("%s\t%s\t%s\t%d\t%d\t%s\t%s", s.ID, s.Agent, s.Status, s.Turns,
			s.Usage.InputTokens+s.Usage.OutputTokens, local(s.Updated), short(why(s)))
	}
	return w.Flush()
}

// why says what stands behind a session's status, "" where nothing does.
func why(s host.Session) string {
	switch s.Status {
	case host.SessionSuspended:
		return fmt.Sprintf("turn %d waits for %s", s.Ended+1, waitsFor(s.Waiting))
	case host.SessionWaiting:
		return "it waits for " + waitsFor(s.Waiting)
	case host.SessionErased:
		return "what was said and read in it is gone, its record remains"
	default:
		return s.Reason
	}
}

// remedies are the commands by which a session that stopped goes on.
func remedies(s host.Session) []string {
	switch s.Status {
	case host.SessionParked:
		return []string{"let it go on: vespiary sessions resume " + s.ID}
	case host.SessionSuspended, host.SessionWaiting:
		out := wakes(s.ID, s.Waiting)
		for _, w := range s.Waiting {
			if w.Type == abi.EventApproval {
				out = append(out, answers(w.Name)...)
			}
		}
		return out
	default:
		return nil
	}
}

func (r *runner) sessionsCancelCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel SESSION",
		Short: "End what runs and what is queued in a session",
		Args:  arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, _, err := r.service(cmd.Context())
			if err != nil {
				return err
			}
			if err := r.cancel(cmd.Context(), s, args[0]); err != nil {
				_ = s.Close()
				return fmt.Errorf("cancel session %s: %w", args[0], err)
			}
			return s.Close()
		},
	}
}

// How long to wait for cancelled turns to end: they do so at their next host call.
const (
	cancelTime = 10 * time.Second
	cancelPoll = 100 * time.Millisecond
)

// cancel ends what runs in a session and says what that was.
func (r *runner) cancel(ctx context.Context, s Service, id string) error {
	before, err := s.Session(ctx, id)
	if err != nil {
		return err
	}
	if !underWay(before) {
		r.out.linef("nothing was running in session %s", id)
		return nil
	}
	after, err := s.Cancel(ctx, id)
	if err != nil {
		return err
	}
	if _, runs := s.(*client); !runs {
		r.out.linef("cancelled session %s: %s will end when the host runs again", id, turns(before.Ended+1, before.Turns))
		return nil
	}
	if after, err = settled(ctx, s, after); err != nil {
		return err
	}
	if after.Ended > before.Ended {
		r.out.linef("cancelled session %s: %s ended", id, turns(before.Ended+1, after.Ended))
	}
	if underWay(after) {
		r.err.linef("vespiary: %s of session %s has not ended in %s; it ends at its next host call", turns(after.Ended+1, after.Ended+1), id, cancelTime)
	}
	return nil
}

// underWay reports whether a turn of the session has begun, or is queued.
func underWay(s host.Session) bool {
	return s.Status == host.SessionRunning || s.Status == host.SessionSuspended
}

// settled waits until a session does not run any more, or cancelTime has passed.
func settled(ctx context.Context, s Service, session host.Session) (host.Session, error) {
	bounded, stop := context.WithTimeout(ctx, cancelTime)
	defer stop()
	for underWay(session) {
		if wait(bounded, cancelPoll) != nil {
			return session, ctx.Err() // nil when it is only too late
		}
		var err error
		if session, err = s.Session(ctx, session.ID); err != nil {
			return session, err
		}
	}
	return session, nil
}

func turns(from, to int) string {
	if from >= to {
		return fmt.Sprintf("turn %d", to)
	}
	return fmt.Sprintf("turns %d to %d", from, to)
}

func (r *runner) sessionsShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show SESSION",
		Short: "Print the turns of a session: what was said, called, and decided by which policy",
		Args:  arguments,
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
			v := newHistoryView(r, asJSON)
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
