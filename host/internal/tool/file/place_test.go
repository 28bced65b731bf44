package file

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/vespiary/vespiary/host"
)

var agent = &host.Agent{Name: "a", Folders: map[string]string{"docs": "/srv/docs", "workspace": "/srv/never"}}

func TestLocate(t *testing.T) {
	long := strings.Repeat("a", maxSegment)
	for _, test := range []struct{ in, shown, folder, rel string }{
		{"", ".", Workspace, ""},
		{".", ".", Workspace, ""},
		{"./", ".", Workspace, ""},
		{"notes/x.md", "notes/x.md", Workspace, ""},
		{"./notes//./x.md", "notes/x.md", Workspace, ""},
		{"notes/", "notes", Workspace, ""},
		{"a b/ü.md", "a b/ü.md", Workspace, ""},
		{"..a/b..", "..a/b..", Workspace, ""},
		{"~/x", "~/x", Workspace, ""},
		{"workspace/x", "workspace/x", Workspace, ""},
		{"Docs/x", "Docs/x", Workspace, ""},
		{"docs", "docs", "docs", "."},
		{"docs/README.md", "docs/README.md", "docs", "README.md"},
		{"./docs/./a//b", "docs/a/b", "docs", "a/b"},
		{long + "/" + long, long + "/" + long, Workspace, ""},
		// Outside.
		{"..", "..", "", ""},
		{"../../etc/passwd", "../../etc/passwd", "", ""},
		{"docs/../../x", "docs/../../x", "", ""},
		{"a/../b", "a/../b", "", ""},
		{"/etc/passwd", "/etc/passwd", "", ""},
		{"//host/share", "//host/share", "", ""},
		{`a\..\b`, `a\..\b`, "", ""},
		{`\\host\share`, `\\host\share`, "", ""},
		{"C:/x", "C:/x", "", ""},
		{"c:x", "c:x", "", ""}, // a drive on some systems, whatever it is on this one
		{"./C:/x", "./C:/x", "", ""},
		{"a\x00b", "a\uFFFDb", "", ""},
		{"a\nb", "a\uFFFDb", "", ""},
		{"a\xffb", "a\uFFFDb", "", ""},
		{long + "a", strings.Repeat("a", maxShown), "", ""},
		{strings.Repeat("a/", 257), strings.Repeat("a/", 128) + "…", "", ""},
	} {
		got := locate(agent, test.in)
		if got.shown() != test.shown || got.folder != test.folder || got.rel != test.rel || got.mounted() != (test.rel != "") {
			t.Errorf("%q: got %+v", test.in, got)
		}
	}
}

// FuzzLocate checks what the rest of the package relies on.
func FuzzLocate(f *testing.F) {
	for _, seed := range []string{"", "a/b", "../x", "docs/../../x", "./docs//x/", `a\b`, "C:x", "a\x00", "//", "docs/.", "…", "./C:"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		p := locate(agent, in)
		if !utf8.ValidString(p.shown()) || strings.ContainsFunc(p.shown(), func(r rune) bool { return r < ' ' }) || p.shown() == "" {
			t.Errorf("%q is shown as %q", in, p.shown())
		}
		if !p.inside() {
			return
		}
		local := p.path == "" || filepath.IsLocal(p.path)
		if !local || strings.ContainsAny(p.path, "\\\x00") || strings.HasSuffix(p.path, "/") || len(p.path) > maxPath {
			t.Errorf("%q is inside as %q", in, p.path)
		}
		if again := locate(agent, p.path); again != p {
			t.Errorf("%q: %+v becomes %+v", in, p, again)
		}
		if p.mounted() && (!filepath.IsLocal(p.rel) || !strings.HasPrefix(p.path+"/", p.folder+"/")) {
			t.Errorf("%q leads to %q of %s", in, p.rel, p.folder)
		}
	})
}

func TestCut(t *testing.T) {
	for _, test := range []struct {
		in    string
		limit int
		want  string
	}{
		{"abc", 5, "abc"},
		{"abc", 3, "abc"},
		{"abc", 2, "ab"},
		{"aé", 2, "a"},
		{"aé", 3, "aé"},
		{"a€b", 2, "a"},
		{"a€b", 3, "a"},
		{"a€b", 4, "a€"},
		{"a😀", 4, "a"},
		{"€", 1, "€"},
		{"😀b", 3, "😀"},
		{"a\xffb", 2, "a\xff"},
		{"a\xe2zz", 2, "a\xe2"},
		{"\xe2\x82", 1, "\xe2"},
		{"\x82\xac", 1, "\x82"},
	} {
		if got := test.in[:cut([]byte(test.in), test.limit)]; got != test.want {
			t.Errorf("%q, limit %d: got %q, want %q", test.in, test.limit, got, test.want)
		}
	}
}
