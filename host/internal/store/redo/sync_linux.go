package redo

import (
	"errors"
	"os"
	"syscall"
)

// datasync leaves out the metadata that reading the data back does not need.
func datasync(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	ctlErr := conn.Control(func(fd uintptr) {
		for {
			if err = syscall.Fdatasync(int(fd)); !errors.Is(err, syscall.EINTR) {
				return
			}
		}
	})
	if ctlErr != nil {
		return ctlErr
	}
	return os.NewSyscallError("fdatasync", err)
}
