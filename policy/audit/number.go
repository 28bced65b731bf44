package audit

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// scratch holds buffers, so that a record is encoded before it is known how long it is.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// number gives a record its place after the head of its chain, moves the head there, and
// appends the ops that write the record and put it in the queue.
func (l *Log) number(ops []store.Op, h *head, r *policy.Record) []store.Op {
	h.n++
	r.N, r.ID, r.Prev = h.n, recordID(r.Chain, h.n), h.hash
	if r.Time.IsZero() {
		r.Time = l.opt.Now()
	}
	// Without the reading of the monotonic clock, and later than the one before, so that
	// the order of time is that of the chain.
	if r.Time = r.Time.Round(0).UTC(); !r.Time.After(h.time) {
		r.Time = h.time.Add(1).UTC()
	}
	b := scratch.Get().(*[]byte)
	defer scratch.Put(b)
	*b = canonical((*b)[:0], r)
	hash := digest(*b)
	r.Hash = digestText(hash)
	h.hash, h.time = r.Hash, r.Time
	return appendOps(ops, r, *b, hash[:])
}

// appendOps cuts the keys and values from one allocation.
func appendOps(ops []store.Op, r *policy.Record, canonical, hash []byte) []store.Op {
	const overhead = 2*len("audit/x///") + 3*number
	all := make([]byte, 0, len(canonical)+len(hash)+2*(len(r.Tenant)+len(r.Chain))+overhead)
	cut := func(grown []byte) []byte {
		from := len(all)
		all = grown
		return all[from:len(all):len(all)]
	}
	p := place{r.Time.UnixNano(), r.Chain, r.N}
	key := cut(binary.BigEndian.AppendUint64(append(append(appendPrefix(all, records, r.Tenant), r.Chain...), '/'), r.N))
	value := cut(append(all, canonical...))
	queued := cut(p.append(appendPrefix(all, queue, r.Tenant)))
	return append(ops, store.Op{Key: key, Value: value}, store.Op{Key: queued, Value: cut(append(all, hash...))})
}

// load reads the newest record of a chain, unless it is known.
func (l *Log) load(ctx context.Context, c *chain) error {
	if stale := c.stale.Swap(false); c.loaded && !stale {
		return nil
	}
	c.loaded = false
	if c.unknown {
		// The store takes batches in order, so what a failed commit may still write is
		// written before this one returns.
		if _, err := l.opt.Store.Commit(ctx, store.Batch{}); err != nil {
			return fmt.Errorf("audit: wait for the store: %w", err)
		}
	}
	newest := head{time: time.Unix(0, 0)}
	prefix := recordPrefix(c.key.tenant, c.key.chain)
	err := l.opt.Store.View(ctx, func(tx store.Tx) error {
		for item, err := range tx.Scan(store.Query{Prefix: prefix, Reverse: true, Limit: 1}) {
			if err != nil {
				return err
			}
			r, err := decode(item.Value)
			if err != nil {
				return err
			}
			newest = head{n: binary.BigEndian.Uint64(item.Key[len(prefix):]), hash: r.Hash, time: r.Time}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("audit: read the end of chain %s: %w", c.key.chain, err)
	}
	c.head, c.loaded, c.unknown = newest, true, false
	c.unsettled.Store(false)
	return nil
}
