//go:build linux || darwin

package image

import "golang.org/x/sys/unix"

// reserve returns zeroed address space, nil if none is left.
func reserve(limit uint64) []byte {
	if limit == 0 {
		return nil
	}
	b, err := unix.Mmap(-1, 0, int(limit), //nolint:gosec // at most 4 GiB
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil
	}
	return b
}

func release(b []byte) {
	_ = unix.Munmap(b) // fails only for what Mmap did not return
}
