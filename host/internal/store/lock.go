package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrLocked says that another process has the store open.
var ErrLocked = errors.New("store: the folder is in use by another process")

const lockName = "LOCK"

// dirLock is held as long as its file is open, so a crash releases it.
type dirLock struct{ file *os.File }

// lockDir locks a folder until release or the end of the process. The file stays,
// for removing it would let two processes hold locks on different files.
func lockDir(dir string) (*dirLock, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock store: %w", err)
	}
	ok, err := tryLock(f)
	switch {
	case err != nil:
		err = fmt.Errorf("lock store %s: %w", dir, err)
	case !ok:
		err = fmt.Errorf("%w: %s is open%s; stop that process, or use the server that is running", ErrLocked, dir, holder(f))
	default:
		notePID(f)
		return &dirLock{f}, nil
	}
	return nil, errors.Join(err, f.Close())
}

// notePID names the holder for the message of others; a full disk may prevent it.
func notePID(f *os.File) {
	_ = f.Truncate(0)
	_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
}

// holder says which process noted itself in the file.
func holder(f *os.File) string {
	b := make([]byte, 20)
	n, _ := f.ReadAt(b, 0)
	if pid := strings.TrimSpace(string(b[:n])); pid != "" {
		return " in process " + pid
	}
	return ""
}

func (l *dirLock) release() error { return l.file.Close() }
