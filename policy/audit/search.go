package audit

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// Verdict selects records by what was decided.
type Verdict string

// The verdicts. Records without a decision have none.
const (
	Allowed Verdict = "allowed"
	Denied  Verdict = "denied"
	// Differs selects decisions for which the candidate set decides otherwise than the
	// active one.
	Differs Verdict = "differs"
)

// Query selects records of a tenant, in the order of time. Empty fields select all.
type Query struct {
	Tenant string // required
	// Chain selects the records of one chain, such as a task's; only these are read.
	Chain string
	// Task selects records of which the task acts or is acted for, and those of its chain.
	Task     string
	Session  string
	Agent    string // that acts or is acted for
	User     string // likewise
	Call     string
	Action   string
	Resource policy.UID // without an ID all of the type, without a type all of the ID
	Decision Verdict
	Kind     policy.RecordKind
	Since    time.Time // the first moment
	Until    time.Time // the first moment after the last
	After    string    // id of the record to go on after, which is not selected
	Limit    int       // 0: all
	Reverse  bool      // the newest first
}

// Get returns one record by its id. The error is store.ErrNotFound if there is none.
func (l *Log) Get(ctx context.Context, tenant, id string) (r policy.Record, err error) {
	if err := checkName("tenant", tenant); err != nil {
		return r, err
	}
	chain, n, err := parseID(id)
	if err != nil {
		return r, err
	}
	err = l.opt.Store.View(ctx, func(tx store.Tx) error {
		item, err := tx.Get(recordKey(tenant, chain, n))
		if err == nil {
			r, err = decode(item.Value)
		}
		return err
	})
	if err != nil {
		return policy.Record{}, fmt.Errorf("audit: get record %s: %w", id, err)
	}
	return r, nil
}

// Search yields the records that a query selects until the first error. It sees what is
// committed while it goes on, as far as that comes later in its order.
func (l *Log) Search(ctx context.Context, q Query) iter.Seq2[policy.Record, error] {
	return func(yield func(policy.Record, error) bool) {
		s, err := l.newScan(ctx, q)
		for left := q.Limit; err == nil && !s.done; {
			var found []policy.Record
			err = l.opt.Store.View(ctx, func(tx store.Tx) (err error) {
				found, err = s.page(tx)
				return err
			})
			for _, r := range found {
				if !yield(r, nil) {
					return
				}
				if left--; left == 0 {
					return
				}
			}
		}
		if err != nil {
			yield(policy.Record{}, fmt.Errorf("audit: search: %w", err))
		}
	}
}
