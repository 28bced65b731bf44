package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/config/strict"
)

// FuzzParse: whatever the file holds, Parse returns either a configuration or
// problems that stand in the file.
func FuzzParse(f *testing.F) {
	good, err := os.ReadFile("testdata/good.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	files, err := filepath.Glob("testdata/errors/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := config.Parse("vespiary.yaml", data)
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v with error %v", c, err)
		}
		if err == nil {
			return
		}
		e, ok := errors.AsType[*strict.Error](err)
		if !ok || len(e.Problems) == 0 {
			t.Fatalf("error of another type: %v", err)
		}
		for _, p := range e.Problems {
			if p.File == "" || p.Message == "" || p.Line < 0 {
				t.Fatalf("incomplete problem: %+v", p)
			}
		}
	})
}
