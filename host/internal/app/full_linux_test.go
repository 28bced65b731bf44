package app_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// TestFullDiskRefusesNewWorkOnly fills a small file system of its own under the host.
func TestFullDiskRefusesNewWorkOnly(t *testing.T) {
	dir := newFolder(t, strings.Replace(librarian, "version: 1", "version: 1\nedge: true\nlimits: {free: 32MiB}", 1))
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=192m"); err != nil {
		if os.Getenv("CI") == "true" && os.Getuid() == 0 {
			t.Fatalf("mount a small file system: %v", err)
		}
		t.Skipf("mounting a small file system needs root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(data, syscall.MNT_DETACH) })
	s := serve(t, dir)
	turn := s.invoke("librarian", "What is a vespiary?", "")
	ballast := filepath.Join(data, "ballast")
	fill(t, ballast, data, 16<<20)
	for _, session := range []string{"", turn.Session} {
		body := map[string]string{"content": "What is a vespiary?"}
		if session != "" {
			body["session"] = session
		}
		if status, b := s.do(http.MethodPost, "/v1/agents/librarian/invocations", body); status != http.StatusInsufficientStorage {
			t.Errorf("a full disk: %d %s", status, b)
		}
	}
	if status, b := s.do(http.MethodGet, "/readyz", nil); status != http.StatusServiceUnavailable {
		t.Errorf("ready with a full disk: %d %s", status, b)
	}
	status, b := s.do(http.MethodGet, "/v1/sessions/"+turn.Session, nil)
	var head host.Session
	if err := json.Unmarshal(b, &head); err != nil || status != http.StatusOK || head.Turns != 1 {
		t.Errorf("reading with a full disk: %d %s", status, b)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	next := s.invoke("librarian", "What do hornets build with?", turn.Session)
	if next.Number != 2 || !strings.Contains(abi.TextOf(next.Content), "paper") {
		t.Errorf("after space is free: %+v", next)
	}
}

// fill writes a file until no more than left bytes are free.
func fill(t *testing.T, path, fs string, left uint64) {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(fs, &st); err != nil {
		t.Fatal(err)
	}
	n := int64(st.Bavail)*st.Bsize - int64(left)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 1<<20)
	for ; n > 0; n -= int64(len(chunk)) {
		if _, err := f.Write(chunk[:min(n, int64(len(chunk)))]); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}
