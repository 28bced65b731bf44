package store

import (
	"context"
	"fmt"
	"slices"

	"github.com/vespiary/vespiary/host/internal/store/redo"
	"github.com/vespiary/vespiary/host/store"
)

// Limits of one group, so that a burst neither delays its first batch for long nor
// needs much memory. A group always takes at least one batch.
const (
	maxGroup      = 1024
	maxGroupBytes = 4 << 20
)

// spaceFactor is how often a byte is written: to the redo log, a memtable's log and
// a table.
const spaceFactor = 3

// request is a batch on its way through the committer.
type request struct {
	ctx   context.Context //nolint:containedctx // of the caller who waits for the answer
	batch store.Batch
	size  int
	done  chan result // holds one, so that answering never waits for the caller

	revision store.Revision // in a group: what the batch became, or the one before it
}

type result struct {
	revision store.Revision
	err      error
}

// Commit implements store.Store. A batch without ops only checks its conditions
// and returns the newest revision. When ctx ends while the batch waits, it may
// still be written.
func (s *Local) Commit(ctx context.Context, b store.Batch) (store.Revision, error) {
	size, err := batchSize(b)
	if err != nil {
		return 0, err
	}
	if !s.commits.enter() {
		return 0, s.closedErr()
	}
	defer s.commits.leave()
	r := &request{ctx: ctx, batch: lastWins(b), size: size, done: make(chan result, 1)}
	select {
	case s.reqs <- r:
	case <-ctx.Done():
		return 0, fmt.Errorf("commit: %w", context.Cause(ctx))
	}
	select {
	case res := <-r.done:
		return res.revision, res.err
	case <-ctx.Done():
		return 0, fmt.Errorf("commit, whose outcome is unknown: %w", context.Cause(ctx))
	}
}

// batchSize checks a batch's limits. An error names what is over them.
func batchSize(b store.Batch) (size int, err error) {
	for _, op := range b.Ops {
		if len(op.Key) > store.MaxKey {
			return 0, fmt.Errorf("%w: a key has %d bytes, more than %d", store.ErrTooLarge, len(op.Key), store.MaxKey)
		}
		if len(op.Value) > store.MaxValue {
			return 0, fmt.Errorf("%w: the value of %q has %d bytes, more than %d", store.ErrTooLarge, op.Key, len(op.Value), store.MaxValue)
		}
		size += len(op.Key) + len(op.Value)
	}
	if size > store.MaxBatch {
		return 0, fmt.Errorf("%w: the batch has %d bytes, more than %d", store.ErrTooLarge, size, store.MaxBatch)
	}
	return size, nil
}

// lastWins leaves out ops that a later one on the same key overrides: Badger may
// split a batch, and one key has one value per version.
func lastWins(b store.Batch) store.Batch {
	if len(b.Ops) < 2 {
		return b
	}
	last := make(map[string]int, len(b.Ops))
	for i, op := range b.Ops {
		last[string(op.Key)] = i
	}
	if len(last) == len(b.Ops) {
		return b
	}
	ops := make([]store.Op, 0, len(last))
	for i, op := range b.Ops {
		if last[string(op.Key)] == i {
			ops = append(ops, op)
		}
	}
	b.Ops = ops
	return b
}

// commitLoop is the only writer to the log and to Badger. It ends when the
// requests do.
func (s *Local) commitLoop() {
	defer close(s.done)
	var group []*request
	var next *request // did not fit in the group before
	for {
		r := next
		if r == nil {
			if r = <-s.reqs; r == nil {
				return
			}
		}
		group, next = s.gather(append(group[:0], r))
		s.commitGroup(group)
		clear(group)
	}
}

// gather adds what waits already to a group, within its limits.
func (s *Local) gather(group []*request) (full []*request, next *request) {
	size := group[0].size
	for len(group) < maxGroup {
		select {
		case r := <-s.reqs:
			if r == nil {
				return group, nil
			}
			if size += r.size; size > maxGroupBytes {
				return group, r
			}
			group = append(group, r)
		default:
			return group, nil
		}
	}
	return group, nil
}

// commitGroup settles all requests of a group. Those in flight when something
// fails get the bare cause: whether they are durable is known at the next Open.
func (s *Local) commitGroup(group []*request) {
	group, recs, err := s.decide(s.admit(group))
	if err == nil && len(recs) > 0 {
		err = s.write(recs)
	}
	if err != nil {
		s.fail(err)
		reply(group, err)
		return
	}
	s.publish(recs)
	reply(group, nil)
}

func reply(group []*request, err error) {
	for _, r := range group {
		if err != nil {
			r.revision = 0
		}
		r.done <- result{r.revision, err}
	}
}

// admit answers the requests that the store has no room for, or all if it is too
// broken or blind to take any. It returns the others.
func (s *Local) admit(group []*request) (left []*request) {
	if s.failed.Load() != nil {
		reply(group, s.closedErr())
		return nil
	}
	free, err := freeBytes(s.opts.Dir)
	if err != nil {
		reply(group, fmt.Errorf("commit: %w", err))
		return nil
	}
	s.stats.free.Store(free)
	room := free - s.opts.MinFree
	left = group[:0] // never ahead of the request being looked at
	for _, r := range group {
		need := r.space()
		keep := s.opts.profile().forDeletes()
		if r.deletes() {
			keep = 0
		}
		if need > 0 && room < need+keep {
			s.stats.refused.Add(1)
			err := fmt.Errorf("%w: %s has %d MiB, and the commit needs %d MiB", store.ErrFull, s.opts.Dir, free/mib, (free-room+need+keep)/mib)
			r.done <- result{0, err}
			continue
		}
		room -= need
		left = append(left, r)
	}
	return left
}

// space is what a request may take of the disk. One without ops takes nothing.
func (r *request) space() int64 {
	const overhead = 32 // around an op, each time it is written
	return spaceFactor * int64(r.size+overhead*len(r.batch.Ops))
}

// deletes tells whether a batch writes no value, so that it frees space in the end.
func (r *request) deletes() bool {
	return !slices.ContainsFunc(r.batch.Ops, func(op store.Op) bool { return op.Value != nil })
}

// decide checks preconditions in order, each against the batches before it, gives
// revisions and answers requests that end here. It returns the others.
func (s *Local) decide(group []*request) (left []*request, recs []redo.Record, err error) {
	head := store.Revision(s.head.Load())
	next := head + 1
	seen := newOverlay(group)
	left = group[:0] // never ahead of the request being looked at
	for i, r := range group {
		if r.ctx.Err() != nil {
			r.done <- result{0, fmt.Errorf("commit: %w", context.Cause(r.ctx))}
			continue
		}
		ok, err := s.holds(r.batch.Conds, head, seen)
		if err != nil {
			return append(left, group[i:]...), nil, err
		}
		if !ok {
			s.stats.conflicts.Add(1)
			r.done <- result{0, store.ErrConflict}
			continue
		}
		left = append(left, r)
		r.revision = next - 1
		if len(r.batch.Ops) > 0 {
			r.revision = next
			recs = append(recs, redo.Record{Revision: next, Ops: r.batch.Ops})
			seen.add(r.batch.Ops, next)
			next++
		}
	}
	return left, recs, nil
}

// holds checks conditions against a group's earlier batches and then the database.
func (s *Local) holds(conds []store.Cond, head store.Revision, seen overlay) (bool, error) {
	for _, c := range conds {
		have, ok := seen[string(c.Key)]
		if !ok {
			var err error
			if have, err = revisionOf(s.db, head, c.Key); err != nil {
				return false, err
			}
		}
		if have != c.Revision {
			return false, nil
		}
	}
	return true, nil
}

// overlay holds the revisions of keys written by a group so far, 0 for deleted
// ones. It is nil while nobody asks.
type overlay map[string]store.Revision

func newOverlay(group []*request) overlay {
	for _, r := range group {
		if len(r.batch.Conds) > 0 {
			return overlay{}
		}
	}
	return nil
}

func (o overlay) add(ops []store.Op, r store.Revision) {
	if o == nil {
		return
	}
	for _, op := range ops {
		if op.Value == nil {
			o[string(op.Key)] = 0
		} else {
			o[string(op.Key)] = r
		}
	}
}

// write makes the records durable and then applies them. The mark goes to Badger
// before anything newer, so a table with newer revisions proves it is synced.
func (s *Local) write(recs []redo.Record) error {
	rolled, err := s.log.Append(recs)
	if err != nil {
		return err
	}
	a := &applier{db: s.db}
	defer a.cancel()
	if rolled {
		err = a.mark(recs[0].Revision - 1)
	}
	for i := 0; i < len(recs) && err == nil; i++ {
		err = a.add(recs[i])
	}
	s.stats.group(len(recs), a.bytes)
	if err == nil {
		err = a.flush()
	}
	if err != nil {
		return fmt.Errorf("apply to database: %w", err)
	}
	if rolled {
		s.trim()
	}
	return nil
}

// trim gives up what the log need not keep. What cannot be given up now is tried
// again when the next segment begins.
func (s *Local) trim() {
	if err := s.log.Trim(synced(s.db, s.opened), s.opts.profile().keep()); err != nil {
		s.opts.Log.Warn("redo log keeps more than it needs", "error", err)
	}
}

// publish shows the records to views, then to watchers, so that a view taken on
// hearing of a change sees it.
func (s *Local) publish(recs []redo.Record) {
	if len(recs) == 0 {
		return
	}
	s.head.Store(uint64(recs[len(recs)-1].Revision))
	s.db.SetDiscardTs(uint64(s.snaps.oldest(&s.head)))
	s.hub.publish(recs)
}
