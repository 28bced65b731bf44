package store

import (
	"log/slog"
	"os"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/vespiary/vespiary/host/store"
)

// Options say where the store is and how much it may use. Only Dir is required.
type Options struct {
	// Dir is created if it does not exist. One process at a time may have it open.
	Dir string
	// Edge is for machines with little memory and flash storage: memtables, caches
	// and log segments are smaller.
	Edge bool
	// MinFree is the number of bytes of free space below which commits are refused
	// with ErrFull. 0 means what Badger may still write by itself: about 320 MiB,
	// or 112 MiB with Edge. A full disk kills the process, so go below that only
	// for tests. Batches that write values are refused 16 MiB earlier, or 8 MiB with
	// Edge, so that a full store can still delete.
	MinFree int64
	// SkipVerify leaves out reading all tables at Open. Badger takes a damaged
	// block for the end of its table, so damage would be read as missing keys.
	SkipVerify bool
	// Host is the version of this host. Folders and backups note it, so that an older
	// host can say which version they take.
	Host string
	// Now is the clock that backups get their time from; nil leaves it out.
	Now func() time.Time
	// Log gets Badger's messages as well; nil discards them.
	Log *slog.Logger

	syncFile func(*os.File) error // nil: fdatasync
	upgrades []upgrade            // nil: the ones there are
}

// profile holds the sizes that depend on the machine, in bytes where not counts.
type profile struct {
	memtable   int64
	memtables  int
	levelZero  int // tables on level 0 before they are compacted
	blockCache int64
	indexCache int64
	segment    int64
}

const mib = 1 << 20

func (o Options) profile() profile {
	if o.Edge {
		// 8 MiB is the least whose batches (15 %) can hold a value of MaxValue.
		return profile{8 * mib, 2, 2, 4 * mib, 8 * mib, 4 * mib}
	}
	return profile{16 * mib, 3, 5, 32 * mib, 64 * mib, 16 * mib}
}

// keep is how much of the redo log stays, whatever Badger says it has synced. It
// holds at most memtables+1 memtables that are not synced, each overfull by a batch.
func (p profile) keep() int64 { return int64(p.memtables+2) * p.memtable }

// forDeletes is the space that only deletions may use, beyond what Badger needs. What
// they delete is given up when Badger compacts the tables they get to.
func (p profile) forDeletes() int64 { return p.memtable }

// minFree covers applying a whole redo log again, flushing it, once more while
// compaction has both the old tables and the new, and compacting level 0.
func (p profile) minFree() int64 {
	return 3*p.keep() + int64(p.levelZero)*p.memtable
}

func (o Options) withDefaults() Options {
	if o.MinFree == 0 {
		o.MinFree = o.profile().minFree()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) badger(dir string) badger.Options {
	p := o.profile()
	b := badger.DefaultOptions(dir).
		WithLogger(badgerLog{o.Log}).
		WithMetricsEnabled(false). // they are global
		WithDetectConflicts(false).
		WithNumVersionsToKeep(1).
		WithMemTableSize(p.memtable).
		WithNumMemtables(p.memtables).
		WithNumLevelZeroTables(p.levelZero).
		WithNumLevelZeroTablesStall(2 * p.levelZero).
		WithNumCompactors(2).
		WithBlockCacheSize(p.blockCache).
		WithIndexCacheSize(p.indexCache).
		WithChecksumVerificationMode(options.OnBlockRead)
	// Values below the threshold stay out of the value log: all of them, since
	// fullValue shortens the one size that is not. The log is never written to and
	// as small as Badger allows.
	return b.WithValueThreshold(store.MaxValue).WithValueLogFileSize(mib)
}
