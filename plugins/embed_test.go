package plugins_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/vespiary/vespiary/plugins"
)

func TestRead(t *testing.T) {
	names := plugins.Names()
	if len(names) == 0 && os.Getenv("CI") != "true" {
		t.Skip("the built-in plugins are missing; run make plugins")
	}
	if strings.Join(names, " ") != "basic loop" {
		t.Errorf("Names() = %v", names)
	}
	for _, name := range names {
		if b, err := plugins.Read(name); err != nil || !strings.HasPrefix(string(b), "\x00asm") {
			t.Errorf("Read(%s) = %d bytes, %v", name, len(b), err)
		}
	}
	for _, name := range []string{"none", "../embed", ".placeholder", ""} {
		if _, err := plugins.Read(name); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "make plugins") {
			t.Errorf("Read(%q): %v", name, err)
		}
	}
}
