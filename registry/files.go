package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// files is a folder of modules: <first two digits>/<hash>.wasm.
type files struct{ dir string }

func (f files) path(d Digest) string {
	return filepath.Join(f.dir, d.hex()[:2], d.hex()+".wasm")
}

func (f files) read(d Digest) ([]byte, error) {
	b, err := os.ReadFile(f.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; install it again", ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	if got := Of(b); got != d {
		return nil, fmt.Errorf("%w: %s hashes to %s; install the module again", ErrCorrupt, f.path(d), got)
	}
	return b, nil
}

// write makes the module durable. A file that is there and whole is left alone;
// a damaged one is replaced.
func (f files) write(d Digest, b []byte) error {
	if _, err := f.read(d); err == nil {
		return nil
	}
	path := f.path(d)
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) //nolint:errcheck // gone once it is renamed
	_, err = temp.Write(b)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	return syncDirs(dir, f.dir, filepath.Dir(f.dir))
}

// syncDirs makes new names in the folders durable.
func syncDirs(dirs ...string) error {
	for _, dir := range dirs {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return err
		}
	}
	return nil
}
