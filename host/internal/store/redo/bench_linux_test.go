package redo

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// BenchmarkAllocation writes and syncs 4 KiB at a time to files prepared in
// different ways. It is why segments are filled with zeros and used again.
func BenchmarkAllocation(b *testing.B) {
	const size = 16 << 20
	prepare := map[string]func(f *os.File) error{
		"growing":   func(*os.File) error { return nil },
		"truncated": func(f *os.File) error { return f.Truncate(size) },
		"fallocate": func(f *os.File) error { return syscall.Fallocate(int(f.Fd()), 0, 0, size) },
		"zeros":     func(f *os.File) error { return zero(f, 0, size) },
	}
	for _, name := range []string{"growing", "truncated", "fallocate", "zeros"} {
		b.Run(name, func(b *testing.B) {
			f, err := os.Create(filepath.Join(b.TempDir(), "file"))
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			if err := prepare[name](f); err != nil {
				b.Skip(err)
			}
			if err := f.Sync(); err != nil {
				b.Fatal(err)
			}
			page := make([]byte, 4096)
			for i := range page {
				page[i] = byte(i)
			}
			off := int64(0)
			for b.Loop() {
				if _, err := f.WriteAt(page, off%size); err != nil {
					b.Fatal(err)
				}
				if err := datasync(f); err != nil {
					b.Fatal(err)
				}
				off += int64(len(page))
			}
		})
	}
}
