package cedar

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/vespiary/vespiary/policy"
)

// Past is a request that was decided, and how.
type Past struct {
	ID       string // names the record, for people
	Request  policy.Request
	Decision policy.Decision
}

// The answers that a Simulation tells apart.
const (
	answerAllowed  = "allowed"
	answerDenied   = "denied"
	answerApproval = "approval" // denied, and a person may lift it
	answerError    = "error"    // denied, because it could not be decided
)

// Change is a request that would be answered differently now.
type Change struct {
	ID        string          `json:"id"`
	Principal policy.UID      `json:"principal"`
	Action    policy.UID      `json:"action"`
	Resource  policy.UID      `json:"resource"`
	From      string          `json:"from"` // "allowed", "denied", "approval" (a person may lift it) or "error" (not to be decided)
	To        string          `json:"to"`
	Was       policy.Decision `json:"was"`
	Now       policy.Decision `json:"now"`
}

// Simulation is the sum of what would change.
type Simulation struct {
	Set     string `json:"set"`     // digest of the set that was tried
	Total   int    `json:"total"`   // requests decided again
	Changed int    `json:"changed"` // those with another answer
	// Changes counts the changed ones: Changes["denied"]["allowed"].
	Changes map[string]map[string]int `json:"changes,omitempty"`
	// Reasons counts those with the same answer for another reason: other policies, another
	// link of the chain, or another text for the person who approves.
	Reasons int `json:"reasons"`
}

// Simulate decides past requests again by this set, one after the other as they come,
// and calls changed for each that would be answered differently. It stops at the first
// error, of past, of changed or of ctx. Under the set that decided them nothing changes.
func (s *Set) Simulate(ctx context.Context, past iter.Seq2[Past, error], changed func(Change) error) (Simulation, error) {
	out := Simulation{Set: s.digest}
	engine := New(s)
	for p, err := range past {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return out, fmt.Errorf("simulate past decisions: %w", err)
		}
		now := engine.Authorize(ctx, &p.Request)
		out.Total++
		from, to := answer(p.Decision), answer(now)
		if from == to {
			if !sameReason(p.Decision, now) {
				out.Reasons++
			}
			continue
		}
		out.count(from, to)
		r := &p.Request
		c := Change{ID: p.ID, Principal: r.Principal, Action: r.Action, Resource: r.Resource, From: from, To: to, Was: p.Decision, Now: now}
		if err := changed(c); err != nil {
			return out, fmt.Errorf("simulate past decisions: %w", err)
		}
	}
	return out, nil
}

func (s *Simulation) count(from, to string) {
	s.Changed++
	if s.Changes == nil {
		s.Changes = map[string]map[string]int{}
	}
	if s.Changes[from] == nil {
		s.Changes[from] = map[string]int{}
	}
	s.Changes[from][to]++
}

func answer(d policy.Decision) string {
	switch {
	case d.Allowed:
		return answerAllowed
	case len(d.Errors) > 0:
		return answerError
	case d.Approval != "":
		return answerApproval
	default:
		return answerDenied
	}
}

// sameReason compares what decided, not where it stands in its file: a set with a line
// more at the top decides the same.
func sameReason(a, b policy.Decision) bool {
	return a.Hop == b.Hop && a.Approval == b.Approval && slices.Equal(causeIDs(a), causeIDs(b))
}

func causeIDs(d policy.Decision) []string {
	var ids []string
	for _, c := range d.Policies {
		ids = append(ids, c.ID)
	}
	slices.Sort(ids)
	return ids
}
