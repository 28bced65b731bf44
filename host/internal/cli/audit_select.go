package cli

import (
	"context"
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// selection selects records of the audit.
type selection struct {
	find         host.AuditFilter
	since, until moment
	limit        int
}

func (s *selection) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.find.Session, "session", "", "only those of this session")
	f.StringVar(&s.find.Task, "task", "", "only those in which somebody acts in this task")
	f.StringVar(&s.find.Agent, "agent", "", "only those in which this agent acts, or is acted for")
	f.StringVar(&s.find.User, "user", "", "only those in which this user acts, or is acted for")
	f.StringVar(&s.find.Action, "action", "", "only those of this action of the policies, such as fileRead")
	f.StringVar((*string)(&s.find.Kind), "kind", "", "only those that are a decision, an outcome or about a task")
	f.BoolVar(&s.find.Denied, "denied", false, "only denials")
	f.StringVar(&s.find.Call, "call", "", "only those of this host call, such as file_read")
	f.BoolVar(&s.find.Allowed, "allowed", false, "only what was allowed")
	f.BoolVar(&s.find.Differs, "candidate", false, "only those that the candidate set decides otherwise")
}

func (s *selection) timeFlags(cmd *cobra.Command) {
	cmd.Flags().Var(&s.since, "since", "only those since then: a span back from now such as 7d, a day or a time")
	cmd.Flags().Var(&s.until, "until", "only those before then")
}

// filter is what the host looks for.
func (s *selection) filter(now time.Time) host.AuditFilter {
	f := s.find
	f.Since, f.Until = s.since.time(now), s.until.time(now)
	return f
}

// maxPage is the largest page that the host gives.
const maxPage = 1000

// search returns the newest records that are selected, page after page until there are
// enough.
func (s *selection) search(ctx context.Context, a Audit, now time.Time) ([]policy.Record, error) {
	out := []policy.Record{}
	f := s.filter(now)
	for {
		f.Limit = min(maxPage, max(1, s.limit-len(out)))
		page, next, err := a.SearchAudit(ctx, f)
		if err != nil {
			return nil, err
		}
		if out = append(out, page...); next == "" || len(out) >= s.limit {
			return out, nil
		}
		f.After = next
	}
}

// compact is a document in one line.
func compact(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
