package store

import (
	"math/bits"
	"sync/atomic"

	"github.com/vespiary/vespiary/host/store"
)

// Stats are counts since Open, for metrics.
type Stats struct {
	Revision  store.Revision
	Commits   uint64 // batches written
	Conflicts uint64 // batches refused with ErrConflict
	Refused   uint64 // batches refused with ErrFull
	Bytes     uint64 // of keys and values written
	Syncs     uint64 // of the redo log, one for each group
	// GroupSizes counts groups by the number of batches they held: [0] of 1,
	// [1] of 2-3, [2] of 4-7 and so on.
	GroupSizes [11]uint64
	// FreeBytes is the free space seen by the last commit; 0 before the first one.
	FreeBytes int64
}

type counters struct {
	commits, conflicts, refused, bytes, syncs atomic.Uint64

	groups [11]atomic.Uint64
	free   atomic.Int64
}

func (c *counters) group(batches, bytes int) {
	c.commits.Add(uint64(batches)) //nolint:gosec // a group has at least one batch
	c.bytes.Add(uint64(bytes))     //nolint:gosec // sizes are not negative
	c.syncs.Add(1)
	c.groups[bits.Len(uint(batches))-1].Add(1)
}

// Stats returns the counts of now.
func (s *Local) Stats() Stats {
	st := Stats{
		Revision:  store.Revision(s.head.Load()),
		Commits:   s.stats.commits.Load(),
		Conflicts: s.stats.conflicts.Load(),
		Refused:   s.stats.refused.Load(),
		Bytes:     s.stats.bytes.Load(),
		Syncs:     s.stats.syncs.Load(),
		FreeBytes: s.stats.free.Load(),
	}
	for i := range st.GroupSizes {
		st.GroupSizes[i] = s.stats.groups[i].Load()
	}
	return st
}
