package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"

	"github.com/vespiary/vespiary/host/internal/store/redo"
	"github.com/vespiary/vespiary/host/store"
)

// Folders within a store's.
const (
	dbName   = "db"
	redoName = "redo"
)

// Local is the store of one machine. All its methods are safe for concurrent use.
type Local struct {
	opts   Options
	lock   *dirLock
	db     *badger.DB
	log    *redo.Log // used by the committer only
	opened store.Revision
	head   atomic.Uint64 // the newest revision that views see
	failed atomic.Pointer[error]

	commits gate
	views   gate
	reqs    chan *request
	done    chan struct{} // the committer has ended
	snaps   snapshots
	hub     hub
	stats   counters

	closing  sync.Once // Close runs once, and all callers wait for it
	closeErr error
}

var _ store.Store = (*Local)(nil)

// Open opens or creates the store in a folder. It applies what the redo log holds,
// and reads all tables unless told not to, so it takes time in proportion to the
// store's size. A folder of an older host is brought to this one's format first.
// Errors are ErrLocked when another process has the folder, ErrNewer when it takes a
// newer host, ErrFull when there is too little space to apply the log, or name what
// is damaged.
func Open(ctx context.Context, o Options) (*Local, error) {
	o = o.withDefaults()
	if err := makeDirs(o.Dir); err != nil {
		return nil, fmt.Errorf("create store: %w", err)
	}
	lock, err := lockDir(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &Local{opts: o, lock: lock, reqs: make(chan *request, maxGroup), done: make(chan struct{})}
	if err := s.open(ctx); err != nil {
		if s.db != nil {
			err = errors.Join(err, s.db.Close())
		}
		return nil, errors.Join(fmt.Errorf("open store %s: %w", o.Dir, err), lock.release())
	}
	go s.commitLoop()
	return s, nil
}

// makeDirs creates the folders so that they outlast a power cut.
func makeDirs(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, redoName), 0o700); err != nil {
		return err
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := syncDir(d); err != nil {
			return err
		}
	}
	return nil
}

func (s *Local) open(ctx context.Context) (err error) {
	if err := s.roomToRedo(); err != nil {
		return err
	}
	if err := s.upgrade(ctx); err != nil {
		return err
	}
	dir := filepath.Join(s.opts.Dir, dbName)
	if err := s.sweep(dir); err != nil {
		return err
	}
	var held redo.Held
	if s.db, held, err = openBadger(s.opts, dir); err != nil {
		return err
	}
	if s.log, err = s.redo(ctx, held); err != nil {
		return err
	}
	s.opened = s.log.Last()
	s.head.Store(uint64(s.opened))
	s.db.SetDiscardTs(uint64(s.opened))
	return nil
}

// redo opens the log and applies it to Badger.
func (s *Local) redo(ctx context.Context, held redo.Held) (*redo.Log, error) {
	a := &applier{db: s.db}
	defer a.cancel()
	o := redo.Options{Dir: s.redoDir(), SegmentSize: s.opts.profile().segment, Sync: s.opts.syncFile}
	log, err := redo.Open(o, held, func(r redo.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := a.add(r); err != nil || a.bytes < maxGroupBytes {
			return err
		}
		return a.flush()
	})
	if err != nil {
		return nil, err
	}
	if err := a.flush(); err != nil {
		return nil, errors.Join(fmt.Errorf("apply redo log: %w", err), log.Close())
	}
	return log, nil
}

func (s *Local) redoDir() string { return filepath.Join(s.opts.Dir, redoName) }

func (s *Local) redoFiles() []string {
	files, _ := filepath.Glob(filepath.Join(s.redoDir(), "*.redo")) // the pattern is valid
	return files
}

// roomToRedo makes sure that opening cannot fill the disk: Badger writes the redo
// log twice, to a memtable's log and to a table, and flushes what it has itself.
func (s *Local) roomToRedo() error {
	need := s.opts.profile().memtable
	for _, f := range s.redoFiles() {
		if info, err := os.Stat(f); err == nil {
			need += 2 * info.Size()
		}
	}
	free, err := freeBytes(s.opts.Dir)
	if err != nil || free >= need {
		return err
	}
	return fmt.Errorf("%w: %d MiB are free, and opening may take %d MiB", store.ErrFull, free/mib, need/mib)
}

// Close waits for commits and views under way, flushes and releases the folder.
// Watchers end with ErrClosed. Later calls return what the first one did.
func (s *Local) Close() error {
	s.closing.Do(func() {
		s.commits.close() // after this nobody sends
		close(s.reqs)
		<-s.done
		s.hub.close(s.closedErr())
		s.views.close()
		s.closeErr = errors.Join(s.flush(), s.lock.release())
	})
	return s.closeErr
}

// flush closes Badger, which moves everything to synced tables, and then empties
// the redo log, unless something went wrong that the log is needed to mend.
func (s *Local) flush() error {
	var err error
	if s.failed.Load() == nil {
		a := &applier{db: s.db}
		err = errors.Join(a.mark(store.Revision(s.head.Load())), a.flush())
	}
	err = errors.Join(err, s.db.Close())
	if err == nil && s.failed.Load() == nil {
		err = s.log.Reset()
	}
	if err = errors.Join(err, s.log.Close()); err != nil {
		return fmt.Errorf("close store %s: %w", s.opts.Dir, err)
	}
	return nil
}

// fail makes the store accept nothing more. Views go on.
func (s *Local) fail(err error) {
	s.failed.Store(&err)
	s.opts.Log.Error("store failed and accepts nothing more; open it again", "dir", s.opts.Dir, "error", err)
	s.hub.close(s.closedErr())
}

func (s *Local) closedErr() error {
	if err := s.failed.Load(); err != nil {
		return fmt.Errorf("%w after a failure, open it again: %w", store.ErrClosed, *err)
	}
	return store.ErrClosed
}

// gate lets callers in until it is closed, and close waits until all have left.
// Unlike a lock held for reading, it refuses a caller who is inside and enters
// again while it closes, where the lock would never let either go on.
type gate struct {
	mu     sync.RWMutex
	closed bool
	inside sync.WaitGroup
}

func (g *gate) enter() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if !g.closed {
		g.inside.Add(1)
	}
	return !g.closed
}

func (g *gate) leave() { g.inside.Done() }

func (g *gate) ended() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.closed
}

func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.inside.Wait()
}
