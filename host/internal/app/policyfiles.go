package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A change of several files is undone unless it came to its end, also by a host that was
// started after a crash: planFile in the folder says how. The names of that and of files
// that are being written begin with a dot, so that no policies are read from them.
const planFile = ".change"

// plan holds what a change does, by the names of files.
type plan map[string]step

// step is the change of one file. nil: there is none.
type step struct {
	Was  []byte `json:"was"`
	Want []byte `json:"want"`
}

func planOf(was, want map[string][]byte) plan {
	p := plan{}
	for name, text := range want {
		if old, ok := was[name]; !ok || !bytes.Equal(old, text) {
			p[name] = step{Was: old, Want: text}
		}
	}
	for name, text := range was {
		if _, ok := want[name]; !ok {
			p[name] = step{Was: text}
		}
	}
	return p
}

// fileChange is a change of a folder that can still be undone.
type fileChange struct {
	dir  string
	plan plan
}

// changeFiles makes the policy files of a folder, which are was, those of want. The caller
// keeps or undoes it, and lets nobody read policies of the folder meanwhile. After an error
// the folder is as it was.
func changeFiles(dir string, was, want map[string][]byte) (*fileChange, error) {
	c := &fileChange{dir, planOf(was, want)}
	err := c.within(c.make)
	if err == nil {
		err = holds(dir, want)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write the policies: %w", err), c.undo())
	}
	return c, nil
}

// holds checks that a folder has these files.
func holds(dir string, want map[string][]byte) error {
	now, err := policyFiles(dir)
	if err == nil && !maps.EqualFunc(now, want, bytes.Equal) {
		err = errors.New("the folder does not hold what was written; two names may be one to its file system, or somebody else writes to it")
	}
	return err
}

// keep makes the change one that is not undone.
func (c *fileChange) keep() error {
	return c.within(func(root *os.Root) error { return removeFile(root, planFile) })
}

// undo makes the files what they were, but those that somebody changed meanwhile.
func (c *fileChange) undo() error { return c.within(c.restore) }

// within does something in the folder and nowhere else, whatever links there are in it.
func (c *fileChange) within(do func(*os.Root) error) error {
	root, err := os.OpenRoot(c.dir)
	if err != nil {
		return err
	}
	return errors.Join(do(root), root.Close())
}

func (c *fileChange) make(root *os.Root) error {
	for name := range c.plan {
		if info, err := root.Lstat(name); err == nil && !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no regular file; change it where it is", name)
		}
	}
	return c.makeAll(root, func() error { return nil })
}

// makeAll calls after once each thing is done.
func (c *fileChange) makeAll(root *os.Root, after func() error) error {
	text, err := json.Marshal(c.plan)
	if err == nil {
		err = replaceFile(root, planFile, text)
	}
	if err == nil {
		err = after()
	}
	for _, name := range slices.Sorted(maps.Keys(c.plan)) {
		if err == nil {
			err = setFile(root, name, c.plan[name].Want)
		}
		if err == nil {
			err = after()
		}
	}
	return err
}

// restore undoes as much of the change as was made.
func (c *fileChange) restore(root *os.Root) error {
	for _, name := range slices.Sorted(maps.Keys(c.plan)) {
		s := c.plan[name]
		if err := root.Remove(beside(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		now, err := textOf(root, name)
		if err != nil {
			return err
		}
		if sameText(now, s.Was) || !sameText(now, s.Want) {
			continue
		}
		if err := setFile(root, name, s.Was); err != nil {
			return fmt.Errorf("put back the policies: %w", err)
		}
	}
	return removeFile(root, planFile)
}

// settlePolicies undoes a change of a folder that a host left unfinished. It must not be
// called while one is under way.
func settlePolicies(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, planFile))
	if errors.Is(err, fs.ErrNotExist) { // at most the plan was being written, of which nothing is read
		_ = os.Remove(filepath.Join(dir, beside(planFile)))
		return nil
	}
	c := &fileChange{dir: dir}
	if err == nil {
		err = json.Unmarshal(text, &c.plan)
	}
	if err == nil {
		err = c.undo()
	}
	if err != nil {
		return fmt.Errorf("undo the change of policies that was not finished in %s: %w; see that the policy files are as you want them and remove %s", dir, err, planFile)
	}
	return nil
}

// sameText tells a missing file from an empty one.
func sameText(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// textOf returns what a file holds, nil where there is none.
func textOf(root *os.Root, name string) ([]byte, error) {
	text, err := root.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return append([]byte{}, text...), err
}

func setFile(root *os.Root, name string, text []byte) error {
	if text == nil {
		return removeFile(root, name)
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	return replaceFile(root, name, text)
}

// beside is the file that another one is written to before it takes its place.
func beside(name string) string {
	return path.Join(path.Dir(name), "."+strings.TrimPrefix(path.Base(name), ".")+".new")
}

// replaceFile writes a file so that a crash leaves the old or the new one.
func replaceFile(root *os.Root, name string, text []byte) error {
	mode := fs.FileMode(0o644) // policies are no secret
	if info, err := root.Stat(name); err == nil {
		mode = info.Mode().Perm()
	}
	f, err := root.OpenFile(beside(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := root.Rename(beside(name), name); err != nil {
		return err
	}
	return syncFolder(root, path.Dir(name))
}

func removeFile(root *os.Root, name string) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncFolder(root, path.Dir(name))
}

func syncFolder(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// policyName is the form of the name of a new policy file: it leads out of no folder, is
// not hidden, and is the same name on all systems but for the case of its letters.
var policyName = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]{0,99}/){0,8}[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.cedar$`)
