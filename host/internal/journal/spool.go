package journal

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"io"
	"os"
)

// source is a file that can be read twice.
type source struct {
	io.Reader
	rewind func() error
}

// twice makes r readable twice: by seeking, or else by keeping it in a temporary file
// under a key that is only in memory, because an export holds payloads in clear. done
// removes that.
func twice(r io.Reader, dir string) (s *source, done func(), err error) {
	if seeker, ok := r.(io.ReadSeeker); ok {
		if start, err := seeker.Seek(0, io.SeekCurrent); err == nil {
			return &source{r, func() error { _, err := seeker.Seek(start, io.SeekStart); return err }}, func() {}, nil
		}
	}
	f, err := os.CreateTemp(dir, "vespiary-import-*")
	if err != nil {
		return nil, nil, err
	}
	_ = os.Remove(f.Name()) // where an open file can be removed, a crash leaves nothing
	done = func() { _ = errors.Join(f.Close(), os.Remove(f.Name())) }
	if s, err = spool(f, r); err != nil {
		done()
		return nil, nil, err
	}
	return s, done, nil
}

func spool(f *os.File, r io.Reader) (*source, error) {
	block, err := aes.NewCipher(random(keySize))
	if err != nil {
		return nil, err
	}
	iv := random(block.BlockSize())
	if _, err := io.Copy(cipher.StreamWriter{S: cipher.NewCTR(block, iv), W: f}, r); err != nil {
		return nil, err
	}
	s := &source{}
	s.rewind = func() error {
		s.Reader = cipher.StreamReader{S: cipher.NewCTR(block, iv), R: f}
		_, err := f.Seek(0, io.SeekStart)
		return err
	}
	return s, s.rewind()
}
