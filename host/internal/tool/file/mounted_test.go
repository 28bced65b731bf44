package file

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
)

// mount makes a folder with files in it, beside one that must not be reached.
func mount(t *testing.T, files map[string]string) (dir, outside string) {
	t.Helper()
	base := t.TempDir()
	dir, outside = filepath.Join(base, "docs"), filepath.Join(base, "secret")
	for _, d := range []string{dir, outside} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	files["../secret/key"] = "SECRET"
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, outside
}

func link(t *testing.T, to, at string) {
	t.Helper()
	if err := os.Symlink(to, at); err != nil {
		t.Skip("this file system has no links:", err)
	}
}

func mountBench(t *testing.T, dir string) *bench {
	t.Helper()
	b := newBench(t, Options{})
	b.folders = map[string]string{"docs": dir}
	b.turn(1)
	return b
}

func TestMountedRead(t *testing.T) {
	dir, _ := mount(t, map[string]string{"README.md": "hello €", "a/b.txt": "x"})
	b := mountBench(t, dir)
	got, err := b.read(abi.FileRead{Path: "docs/README.md", Limit: 8})
	if err != nil || got.Text != "hello " || got.EOF || got.Size != 9 || !got.ReadOnly || got.Path != "docs/README.md" || got.Modified.IsZero() || got.Version != 0 {
		t.Errorf("first part: %+v, %v", got, err)
	}
	got, err = b.read(abi.FileRead{Path: "docs/README.md", Offset: 6})
	if err != nil || got.Text != "€" || !got.EOF {
		t.Errorf("second part: %+v, %v", got, err)
	}
	for path, want := range map[string]abi.Code{
		"docs/missing": abi.CodeNotFound, "docs/README.md/x": abi.CodeUnavailable, "docs/a": abi.CodeUnavailable, "docs": abi.CodeUnavailable,
		"docs/../secret/key": abi.CodeDenied,
	} {
		if _, err := b.read(abi.FileRead{Path: path}); code(t, err) != want {
			t.Errorf("%s: got %v, want %s", path, err, want)
		} else if strings.Contains(err.Error(), dir) {
			t.Errorf("%s: the error tells where the folder is: %v", path, err)
		}
	}
}

func TestMountedLinks(t *testing.T) {
	dir, outside := mount(t, map[string]string{"a/b.txt": "inside"})
	link(t, "b.txt", filepath.Join(dir, "a/same"))
	link(t, "../a/b.txt", filepath.Join(dir, "a/up"))
	link(t, "a", filepath.Join(dir, "dir"))
	link(t, "..", filepath.Join(dir, "a/loop"))
	link(t, outside, filepath.Join(dir, "absolute"))
	link(t, "../secret/key", filepath.Join(dir, "relative"))
	link(t, filepath.Join(dir, "a/b.txt"), filepath.Join(dir, "home"))
	link(t, "nothing", filepath.Join(dir, "dangling"))
	b := mountBench(t, dir)
	for _, path := range []string{"docs/a/same", "docs/a/up", "docs/dir/b.txt", "docs/a/loop/a/b.txt"} {
		if got := b.contentOr(path, "-"); got != "inside" {
			t.Errorf("%s: a link that stays inside reads %q", path, got)
		}
	}
	for _, path := range []string{"docs/absolute/key", "docs/relative", "docs/home", "docs/dangling"} {
		got, err := b.read(abi.FileRead{Path: path})
		if err == nil {
			t.Errorf("%s is read: %q", path, got.Text)
		} else if strings.Contains(err.Error(), outside) {
			t.Errorf("%s: the error tells where the link leads: %v", path, err)
		}
	}
	want := []string{"docs/a/", "docs/a/b.txt", "docs/a/loop/", "docs/a/same", "docs/a/up", "docs/dir/"}
	if diff := cmp.Diff(want, b.paths(abi.FileList{Path: "docs", Recursive: true})); diff != "" {
		t.Errorf("listing (-want +got):\n%s", diff)
	}
	if _, err := do[abi.FileListing](b, abi.CallFileList, abi.FileList{Path: "docs/absolute"}); err == nil {
		t.Error("a folder outside is listed through a link")
	}
}

func TestMountedList(t *testing.T) {
	dir, _ := mount(t, map[string]string{"README.md": "x", "a/b.txt": "x", ".git/config": "x", "a/.env": "x", "a/back\\slash": "x"})
	b := mountBench(t, dir)
	for _, test := range []struct {
		in   abi.FileList
		want []string
	}{
		{abi.FileList{Path: "docs"}, []string{"docs/.git/", "docs/README.md", "docs/a/"}},
		{abi.FileList{Path: "docs", Recursive: true}, []string{"docs/.git/", "docs/README.md", "docs/a/", "docs/a/.env", "docs/a/b.txt"}},
		{abi.FileList{Path: "docs/.git"}, []string{"docs/.git/config"}},
		{abi.FileList{Recursive: true}, []string{"docs/"}},
	} {
		if diff := cmp.Diff(test.want, b.paths(test.in)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", test.in, diff)
		}
	}
	for path, want := range map[string]abi.Code{"docs/README.md": abi.CodeInvalid, "docs/nothing": abi.CodeNotFound} {
		if _, err := do[abi.FileListing](b, abi.CallFileList, abi.FileList{Path: path}); code(t, err) != want {
			t.Errorf("%s: got %v, want %s", path, err, want)
		}
	}
}

func TestMountedLimits(t *testing.T) {
	files := map[string]string{}
	for i := range maxListed + 5 {
		files[fmt.Sprintf("many/%05d", i)] = ""
	}
	files[strings.Repeat("d/", maxDepth+2)+"deep"] = ""
	dir, _ := mount(t, files)
	b := mountBench(t, dir)
	if got := b.paths(abi.FileList{Path: "docs/many"}); len(got) != maxListed+1 || got[0] != "docs/many/00000" || got[maxListed] != "…" {
		t.Errorf("%d entries, the last is %s", len(got), got[len(got)-1])
	}
	if got := b.paths(abi.FileList{Path: "docs/d", Recursive: true}); len(got) != maxDepth+2 || got[maxDepth+1] != "…" {
		t.Errorf("%d entries, the last is %s", len(got), got[len(got)-1])
	}
}

func TestMountGone(t *testing.T) {
	b := mountBench(t, filepath.Join(t.TempDir(), "gone"))
	if _, err := b.read(abi.FileRead{Path: "docs/a"}); code(t, err) != abi.CodeUnavailable {
		t.Errorf("read: %v", err)
	}
	if _, err := do[abi.FileListing](b, abi.CallFileList, abi.FileList{Path: "docs"}); code(t, err) != abi.CodeUnavailable {
		t.Errorf("list: %v", err)
	}
}

func TestLabels(t *testing.T) {
	dir, _ := mount(t, map[string]string{"a": "x"})
	b := mountBench(t, dir)
	b.mustWrite(abi.FileWrite{Path: "w", Text: "x"})
	for path, derived := range map[string]bool{"w": true, "docs/a": false} {
		out, err := b.perform(abi.CallFileRead, abi.FileRead{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		want := abi.Labels{"": {Integrity: abi.Untrusted, Sources: []string{"folder:docs"}}}
		if derived {
			want = nil
		}
		if diff := cmp.Diff(want, out.Labels); diff != "" || out.Derived != derived {
			t.Errorf("%s: derived %v, labels (-want +got):\n%s", path, out.Derived, diff)
		}
	}
}
