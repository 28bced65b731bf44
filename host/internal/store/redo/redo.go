// Package redo is the log that makes commits durable before the database has
// them on disk. A group of records is written in one write and synced once; after
// a crash Open hands the records back in order, to be applied again.
//
// The log is a chain of segment files. Each begins with a header that names the
// revision it continues from, so a missing or shortened segment is noticed, and
// with a random mark that begins each of its records, so what an earlier use of
// the same file left behind is never taken for a record.
//
// A crash may tear the last group, whose records were written together and never
// acknowledged: Open cuts it off. Whatever else cannot be read was acknowledged
// once, and Open refuses it with a DamageError.
package redo

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/vespiary/vespiary/host/store"
)

// Record is one commit. Revisions in a log grow by one from record to record.
type Record struct {
	Revision store.Revision
	Ops      []store.Op
}

// Options tell where a log is and how large its files are.
type Options struct {
	Dir string
	// SegmentSize is in bytes. A segment is allocated whole before it is used; one
	// that a large group does not fit in grows.
	SegmentSize int64
	// Sync makes a file's content durable; nil means fdatasync.
	Sync func(*os.File) error
}

// Log is an open log. It is not safe for concurrent use.
type Log struct {
	opts   Options
	segs   []segment // oldest first; the last one is written to
	head   header    // of the last segment
	file   *os.File
	off    int64
	last   store.Revision
	buf    []byte
	spares []string
	making chan string // yields the path of a spare under way, or "" when that failed
	failed error
}

// DamageError tells of a log that lost records it had acknowledged.
type DamageError struct {
	File   string
	Offset int64
	Reason string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("redo log %s is damaged at offset %d: %s; restore the data folder from a backup, or remove the folder %s "+
		"to go on with what the database holds, which may lack the newest commits",
		e.File, e.Offset, e.Reason, filepath.Dir(e.File))
}

// Held says how far the database has come without the log.
type Held struct {
	Synced store.Revision // a commit that is certainly on disk, and so are all before it
	Newest store.Revision // the newest commit of which it has anything
}

// Open reads the log, calls apply with every record in order and returns the log
// ready to append. A log that begins after what the database has synced, or ends
// before the newest it has, is refused; a new one continues from the newest. The
// records' bytes are never written to again, so apply may keep them.
func Open(o Options, held Held, apply func(Record) error) (*Log, error) {
	if o.Sync == nil {
		o.Sync = datasync
	}
	l := &Log{opts: o, last: held.Newest}
	if err := l.list(); err != nil {
		return nil, fmt.Errorf("list redo log: %w", err)
	}
	if len(l.segs) == 0 {
		return l, l.startSegment()
	}
	if err := l.replay(held, apply); err != nil {
		return nil, err
	}
	return l, nil
}

// Last is the revision of the newest record.
func (l *Log) Last() store.Revision { return l.last }

// First is the revision that the oldest segment continues from: the database must
// hold everything up to it.
func (l *Log) First() store.Revision { return l.segs[0].base }

// Size is the number of bytes of records kept.
func (l *Log) Size() (n int64) {
	for _, s := range l.segs[:len(l.segs)-1] {
		n += s.used
	}
	return n + l.off
}

// Append writes the records in one write and syncs once. rolled says that a new
// segment was begun, so that older ones may be due for Trim. After an error the
// end of the log is unknown and every later Append fails.
func (l *Log) Append(recs []Record) (rolled bool, err error) {
	if l.failed != nil {
		return false, l.failed
	}
	size := encodedSize(recs)
	if l.off > headerSize && l.off+size > l.opts.SegmentSize {
		rolled = true
		err = l.startSegment()
	}
	if err == nil {
		err = l.write(recs, size)
	}
	if err != nil {
		l.failed = fmt.Errorf("append to redo log %s: %w", l.opts.Dir, err)
	}
	return rolled, l.failed
}

func (l *Log) write(recs []Record, size int64) error {
	l.buf = l.head.appendGroup(l.buf[:0], recs)
	if _, err := l.file.WriteAt(l.buf, l.off); err != nil {
		return err
	}
	if err := l.opts.Sync(l.file); err != nil {
		return err
	}
	l.off += size
	l.last = recs[len(recs)-1].Revision
	const keepBuffer = 1 << 20
	if cap(l.buf) > keepBuffer {
		l.buf = nil
	}
	if l.off > l.opts.SegmentSize/2 {
		l.makeSpare()
	}
	return nil
}

// Trim gives up the oldest segments whose records are all at or before synced, as
// long as keep bytes of newer records remain.
func (l *Log) Trim(synced store.Revision, keep int64) error {
	n, size := 0, l.Size()
	for n+1 < len(l.segs) && l.segs[n+1].base <= synced && size-l.segs[n].used >= keep {
		size -= l.segs[n].used
		n++
	}
	return l.retire(n)
}

// Reset gives up every record, once the database holds all of them durably. The
// log remembers the last revision.
func (l *Log) Reset() error {
	if l.failed != nil {
		return l.failed
	}
	if l.off > headerSize {
		if err := l.startSegment(); err != nil {
			return err
		}
	}
	return l.retire(len(l.segs) - 1)
}

// Close releases the log's files. What was appended is durable already.
func (l *Log) Close() error {
	if l.making != nil {
		<-l.making
		l.making = nil
	}
	return l.file.Close()
}
