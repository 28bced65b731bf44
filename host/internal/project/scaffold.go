package project

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/vespiary/vespiary"
	"github.com/vespiary/vespiary/abi"
)

//go:embed all:template
var templates embed.FS

// goVersion is what the SDK needs, as go.mod names it.
const goVersion = "1.26"

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// Written tells of a file of a project: whether it was written, or kept because
// it was there.
type Written struct {
	Path string
	Kept bool
}

// New writes the project of a plugin of the kind agent or tool into the folder
// name below dir: sources with a test, plugin.yaml, a configuration that runs it,
// policies, the SDK, and test.sh, which asks a host of its own. The folder must not be there, or be empty.
func New(dir string, kind abi.PluginKind, name string, policies fs.FS) ([]Written, error) {
	if !nameForm.MatchString(name) {
		return nil, fmt.Errorf("the name %q does not do; use lower-case letters, digits and dashes, and begin with a letter", name)
	}
	if kind != abi.PluginAgent && kind != abi.PluginTool {
		return nil, fmt.Errorf("there is no template for the kind %q; write agent or tool", kind)
	}
	root := filepath.Join(dir, name)
	if entries, err := os.ReadDir(root); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("the folder %s is not empty; choose another name", root)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	w := writer{root: root, name: name, kind: kind}
	docs := "docs/welcome.md"
	if kind == abi.PluginTool { // whose project mounts it
		docs = ""
	}
	w.templates("shared", docs)
	w.templates("plugin", "")
	w.templates(string(kind), "")
	w.copy(policies, ".", "policies", isPolicy)
	w.write(".vespiary/sdk/go.mod", []byte("module github.com/vespiary/vespiary\n\ngo "+goVersion+"\n"))
	w.copy(vespiary.SDK, ".", ".vespiary/sdk", isSource)
	return w.written, w.err
}

// Init writes into dir what a host needs to begin: a configuration with one agent,
// policies, and a folder of documents. Files that are there are kept.
func Init(dir string, policies fs.FS) ([]Written, error) {
	w := writer{root: dir, keep: true}
	w.templates("init", "")
	w.templates("shared", "go.mod")
	w.copy(policies, ".", "policies", isPolicy)
	return w.written, w.err
}

func isPolicy(name string) bool { return path.Ext(name) == ".cedar" }

func isSource(name string) bool { return !strings.HasSuffix(name, "_test.go") }

// writer writes files below root until the first error.
type writer struct {
	root    string
	name    string
	kind    abi.PluginKind
	keep    bool // files that are there
	written []Written
	err     error
}

// templates fills in all templates of a folder but one.
func (w *writer) templates(folder, except string) {
	sub, err := fs.Sub(templates, "template/"+folder)
	w.fail(err)
	w.each(sub, ".", func(name string, b []byte) {
		target, ok := strings.CutSuffix(name, ".tmpl")
		if !ok || target == except {
			return
		}
		t, err := template.New(name).Parse(string(b))
		if err != nil {
			w.fail(err)
			return
		}
		var out bytes.Buffer
		w.fail(t.Execute(&out, map[string]string{"Name": w.name, "Kind": string(w.kind), "Go": goVersion}))
		w.write(target, out.Bytes())
	})
}

// copy copies the files below dir that are wanted into the folder to.
func (w *writer) copy(from fs.FS, dir, to string, wanted func(name string) bool) {
	w.each(from, dir, func(name string, b []byte) {
		if wanted(name) {
			w.write(path.Join(to, name), b)
		}
	})
}

// each calls f with all files below dir in the order of their names.
func (w *writer) each(from fs.FS, dir string, f func(name string, b []byte)) {
	w.fail(fs.WalkDir(from, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(from, name)
		if err == nil {
			f(name, b)
		}
		return err
	}))
}

func (w *writer) write(name string, b []byte) {
	if w.err != nil {
		return
	}
	target := filepath.Join(w.root, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil { //nolint:gosec // sources, which others may read
		w.fail(err)
		return
	}
	mode := fs.FileMode(0o644)
	if path.Ext(name) == ".sh" {
		mode = 0o755
	}
	f, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if w.keep && errors.Is(err, fs.ErrExist) {
		w.written = append(w.written, Written{target, true})
		return
	}
	if err != nil {
		w.fail(err)
		return
	}
	_, err = f.Write(b)
	w.fail(errors.Join(err, f.Close()))
	w.written = append(w.written, Written{target, false})
}

func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// Find returns the folders below dir, itself included, that hold a plugin.yaml.
// Hidden folders, data and dependencies are passed over.
func Find(dir string) ([]string, error) {
	skip := []string{"data", "node_modules", "vendor", "target", "testdata"}
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != dir && (strings.HasPrefix(d.Name(), ".") || slices.Contains(skip, d.Name())):
			return filepath.SkipDir
		case d.Name() == PluginFile && !d.IsDir():
			out = append(out, filepath.Dir(path))
		}
		return nil
	})
	return out, err
}
