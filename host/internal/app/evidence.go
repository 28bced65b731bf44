package app

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/journal"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/audit"
)

// errUnread means that nobody can read what a decision was made from.
var errUnread = errors.New("what was decided is not readable")

// past is what was decided, with what it was decided about.
type past struct {
	log      *audit.Log
	journals *journal.Journals
	say      *slog.Logger
}

// asked opens the request that a record's decision answers. The error is errUnread where
// there is none, or the key of its session was destroyed.
func (p past) asked(ctx context.Context, r *policy.Record) (*policy.Request, error) {
	if len(r.Evidence) == 0 {
		return nil, fmt.Errorf("%w: the record holds none of it", errUnread)
	}
	plain := r.Evidence
	if r.Session != "" { // what is about no session holds only names, and is not sealed
		var err error
		plain, err = p.journals.Unwrap(ctx, &host.Run{Tenant: r.Tenant, Session: r.Session}, r.Evidence)
		if errors.Is(err, journal.ErrErased) {
			return nil, fmt.Errorf("%w: session %s was erased or removed", errUnread, r.Session)
		}
		if err != nil {
			return nil, fmt.Errorf("open the evidence of record %s: %w", r.ID, err)
		}
	}
	q, err := policy.ReadEvidence(plain)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnread, err)
	}
	return q, nil
}

// decided is a record of a decision; asked is nil where nobody can read it any more.
type decided struct {
	record policy.Record
	asked  *policy.Request
}

// decisions yields decisions that the query selects, up to the first error. One that
// cannot be read does not keep the others from being seen.
func (p past) decisions(ctx context.Context, q audit.Query) iter.Seq2[decided, error] {
	q.Kind = policy.RecordDecision
	return func(yield func(decided, error) bool) {
		for r, err := range p.log.Search(ctx, q) {
			if err != nil {
				yield(decided{}, err)
				return
			}
			asked, err := p.asked(ctx, &r)
			if ctx.Err() != nil {
				yield(decided{}, context.Cause(ctx))
				return
			}
			if err != nil && !errors.Is(err, errUnread) {
				p.say.WarnContext(ctx, "a decision cannot be read again", "record", r.ID, "error", err)
			}
			if !yield(decided{r, asked}, nil) {
				return
			}
		}
	}
}
