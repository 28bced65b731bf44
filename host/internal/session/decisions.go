package session

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/vespiary/vespiary/host"
)

// sessionsSearched bounds how many sessions Decisions looks through.
const sessionsSearched = 200

// Decisions returns the newest decisions in the caller's newest sessions, newest
// first.
func (s *Service) Decisions(ctx context.Context, c host.Caller, deniedOnly bool, limit int) ([]host.DecisionRecord, error) {
	out := []host.DecisionRecord{}
	searched := 0
	for h, err := range s.heads(ctx, func(h *host.Session) bool { return mayTouch(c, h) }) {
		if err != nil {
			return nil, err
		}
		found, err := s.decided(ctx, h, deniedOnly)
		if err != nil {
			return nil, err
		}
		if out = append(out, found...); searched == sessionsSearched {
			break
		}
		searched++
	}
	slices.SortStableFunc(out, func(a, b host.DecisionRecord) int { return b.Time.Compare(a.Time) })
	if limit > 0 && len(out) > limit {
		out = out[:limit]
	}
	return out, nil
}

// decided returns the decisions that a session's journal holds.
func (s *Service) decided(ctx context.Context, head host.Session, deniedOnly bool) ([]host.DecisionRecord, error) {
	var out []host.DecisionRecord
	for e, err := range s.opt.Journals.Read(ctx, head.Tenant, head.ID, 1) {
		if err != nil {
			return nil, err
		}
		if e.Kind != host.EntryIntent {
			continue
		}
		var in host.Intent
		if err := json.Unmarshal(e.Body, &in); err != nil {
			return nil, err
		}
		if deniedOnly && in.Decision.Allowed {
			continue
		}
		out = append(out, host.DecisionRecord{
			Session: head.ID, Agent: head.Agent, Turn: e.Turn, Time: e.Time, Call: viewOf(e, in), Recorded: in.Evidence,
		})
	}
	return out, nil
}
