package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/host/internal/config"
)

// TestAuditKeyStays: a host goes on with the key that its audit was signed with, and does
// not start with another one.
func TestAuditKeyStays(t *testing.T) {
	dir := newFolder(t, librarian)
	s := serve(t, dir)
	s.invoke("librarian", "What time is it?", "")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	private, public, err := app.App{}.AuditKey("elsewhere")
	if err != nil || !strings.HasPrefix(private, "PRIVATE+KEY+elsewhere+") || !strings.HasPrefix(public, "elsewhere+") {
		t.Fatal(private, public, err)
	}
	put(t, filepath.Join(dir, "audit.key"), private)
	put(t, filepath.Join(dir, config.FileName), librarian+"audit: {key: \"${file:./audit.key}\"}\n")
	cfg, err := config.Load(filepath.Join(dir, config.FileName))
	if err != nil {
		t.Fatal(err)
	}
	if h, err := app.Open(t.Context(), cfg, app.Options{}); err == nil || !strings.Contains(err.Error(), "signed with another key") {
		t.Errorf("a host with another key: %v", err)
		if err == nil {
			_ = h.Close(t.Context())
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "data", "store")); err != nil {
		t.Fatal(err)
	}
	h, err := app.Open(t.Context(), cfg, app.Options{}) // one that begins with it
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
