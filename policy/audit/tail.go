package audit

import (
	"context"
	"fmt"
	"iter"

	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// Tail yields the records of a tenant as they become durable, until ctx ends. From is the id
// of the record to begin after; those that are there already come first, in the order of
// time. An empty From begins with what is new. It ends with an error when the reader falls
// too far behind, and may then be called again from the last record.
func (l *Log) Tail(ctx context.Context, tenant, from string) iter.Seq2[policy.Record, error] {
	return func(yield func(policy.Record, error) bool) {
		if err := checkName("tenant", tenant); err != nil {
			yield(policy.Record{}, err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		// The watch begins first, so that nothing is missed between the two.
		t := tail{prefix: prefix(records, tenant), yield: yield, seen: map[string]uint64{}}
		changes := l.opt.Store.Watch(ctx, t.prefix)
		if from != "" && !t.before(l.Search(ctx, Query{Tenant: tenant, After: from})) {
			return
		}
		for c, err := range changes {
			if err != nil {
				yield(policy.Record{}, fmt.Errorf("audit: follow the records of %s, go on from the last one: %w", tenant, err))
				return
			}
			if !t.change(c) {
				return
			}
		}
	}
}

type tail struct {
	prefix []byte
	yield  func(policy.Record, error) bool
	// seen is the last record of each chain that came by the search and may come by the
	// watch too. Within a chain the order of both is the same.
	seen map[string]uint64
}

func (t *tail) before(found iter.Seq2[policy.Record, error]) bool {
	for r, err := range found {
		if !t.yield(r, err) || err != nil {
			return false
		}
		t.seen[r.Chain] = r.N
	}
	return true
}

func (t *tail) change(c store.Change) bool {
	for _, op := range c.Ops {
		chain, n, err := parseRecordKey(op.Key[len(t.prefix):])
		if err != nil || op.Value == nil || n <= t.seen[chain] {
			continue
		}
		r, err := decode(op.Value)
		if !t.yield(r, err) || err != nil {
			return false
		}
	}
	return true
}
