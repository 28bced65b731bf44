package app

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// folderOf makes a folder with these files.
func folderOf(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// allIn returns all files of a folder, those included that hold no policies.
func allIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		out[filepath.ToSlash(name)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func bytesOf(files map[string]string) map[string][]byte {
	out := map[string][]byte{}
	for name, text := range files {
		out[name] = []byte(text)
	}
	return out
}

var (
	before = map[string]string{"a.cedar": "a", "b.cedar": "b", "team/c.cedar": "c", "empty.cedar": ""}
	after  = map[string]string{"a.cedar": "A", "empty.cedar": "", "team/c.cedar": "c", "team/new/d.cedar": "d", "e.cedar": ""}
)

const readme = "not a policy"

func withReadme(files map[string]string) map[string]string {
	out := maps.Clone(files)
	out["README.md"] = readme
	return out
}

func TestFilesChange(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(*fileChange) error
		want map[string]string
	}{
		{"kept", (*fileChange).keep, after},
		{"undone", (*fileChange).undo, before},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := folderOf(t, withReadme(before))
			c, err := changeFiles(dir, bytesOf(before), bytesOf(after))
			if err != nil {
				t.Fatal(err)
			}
			now, err := policyFiles(dir)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(bytesOf(after), now); diff != "" {
				t.Errorf("after the change (-want +got):\n%s", diff)
			}
			if err := tc.end(c); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(withReadme(tc.want), allIn(t, dir)); diff != "" {
				t.Errorf("in the end (-want +got):\n%s", diff)
			}
			if info, err := os.Stat(filepath.Join(dir, "a.cedar")); err != nil || info.Mode().Perm() != 0o640 {
				t.Errorf("the mode of a.cedar is %v, %v", info.Mode(), err)
			}
		})
	}
}

// TestCrashDuringChange breaks off after each thing that a change does to the folder.
func TestCrashDuringChange(t *testing.T) {
	for n := range 30 {
		dir := folderOf(t, withReadme(before))
		done := breakOff(t, dir, n)
		if err := settlePolicies(dir); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(withReadme(before), allIn(t, dir)); diff != "" {
			t.Fatalf("after %d steps (-want +got):\n%s", n, diff)
		}
		if err := settlePolicies(dir); err != nil {
			t.Fatalf("a second time: %v", err)
		}
		if done {
			if n < 5 {
				t.Errorf("the change has only %d steps", n)
			}
			return
		}
	}
	t.Error("the change has no end")
}

// errCrash is where the host is no more.
var errCrash = errors.New("crash")

// breakOff makes a change as far as its step n: the plan, and then for each file the new
// text beside it, and in its place. It reports whether that was all.
func breakOff(t *testing.T, dir string, n int) bool {
	t.Helper()
	c := &fileChange{dir, planOf(bytesOf(before), bytesOf(after))}
	step := 0
	next := func() error {
		if step++; step > n {
			return errCrash
		}
		return nil
	}
	err := c.within(func(root *os.Root) error {
		if err := next(); err != nil {
			return errors.Join(err, os.WriteFile(filepath.Join(dir, beside(planFile)), []byte(`{"a.ced`), 0o600))
		}
		if err := c.makeAll(root, next); err != nil {
			return errors.Join(err, os.WriteFile(filepath.Join(dir, beside("e.cedar")), []byte("half"), 0o600))
		}
		return nil
	})
	if err != nil && !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	return err == nil && step <= n
}

// TestSettleLeavesOthersAlone: a person who changed a file after the crash keeps it.
func TestSettleLeavesOthersAlone(t *testing.T) {
	dir := folderOf(t, before)
	if _, err := changeFiles(dir, bytesOf(before), bytesOf(after)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a.cedar"), []byte("by hand"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := settlePolicies(dir); err != nil {
		t.Fatal(err)
	}
	want := maps.Clone(before)
	want["a.cedar"] = "by hand"
	if diff := cmp.Diff(want, allIn(t, dir)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestChangeStaysInFolder(t *testing.T) {
	outside := folderOf(t, map[string]string{"x.cedar": "x"})
	for _, tc := range []struct{ name, link, target, file string }{
		{"a file that is a link", "a.cedar", filepath.Join(outside, "x.cedar"), "a.cedar"},
		{"a folder that is a link", "team", outside, "team/x.cedar"},
		{"a name that leads out", "", "", "../x.cedar"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := folderOf(t, map[string]string{"b.cedar": "b"})
			if tc.link != "" {
				if err := os.Symlink(tc.target, filepath.Join(dir, tc.link)); err != nil {
					t.Skip(err)
				}
			}
			was, err := policyFiles(dir)
			if err != nil {
				t.Fatal(err)
			}
			want := maps.Clone(was)
			want[tc.file], want["b.cedar"] = []byte("mine"), []byte("B")
			if _, err := changeFiles(dir, was, want); err == nil {
				t.Error("it was changed")
			}
			if diff := cmp.Diff(map[string]string{"x.cedar": "x"}, allIn(t, outside)); diff != "" {
				t.Errorf("outside (-want +got):\n%s", diff)
			}
			now, err := policyFiles(dir)
			if diff := cmp.Diff(was, now); err != nil || diff != "" {
				t.Errorf("the folder (-want +got):\n%s%v", diff, err)
			}
		})
	}
}

func TestPolicyNames(t *testing.T) {
	for name, want := range map[string]bool{
		"a.cedar": true, "team/a.cedar": true, "A-1_b.x.cedar": true, "a..b.cedar": true,
		"": false, "a": false, ".cedar": false, ".a.cedar": false, "../a.cedar": false, "/a.cedar": false, "a/../b.cedar": false,
		"a//b.cedar": false, "a/.b/c.cedar": false, `a\b.cedar`: false, "a.cedar/": false, "a.cedar\n": false, "c:a.cedar": false, "ä.cedar": false,
	} {
		if got := policyName.MatchString(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}
