package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/cedar"
)

// Explain implements api.Policies: by the set that decided, as far as it can be had.
func (p policies) Explain(ctx context.Context, c host.Caller, decision string) (host.Explanation, error) {
	r, err := p.Past.log.Get(ctx, c.Tenant, decision)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return host.Explanation{}, noRecord(decision)
	case err != nil:
		return host.Explanation{}, err
	case r.Decision == nil:
		return host.Explanation{}, host.Errorf(host.ErrInvalid, "explain %s: it is a record of the kind %s; name that of a decision", r.ID, r.Kind)
	}
	out := host.Explanation{Record: r}
	lines := []string{headline(&r)}
	asked, err := p.Past.asked(ctx, &r)
	switch {
	case errors.Is(err, errUnread) || err == nil && r.Decision.Set == "": // policies were not asked
		if err != nil {
			lines = append(lines, fmt.Sprintf("%v, so only what was decided can be told.", err))
		}
		lines = append(lines, verdict(r.Decision)...)
	case err != nil:
		return host.Explanation{}, err
	default:
		e, note, err := p.explained(ctx, asked, r.Decision)
		if err != nil {
			return host.Explanation{}, err
		}
		if lines = append(lines, e.Lines...); note != "" {
			lines = append(lines, note)
		}
		if out.Detail, err = json.Marshal(e); err != nil {
			return host.Explanation{}, err
		}
	}
	out.Text = strings.Join(append(lines, differs(r.Decision)...), "\n")
	return out, nil
}

// explained explains a decision by the set that made it, or else what the active one makes
// of the request, and says so.
func (p policies) explained(ctx context.Context, asked *policy.Request, d *policy.Decision) (cedar.Explanation, string, error) {
	set, err := p.byDigest(ctx, d.Set)
	if err == nil {
		return set.Explain(asked, *d), "", nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, store.ErrClosed) {
		return cedar.Explanation{}, "", err
	}
	active, missing := p.set()
	if missing != nil {
		return cedar.Explanation{}, "", missing
	}
	now := cedar.New(active).Authorize(ctx, asked)
	note := fmt.Sprintf("This is what the policies of now say, by which it is %s: those that decided, %s, cannot be used any more.", outcome(&now), d.Set)
	return active.Explain(asked, now), note, nil
}

// byDigest returns a set that decides or once did.
func (p policies) byDigest(ctx context.Context, digest string) (*cedar.Set, error) {
	for _, set := range []*cedar.Set{p.Engine.Set(), p.Engine.Candidate()} {
		if set != nil && set.Digest() == digest {
			return set, nil
		}
	}
	kept, err := p.Kept.find(ctx, digest)
	if err != nil {
		return nil, err
	}
	return kept.compile(digest)
}

// headline says who asked for what, and what was decided.
func headline(r *policy.Record) string {
	what := r.Action
	if r.Resource.Type != "" {
		what += fmt.Sprintf(" on %s %s", r.Resource.Type, r.Resource.ID)
	}
	return fmt.Sprintf("%s: %s asked for %s, which was %s.", r.Time.UTC().Format("2006-01-02 15:04:05 MST"), asker(r.Who), what, outcome(r.Decision))
}

// asker names who acts, and the user for whom.
func asker(who []policy.Actor) string {
	if len(who) == 0 {
		return "somebody"
	}
	user := who[len(who)-1].User
	switch agent := who[0].Agent; {
	case agent == "":
		return "user " + user
	case user == "":
		return "agent " + agent
	default:
		return fmt.Sprintf("agent %s for user %s", agent, user)
	}
}

func outcome(d *policy.Decision) string {
	switch {
	case d.Allowed:
		return "allowed"
	case d.Approval != "":
		return "left to a person"
	default:
		return "denied"
	}
}

// verdict says what a decision itself says of its reasons.
func verdict(d *policy.Decision) []string {
	lines := slices.Clone(d.Errors)
	for _, c := range d.Policies {
		line := "decided by " + c.ID
		if c.File != "" {
			line += fmt.Sprintf(" (%s:%d)", c.File, c.Line)
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		lines = []string{"no policy permits it"}
	}
	return lines
}

// differs says what the candidate would have decided, where that is something else.
func differs(d *policy.Decision) []string {
	if d.Candidate == nil || outcome(d.Candidate) == outcome(d) {
		return nil
	}
	lines := []string{fmt.Sprintf("By the candidate %s it would be %s:", d.Candidate.Set, outcome(d.Candidate))}
	for _, line := range verdict(d.Candidate) {
		lines = append(lines, "  "+line)
	}
	return lines
}
