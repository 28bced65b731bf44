package cli

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// quiet is how long files must be left alone before a change counts: editors and
// compilers write one file in several steps.
const quiet = 150 * time.Millisecond

// watcher tells of files that change below a folder.
type watcher struct {
	fs   *fsnotify.Watcher
	data string // the host's own folder, absolute, which it writes to all the time
}

// watch begins to watch dir and all below it, but for hidden folders and data.
func watch(dir, data string) (*watcher, error) {
	f, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	w := &watcher{f, absolute(data)}
	if _, err := w.add(absolute(dir)); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *watcher) close() { _ = w.fs.Close() }

// add watches a folder and those below it, and returns the files in them.
func (w *watcher) add(dir string) (files []string, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path != dir && w.ignored(path):
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case d.IsDir():
			return w.fs.Add(path)
		}
		files = append(files, path)
		return nil
	})
	return files, err
}

func (w *watcher) ignored(path string) bool {
	rel, err := filepath.Rel(w.data, path)
	return err == nil && filepath.IsLocal(rel) ||
		strings.HasPrefix(filepath.Base(path), ".") || strings.HasSuffix(path, "~")
}

// absolute makes paths that come from different places comparable.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return filepath.Clean(path) // there is no working folder any more
}

// next waits for a change and returns the files that changed until all were
// quiet, sorted, as absolute paths.
func (w *watcher) next(ctx context.Context) ([]string, error) {
	files := map[string]bool{}
	settled := time.NewTimer(quiet)
	settled.Stop()
	defer settled.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-settled.C:
			return slices.Sorted(maps.Keys(files)), nil
		case err, ok := <-w.fs.Errors:
			if !ok {
				return nil, errWatch
			}
			return nil, err
		case e, ok := <-w.fs.Events:
			if !ok {
				return nil, errWatch
			}
			for _, file := range w.changed(e) {
				files[file] = true
				settled.Reset(quiet)
			}
		}
	}
}

// changed returns the files that an event tells of. A new folder is watched from
// now on, and all that it holds already is new.
func (w *watcher) changed(e fsnotify.Event) []string {
	if w.ignored(e.Name) || e.Op == fsnotify.Chmod {
		return nil
	}
	info, err := os.Stat(e.Name)
	if err != nil || !info.IsDir() {
		return []string{e.Name}
	}
	if !e.Has(fsnotify.Create) {
		return nil
	}
	files, err := w.add(e.Name)
	if err != nil {
		return nil // gone again, or not ours to read
	}
	return files
}
