package store

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/vespiary/vespiary/host/internal/store/redo"
	"github.com/vespiary/vespiary/host/store"
)

// Keys in Badger begin with a byte that says whose they are. It also keeps ours
// away from those that Badger refuses: the empty one and its own.
const (
	dataSpace = 'd'
	ownSpace  = 'm'
)

// markKey is written whenever a segment of the redo log begins. Its version is
// the revision that the segment continues from, which keeps Badger's newest
// version from falling behind when all later ones were deletions.
var markKey = []byte{ownSpace, 'r', 'e', 'v'}

func dataKey(key []byte) []byte {
	return append(append(make([]byte, 0, 1+len(key)), dataSpace), key...)
}

// openBadger opens the database, turning Badger's panics into errors, and says how
// far it has come.
func openBadger(o Options, dir string) (db *badger.DB, held redo.Held, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
		if err != nil { // with one, Badger may return a database that cannot even be closed
			db, err = nil, fmt.Errorf("open database %s: %w; restore the data folder from a backup", dir, err)
		}
	}()
	bo := o.badger(dir)
	if held.Synced, err = verify(bo, o.SkipVerify); err != nil {
		return nil, held, err
	}
	if db, err = badger.OpenManaged(bo); err != nil {
		return nil, held, err
	}
	held.Newest = store.Revision(db.MaxVersion())
	return db, held, nil
}

// applier writes records to Badger.
type applier struct {
	db    *badger.DB
	batch *badger.WriteBatch
	bytes int
}

// add writes a record's ops at its revision. They are in Badger after flush.
func (a *applier) add(r redo.Record) error {
	for _, op := range r.Ops {
		if err := a.op(op, uint64(r.Revision)); err != nil {
			return err
		}
		a.bytes += len(op.Key) + len(op.Value)
	}
	return nil
}

func (a *applier) op(op store.Op, version uint64) error {
	key := dataKey(op.Key)
	if op.Value == nil {
		return a.open().DeleteAt(key, version)
	}
	return a.open().SetEntryAt(newEntry(key, op.Value), version)
}

// mark notes that a segment begins after the revision.
func (a *applier) mark(r store.Revision) error {
	if r == 0 { // Badger has no version 0
		return nil
	}
	return a.open().SetEntryAt(badger.NewEntry(markKey, nil), uint64(r))
}

func (a *applier) open() *badger.WriteBatch {
	if a.batch == nil {
		a.batch = a.db.NewManagedWriteBatch()
	}
	return a.batch
}

// flush waits until everything added is in Badger and visible to transactions at
// its revision. Badger splits what is too large for it; views do not see the
// parts, because they read at the head, which moves after flush.
func (a *applier) flush() error {
	if a.batch == nil {
		return nil
	}
	b := a.batch
	a.batch, a.bytes = nil, 0
	return b.Flush()
}

func (a *applier) cancel() {
	if a.batch != nil {
		a.batch.Cancel()
	}
}

// newEntry keeps a value of exactly MaxValue below the size from which Badger
// moves values to the value log: its last byte goes to the user meta, and the
// discard bit, which changes nothing where one version is kept, says so.
func newEntry(key, value []byte) *badger.Entry {
	if len(value) < store.MaxValue {
		return badger.NewEntry(key, value)
	}
	last := len(value) - 1
	return badger.NewEntry(key, value[:last]).WithMeta(value[last]).WithDiscard()
}

// value undoes newEntry. An empty value is not nil.
func value(it *badger.Item) ([]byte, error) {
	size := it.ValueSize()
	full := it.DiscardEarlierVersions()
	if full {
		size++
	}
	v, err := it.ValueCopy(make([]byte, 0, size))
	if err != nil {
		return nil, fmt.Errorf("read value: %w", err)
	}
	if full {
		v = append(v, it.UserMeta())
	}
	return v, nil
}

// synced returns a revision up to which all commits are in tables, which Badger
// syncs. It fills and flushes one memtable after the other, so a table with a
// newer revision proves it. One from before this run does not: at Open, Badger
// may flush a memtable that survived a crash while an earlier one did not.
func synced(db *badger.DB, opened store.Revision) store.Revision {
	var newest uint64
	for _, t := range db.Tables() {
		newest = max(newest, t.MaxVersion)
	}
	if newest <= uint64(opened) {
		return 0
	}
	return store.Revision(newest - 1) // the newest may go on in the next memtable
}

// revisionOf returns the revision of a key as a view at the revision sees it, or
// 0 when it has none.
func revisionOf(db *badger.DB, at store.Revision, key []byte) (store.Revision, error) {
	txn := db.NewTransactionAt(uint64(at), false)
	defer txn.Discard()
	it, err := txn.Get(dataKey(key))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read precondition: %w", err)
	}
	return store.Revision(it.Version()), nil
}

// badgerLog hands Badger's messages on. What it calls information is of interest
// to nobody who is not looking for a fault.
type badgerLog struct{ log *slog.Logger }

func (l badgerLog) Errorf(f string, a ...any)   { l.log.Error("badger: " + line(f, a)) }
func (l badgerLog) Warningf(f string, a ...any) { l.log.Warn("badger: " + line(f, a)) }
func (l badgerLog) Infof(f string, a ...any)    { l.log.Debug("badger: " + line(f, a)) }
func (l badgerLog) Debugf(string, ...any)       {}

func line(f string, a []any) string { return strings.TrimSpace(fmt.Sprintf(f, a...)) }
