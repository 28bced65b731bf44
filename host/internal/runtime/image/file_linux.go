package image

import (
	"encoding/binary"
	"errors"
	"iter"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// file is a base's content in a file that exists in memory only.
type file struct {
	fd      int
	view    []byte   // the content, mapped for reading
	pagemap *os.File // nil if it cannot be relied on
}

// newFile writes content to a file and seals it, so that nothing can change or
// cut off what instances have mapped.
func newFile(content []byte) (*file, error) {
	fd, err := unix.MemfdCreate("vespiary-image", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, err
	}
	f := &file{fd: fd}
	if err := f.fill(content); err != nil {
		return nil, errors.Join(err, f.close())
	}
	if p, err := os.Open("/proc/self/pagemap"); err == nil {
		if f.pagemap = p; !f.trustworthy() {
			_ = p.Close() // it was only read
			f.pagemap = nil
		}
	}
	return f, nil
}

func (f *file) fill(content []byte) error {
	if err := unix.Ftruncate(f.fd, int64(len(content))); err != nil {
		return err
	}
	for at, run := range runs(content) {
		if _, err := unix.Pwrite(f.fd, run, at); err != nil {
			return err
		}
	}
	seals := unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(uintptr(f.fd), unix.F_ADD_SEALS, seals); err != nil {
		return err
	}
	var err error
	f.view, err = unix.Mmap(f.fd, 0, len(content), unix.PROT_READ, unix.MAP_PRIVATE)
	return err
}

// runs returns the parts of content without pages of zeros, which become holes.
func runs(content []byte) iter.Seq2[int64, []byte] {
	return func(yield func(int64, []byte) bool) {
		start := 0
		for n := 0; n < len(content); n += PageSize {
			if !zero(content[n:min(n+PageSize, len(content))]) {
				continue
			}
			if start < n && !yield(int64(start), content[start:n]) {
				return
			}
			start = n + PageSize
		}
		if start < len(content) {
			yield(int64(start), content[start:])
		}
	}
}

func (f *file) content() []byte { return f.view }

// restore maps the file over the start of memory, which mmap has returned.
func (f *file) restore(memory []byte) error {
	at := unsafe.Pointer(unsafe.SliceData(memory)) //nolint:gosec // the address is that of a mapping, which never moves
	_, err := unix.MmapPtr(f.fd, 0, at, uintptr(len(f.view)),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED|unix.MAP_NORESERVE)
	return err
}

// An entry of /proc/self/pagemap tells of one page where it is. One that was
// written to after the file was mapped is anonymous: neither absent nor backed
// by a file. See the kernel's Documentation/admin-guide/mm/pagemap.rst.
const (
	entrySize = 8
	present   = 1 << 63
	swapped   = 1 << 62
	fromFile  = 1 << 61
)

func own(entry uint64) bool {
	return entry&swapped != 0 || entry&present != 0 && entry&fromFile == 0
}

// touched returns the pages that memory has for itself, nil if that cannot be
// told.
func (f *file) touched(memory []byte) iter.Seq[uint32] {
	entries := f.entries(memory)
	if entries == nil {
		return nil
	}
	return func(yield func(uint32) bool) {
		for n := range uint32(len(entries) / entrySize) { //nolint:gosec // at most 4 GiB of pages
			if own(binary.NativeEndian.Uint64(entries[n*entrySize:])) && !yield(n) {
				return
			}
		}
	}
}

// entries reads what the system says of the pages of memory.
func (f *file) entries(memory []byte) []byte {
	if f.pagemap == nil {
		return nil
	}
	at := uintptr(unsafe.Pointer(unsafe.SliceData(memory))) / PageSize //nolint:gosec // the address is that of a mapping, which never moves
	b := make([]byte, len(memory)/PageSize*entrySize)
	if _, err := f.pagemap.ReadAt(b, int64(at)*entrySize); err != nil { //nolint:gosec // user addresses have 56 bits at most
		return nil
	}
	return b
}

// trustworthy looks whether pagemap tells a page that was written to from one
// that was not, because losing one would be losing state. It needs a system with
// pages of PageSize, and rights that not every sandbox gives.
func (f *file) trustworthy() bool {
	if os.Getpagesize() != PageSize || len(f.view) < 2*PageSize {
		return false
	}
	memory, err := unix.Mmap(f.fd, 0, 2*PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
	if err != nil {
		return false
	}
	defer release(memory)
	memory[0] = memory[PageSize] // reads the second page, and copies the first
	entries := f.entries(memory)
	return entries != nil && own(binary.NativeEndian.Uint64(entries)) && !own(binary.NativeEndian.Uint64(entries[entrySize:]))
}

func (f *file) close() error {
	var errs []error
	if f.view != nil {
		errs = append(errs, unix.Munmap(f.view))
	}
	if f.pagemap != nil {
		errs = append(errs, f.pagemap.Close())
	}
	return errors.Join(append(errs, unix.Close(f.fd))...)
}
