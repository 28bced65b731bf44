package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vespiary/vespiary/host/store"
)

var _ store.Backuper = (*Local)(nil)

// Backup implements store.Backuper. A backup holds all keys with their values and
// revisions, as they are stored: what the host encrypted stays encrypted, and the
// keys that encrypt the rest, such as a master key in a file, are not in it. It
// needs the memory of a few blocks, however large the store is. While it runs,
// overwritten values keep their space. A failed store can still be backed up.
func (s *Local) Backup(ctx context.Context, w io.Writer) (backed store.Backed, err error) {
	h := backupHeader{host: hostName(s.opts.Host), format: uint32(s.opts.format())} //nolint:gosec // a small count
	if s.opts.Now != nil {
		h.created = s.opts.Now().UnixNano()
	}
	err = s.view(ctx, func(t *tx) error {
		h.revision = t.at
		backed, err = s.archive(t, w, h)
		return err
	})
	if err != nil {
		return store.Backed{}, fmt.Errorf("back up store %s: %w", s.opts.Dir, err)
	}
	return backed, nil
}

func (s *Local) archive(t *tx, w io.Writer, h backupHeader) (store.Backed, error) {
	a, err := newArchiver(w, h)
	if err != nil {
		return store.Backed{}, err
	}
	for i, err := range t.Scan(store.Query{}) {
		if err == nil && s.commits.ended() {
			err = store.ErrClosed // Close waits for views
		}
		if err == nil {
			err = a.add(i)
		}
		if err != nil {
			return store.Backed{}, err
		}
	}
	return a.close()
}

// VerifyBackup reads a backup and says what it holds. Errors wrap ErrBackup when it
// is damaged or cut off and ErrNewer when this host is too old for it.
func VerifyBackup(ctx context.Context, r io.Reader) (store.Backed, error) {
	return readBackup(bufio.NewReaderSize(r, blockSize), Options{}.canRead, func(store.Item) error {
		return context.Cause(ctx)
	})
}

// canRead refuses backups of stores whose format this host does not know.
func (o Options) canRead(h backupHeader) error {
	if int(h.format) > o.format() {
		return newer("the backup", h.host, int(h.format), o.format())
	}
	return nil
}

// lostRevisions is how many revisions a restored store leaves out. The store may
// have given them to commits after its backup, so that a precondition that somebody
// learned from such a commit would hold by chance in a store that counts on.
const lostRevisions = 1 << 32

// Restore makes the store of a backup in o.Dir, which must not exist or be empty.
// Keys have the values and revisions that they had; later commits get revisions
// that the original store never gave. The store is made in a folder beside o.Dir
// and gets its name when the whole backup was read and found good, so that neither
// an error nor a crash leaves half a store there; after a crash the folder beside,
// whose name goes on with ".restore-", can be removed. Last, unless nil, is called
// just before that: what belongs to the store is there before the store is. Errors
// are those of VerifyBackup and last, fs.ErrExist when o.Dir holds something, and
// store.ErrFull.
func Restore(ctx context.Context, o Options, r io.Reader, last func() error) (store.Backed, error) {
	o = o.withDefaults()
	backed, err := restoreBeside(ctx, o, r, last)
	if err != nil {
		return store.Backed{}, fmt.Errorf("restore store %s: %w", o.Dir, err)
	}
	return backed, nil
}

func restoreBeside(ctx context.Context, o Options, r io.Reader, last func() error) (backed store.Backed, err error) {
	if err := vacant(o.Dir); err != nil {
		return backed, err
	}
	dir := filepath.Clean(o.Dir)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return backed, err
	}
	o.Dir, err = os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+".restore-")
	if err != nil {
		return backed, err
	}
	if backed, err = restoreInto(ctx, o, r); err == nil && last != nil {
		err = last()
	}
	if err == nil {
		err = settle(o.Dir, dir)
	}
	if err != nil {
		return backed, errors.Join(err, os.RemoveAll(o.Dir))
	}
	return backed, nil
}

// vacant makes sure that nothing is in a folder.
func vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%w: the folder holds %s; name an empty or new one", fs.ErrExist, entries[0].Name())
	}
	return err
}

// settle gives a finished folder its name. The name does not exist or is that of an
// empty folder.
func settle(temp, dir string) error {
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(temp, dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// restoreInto fills an empty folder, and gives it the marker of its format last.
func restoreInto(ctx context.Context, o Options, r io.Reader) (backed store.Backed, err error) {
	in := &restorer{o: o}
	if err := in.room(0); err != nil {
		return backed, err
	}
	db, _, err := openBadger(o, filepath.Join(o.Dir, dbName))
	if err != nil {
		return backed, err
	}
	in.applier.db = db
	backed, err = readBackup(bufio.NewReaderSize(r, blockSize), in.begin, func(i store.Item) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		return in.add(i)
	})
	if err == nil {
		err = in.flush()
	}
	in.applier.cancel()
	if err = errors.Join(err, db.Close()); err != nil {
		return backed, err
	}
	return backed, writeMarker(o, in.marker)
}

// restorer writes items to Badger as long as there is room.
type restorer struct {
	o       Options
	applier applier
	marker  marker // of the format that the items have, which may be an old one
}

func (r *restorer) begin(h backupHeader) error {
	if err := r.o.canRead(h); err != nil {
		return err
	}
	r.marker = marker{int(h.format), h.host}
	return r.applier.mark(h.revision + lostRevisions)
}

func (r *restorer) add(i store.Item) error {
	if err := r.applier.op(store.Op{Key: i.Key, Value: i.Value}, uint64(i.Revision)); err != nil {
		return err
	}
	if r.applier.bytes += len(i.Key) + len(i.Value); r.applier.bytes < maxGroupBytes {
		return nil
	}
	return r.flush()
}

func (r *restorer) flush() error {
	if err := r.room(r.applier.bytes); err != nil {
		return err
	}
	return r.applier.flush()
}

// room makes sure that writing some bytes cannot fill the disk.
func (r *restorer) room(bytes int) error {
	free, err := freeBytes(r.o.Dir)
	if need := r.o.MinFree + spaceFactor*int64(bytes); err == nil && free < need {
		err = fmt.Errorf("%w: %d MiB are free, and going on needs %d MiB", store.ErrFull, free/mib, need/mib)
	}
	return err
}
