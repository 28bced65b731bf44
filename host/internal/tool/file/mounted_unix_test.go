//go:build unix

package file

import (
	"net"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
)

// A pipe that nobody writes to would hold up whoever opens it.
func TestSpecialFilesAreRefused(t *testing.T) {
	dir, _ := mount(t, map[string]string{"file": "x"})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Skip("this file system has no pipes:", err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Skip("this file system has no sockets:", err)
	}
	defer func() { _ = l.Close() }()
	link(t, "pipe", filepath.Join(dir, "link"))
	b := mountBench(t, dir)
	for _, path := range []string{"docs/pipe", "docs/socket", "docs/link"} {
		if _, err := b.read(abi.FileRead{Path: path}); code(t, err) != abi.CodeUnavailable {
			t.Errorf("%s: %v", path, err)
		}
	}
	if diff := cmp.Diff([]string{"docs/file"}, b.paths(abi.FileList{Path: "docs"})); diff != "" {
		t.Errorf("listing (-want +got):\n%s", diff)
	}
}
