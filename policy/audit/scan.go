package audit

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// pageSize is how many records are looked at in one view, so that none is held for long.
const pageSize = 256

// scan is a search under way. Where it goes on is the rest of a key, after what the keys of
// one kind and tenant begin with, or of one chain.
type scan struct {
	filter  filter
	tenant  string
	chain   string // the only one to read, or ""
	reverse bool
	from    []byte // where to go on; nil: where the order begins
	seen    []byte // what to leave out there
	until   []byte // where the range of time ends; nil: with the keys
	done    bool
}

func (l *Log) newScan(ctx context.Context, q Query) (*scan, error) {
	if err := checkName("tenant", q.Tenant); err != nil {
		return nil, err
	}
	if q.Chain != "" {
		if err := checkName("chain", q.Chain); err != nil {
			return nil, err
		}
	}
	s := &scan{filter: newFilter(q), tenant: q.Tenant, chain: q.Chain, reverse: q.Reverse}
	if s.chain == "" {
		if s.from, s.until = timeKey(q.Since), timeKey(q.Until); s.reverse {
			s.from, s.until = s.until, s.from
		}
	}
	if q.After == "" {
		return s, nil
	}
	r, err := l.Get(ctx, q.Tenant, q.After)
	if err != nil {
		return nil, fmt.Errorf("go on after %s: %w", q.After, err)
	}
	s.after(&r)
	return s, nil
}

// after has the scan go on behind a record, unless the range begins later.
func (s *scan) after(r *policy.Record) {
	at := placeOf(r).append(nil)
	if s.chain != "" {
		if r.Chain != s.chain { // none of its records: the filter leaves out what is before
			s.filter.after = at
			return
		}
		at = at[len(at)-number:]
	}
	if s.from == nil || s.order(s.from, at) < 0 {
		s.from, s.seen = at, at
	}
}

func placeOf(r *policy.Record) place { return place{r.Time.UnixNano(), r.Chain, r.N} }

// timeKey is before the places of a moment and after those of the moments before it; nil for
// the zero time.
func timeKey(t time.Time) []byte {
	if t.IsZero() {
		return nil
	}
	t = time.Unix(max(0, min(t.Unix(), lastSecond)), int64(t.Nanosecond()))
	return place{time: t.UnixNano()}.append(nil)[:number]
}

// order compares keys in the order of the search.
func (s *scan) order(a, b []byte) int {
	if s.reverse {
		a, b = b, a
	}
	return bytes.Compare(a, b)
}

// ended reports whether a place is beyond the range. The moment at its end is, in either
// order: going back, its places come before the key of the moment.
func (s *scan) ended(at []byte) bool {
	return s.until != nil && (bytes.Compare(at, s.until) < 0) == s.reverse
}

// page reads on and returns what it finds.
func (s *scan) page(tx store.Tx) ([]policy.Record, error) {
	values, err := s.next(tx)
	if err != nil {
		return nil, err
	}
	var found []policy.Record
	for _, v := range values {
		r, ok, err := s.filter.match(v)
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, r)
		}
	}
	return found, nil
}

// next returns the bytes of the records to look at next.
func (s *scan) next(tx store.Tx) ([][]byte, error) {
	if s.chain != "" {
		items, err := s.read(tx, recordPrefix(s.tenant, s.chain), false)
		s.goOn(items)
		return values(items), err
	}
	items, err := s.places(tx)
	if err != nil {
		return nil, err
	}
	for i := range items {
		if items[i].Value, err = s.record(tx, items[i].Key); err != nil {
			return nil, err
		}
	}
	return values(items), nil
}

func values(items []store.Item) [][]byte {
	var out [][]byte
	for _, item := range items {
		out = append(out, item.Value)
	}
	return out
}

// places merges the queue and the index, which have places in the same order and none in
// common.
func (s *scan) places(tx store.Tx) ([]store.Item, error) {
	queued, err := s.read(tx, prefix(queue, s.tenant), true)
	if err != nil {
		return nil, err
	}
	items, err := s.read(tx, prefix(index, s.tenant), true)
	if err != nil {
		return nil, err
	}
	items = append(items, queued...)
	slices.SortFunc(items, func(a, b store.Item) int { return s.order(a.Key, b.Key) })
	items = items[:min(len(items), pageSize)]
	s.goOn(items)
	if end := slices.IndexFunc(items, func(i store.Item) bool { return s.ended(i.Key) }); end >= 0 {
		items, s.done = items[:end], true
	}
	return items, nil
}

// goOn moves the scan behind a page.
func (s *scan) goOn(items []store.Item) {
	if s.done = len(items) < pageSize; !s.done {
		s.from = items[len(items)-1].Key
		s.seen = s.from
	}
}

// read returns the first items of a page, with the rest of their keys.
func (s *scan) read(tx store.Tx, prefix []byte, keysOnly bool) ([]store.Item, error) {
	q := store.Query{Prefix: prefix, Reverse: s.reverse, KeysOnly: keysOnly, Limit: pageSize + 1}
	if s.from != nil {
		q.From = append(bytes.Clone(prefix), s.from...)
	}
	var items []store.Item
	for item, err := range tx.Scan(q) {
		if err != nil {
			return nil, err
		}
		if item.Key = item.Key[len(prefix):]; s.seen == nil || !bytes.Equal(item.Key, s.seen) {
			items = append(items, item)
		}
	}
	return items[:min(len(items), pageSize)], nil
}

// record returns the bytes of the record at a place.
func (s *scan) record(tx store.Tx, at []byte) ([]byte, error) {
	p, err := parsePlace(at)
	if err != nil {
		return nil, err
	}
	item, err := tx.Get(recordKey(s.tenant, p.chain, p.n))
	if err != nil {
		return nil, fmt.Errorf("read the record %s, which the log has a place for, see audit verify: %w", p.id(), err)
	}
	return item.Value, nil
}
