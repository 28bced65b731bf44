package redo

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vespiary/vespiary/host/store"
)

const (
	segmentExt = ".redo"
	spareExt   = ".spare"
	tempExt    = ".tmp"
	maxSpares  = 2
)

// segment is one file of the chain.
type segment struct {
	seq  uint64
	base store.Revision
	used int64 // bytes; known once the next segment has begun
}

func (l *Log) path(seq uint64, ext string) string {
	return filepath.Join(l.opts.Dir, fmt.Sprintf("%016x%s", seq, ext))
}

// list finds the segments and spares, and removes files that were being made.
func (l *Log) list() error {
	if err := os.MkdirAll(l.opts.Dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(l.opts.Dir) // sorted by name, thus by sequence
	for _, e := range entries {
		path := filepath.Join(l.opts.Dir, e.Name())
		name, ext := strings.CutSuffix(e.Name(), segmentExt)
		switch {
		case ext:
			seq, err := strconv.ParseUint(name, 16, 64)
			if err != nil {
				return &DamageError{path, 0, "its name is not a segment's"}
			}
			l.segs = append(l.segs, segment{seq: seq})
		case strings.HasSuffix(e.Name(), spareExt) && len(l.spares) < maxSpares:
			l.spares = append(l.spares, path)
		case strings.HasSuffix(e.Name(), spareExt), strings.HasSuffix(e.Name(), tempExt):
			if e := os.Remove(path); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
	}
	return err
}

// replay reads all segments, checks that they continue each other, cuts a torn
// group off and opens the last segment to append.
func (l *Log) replay(held Held, apply func(Record) error) error {
	for i := range l.segs {
		s := &l.segs[i]
		path := l.path(s.seq, segmentExt)
		b, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read redo log: %w", err)
		}
		if l.head, err = parseHeader(b); err != nil {
			return &DamageError{path, 0, err.Error()}
		}
		s.base = l.head.base
		if err := l.follows(i, held); err != nil {
			return err
		}
		end, last, torn, err := l.head.walk(b, apply)
		if failed := (*applyError)(nil); errors.As(err, &failed) {
			return fmt.Errorf("redo %s: %w", path, err)
		} else if err != nil {
			return &DamageError{path, int64(end), err.Error()}
		}
		s.used, l.off, l.last = int64(end), int64(end), last
		if i < len(l.segs)-1 {
			continue
		}
		if held.Newest > last {
			return &DamageError{path, l.off, fmt.Sprintf("it ends at revision %d, and the database holds revision %d", last, held.Newest)}
		}
		return l.openLast(path, torn, int64(len(b)))
	}
	return nil
}

// follows checks that segment i continues the one before it, or the database.
func (l *Log) follows(i int, held Held) error {
	s := l.segs[i]
	switch {
	case l.head.seq != s.seq:
		return &DamageError{l.path(s.seq, segmentExt), 0, fmt.Sprintf("it holds segment %x", l.head.seq)}
	case i == 0 && s.base > held.Synced:
		return fmt.Errorf("the database has revisions up to %d on disk and its redo log %s begins after %d: one of them was set back or removed; "+
			"restore both from one backup", held.Synced, l.opts.Dir, s.base)
	case i == 0:
		return nil
	}
	prev := l.segs[i-1]
	path := l.path(prev.seq, segmentExt)
	if prev.seq+1 != s.seq {
		return &DamageError{path, prev.used, fmt.Sprintf("segment %x, which should follow, is missing", prev.seq+1)}
	}
	if s.base != l.last {
		return &DamageError{path, prev.used, fmt.Sprintf("the record of revision %d is unreadable, and the next segment follows on %d", l.last+1, s.base)}
	}
	return nil
}

// openLast opens the segment that appending goes on in.
func (l *Log) openLast(path string, torn bool, size int64) (err error) {
	if l.file, err = os.OpenFile(path, os.O_WRONLY, 0); err != nil {
		return fmt.Errorf("open redo log: %w", err)
	}
	if !torn {
		return nil
	}
	// Zeros, not truncation: the segment stays allocated.
	if err = zero(l.file, l.off, size); err == nil {
		err = l.opts.Sync(l.file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cut the torn end off redo log %s: %w", path, err), l.file.Close())
	}
	return nil
}

// startSegment begins the next segment, in a spare file if there is one.
func (l *Log) startSegment() error {
	s := segment{seq: l.nextSeq(), base: l.last}
	spare, err := l.takeSpare(s.seq)
	if err != nil {
		return err
	}
	var mark [4]byte
	_, _ = rand.Read(mark[:]) // never fails
	head, b := newHeader(s.seq, s.base, mark)
	f, err := l.name(spare, s.seq, b)
	if err != nil {
		return err
	}
	if n := len(l.segs); n > 0 {
		l.segs[n-1].used = l.off
		err = l.file.Close()
	}
	l.segs = append(l.segs, s)
	l.file, l.head, l.off = f, head, headerSize
	return err
}

// name writes a header to the spare file and gives it a segment's name. The name
// appears only after the header is durable.
func (l *Log) name(spare string, seq uint64, head []byte) (*os.File, error) {
	f, err := os.OpenFile(spare, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteAt(head, 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(spare, l.path(seq, segmentExt))
	}
	if err == nil {
		err = syncDir(l.opts.Dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// takeSpare returns the path of a spare, or of a file yet to be created when
// there is no room for an allocated one.
func (l *Log) takeSpare(seq uint64) (string, error) {
	l.makeSpare()
	if l.making != nil {
		if path := <-l.making; path != "" {
			l.spares = append(l.spares, path)
		}
		l.making = nil
	}
	if len(l.spares) == 0 {
		return l.path(seq, tempExt), nil
	}
	path := l.spares[0]
	l.spares = l.spares[1:]
	// The file's old name must be gone for good before its content changes.
	return path, syncDir(l.opts.Dir)
}

// makeSpare fills a file with zeros in the background, so that a commit seldom
// waits for it. Space merely reserved with fallocate costs more later, when each
// write converts its extents; segments given up are as good as zeros, and spare
// flash storage the second write.
func (l *Log) makeSpare() {
	if len(l.spares) > 0 || l.making != nil {
		return
	}
	path := l.path(l.nextSeq(), spareExt)
	temp := path + tempExt
	l.making = make(chan string, 1)
	go func(done chan<- string, size int64) {
		err := allocate(temp, size)
		if err == nil {
			err = os.Rename(temp, path)
		}
		if err != nil {
			_ = os.Remove(temp)
			path = ""
		}
		done <- path
	}(l.making, l.opts.SegmentSize)
}

func (l *Log) nextSeq() uint64 {
	if len(l.segs) == 0 {
		return 1
	}
	return l.segs[len(l.segs)-1].seq + 1
}

// allocate makes a file of zeros, with its blocks and size on disk, so that a later
// datasync of it has no metadata to write.
func allocate(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = zero(f, 0, size)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func zero(f *os.File, from, to int64) error {
	chunk := make([]byte, min(max(to-from, 0), 1<<20))
	for from < to {
		n, err := f.WriteAt(chunk[:min(int64(len(chunk)), to-from)], from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

// retire gives up the n oldest segments, oldest first, so that a crash on the way
// leaves no gap. It keeps some as spares.
func (l *Log) retire(n int) error {
	for range n {
		s := l.segs[0]
		path := l.path(s.seq, segmentExt)
		if err := l.reuse(path, s); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("give up redo log %s: %w", path, err)
		}
		l.segs = l.segs[1:]
	}
	return nil
}

// reuse keeps a file of the usual size as a spare and removes others.
func (l *Log) reuse(path string, s segment) error {
	if len(l.spares) >= maxSpares || s.used > l.opts.SegmentSize {
		return os.Remove(path)
	}
	spare := l.path(s.seq, spareExt)
	if err := os.Rename(path, spare); err != nil {
		return err
	}
	l.spares = append(l.spares, spare)
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
