package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/sdk/go/vespiarytest"
)

// outcome is a tool's result as text, marked where it is an error.
func outcome(r abi.ToolResult) string {
	if r.IsError {
		return "ERROR " + abi.TextOf(r.Content)
	}
	return abi.TextOf(r.Content)
}

func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "line %d\n", i+1)
	}
	return b.String()
}

func TestFiles(t *testing.T) {
	files := map[string]string{
		"notes/today.md": "# Today\n\nRain.\n",
		"notes/old/a.md": "a",
		"readme.txt":     "one\r\ntwo\nthree",
		"empty.txt":      "",
		"photo.bin":      "\x00\x01\xff",
		"nul.txt":        "a\x00b",
		"twelve.txt":     numbered(12),
		"long.txt":       strings.Repeat(strings.Repeat("x", 99)+"\n", 600),
		"wide.txt":       strings.Repeat("w", maxText+100) + "\nend\n",
		"huge.txt":       strings.Repeat("ü\n", maxFile/2),
	}
	type m = map[string]any
	tests := []struct {
		tool      string
		arguments m
		want      string
	}{
		{"files_list", m{"path": "notes"}, "notes/old/\nnotes/today.md (15 bytes)\n"},
		{"files_list", m{"path": "notes", "recursive": true}, "notes/old/a.md (1 bytes)\nnotes/today.md (15 bytes)\n"},
		{"files_list", m{"path": "nowhere"}, "There are no files here."},
		{"files_list", m{"path": "/etc"}, "ERROR denied: /etc is outside the workspace (policy vespiarytest)"},
		{"files_read", m{"path": "notes/today.md"}, "# Today\n\nRain.\n"},
		{"files_read", m{"path": "readme.txt", "numbers": true}, "1  one\n2  two\n3  three\n"},
		{"files_read", m{"path": "empty.txt"}, ""},
		{"files_read", m{"path": "twelve.txt", "from": 9, "lines": 2, "numbers": true}, " 9  line 9\n10  line 10\n[lines 9 to 10 of 12; read on from 11]\n"},
		{"files_read", m{"path": "twelve.txt", "from": 12}, "line 12\n"},
		{"files_read", m{"path": "twelve.txt", "from": 13}, "ERROR invalid: twelve.txt has 12 lines, so none from 13"},
		{"files_read", m{"path": "long.txt"}, strings.Repeat(strings.Repeat("x", 99)+"\n", 512) + "[lines 1 to 512 of 600; read on from 513]\n"},
		{"files_read", m{"path": "wide.txt", "lines": 1}, strings.Repeat("w", maxText) + "\n[lines 1 to 1 of 2; read on from 2]\n"},
		{"files_read", m{"path": "huge.txt", "from": 1398101}, "ü\n[only the first 4194304 bytes of this file can be read]\n"},
		{"files_read", m{"path": "photo.bin"}, "ERROR invalid: photo.bin is not a text file (3 bytes)"},
		{"files_read", m{"path": "nul.txt"}, "ERROR invalid: nul.txt is not a text file (3 bytes)"},
		{"files_read", m{"path": "absent.md"}, "ERROR not_found: no file absent.md"},
		{"files_read", m{"path": "../../etc/passwd"}, "ERROR denied: ../../etc/passwd is outside the workspace (policy vespiarytest)"},
		{"files_read", m{}, `ERROR invalid: files_read: the arguments must have "path"`},
		{"files_write", m{"path": "new.md", "text": "a\n"}, "Wrote 2 bytes to new.md."},
		{"files_write", m{"path": "new.md", "text": "b\n", "append": true}, "Added 2 bytes to new.md, which has 4 bytes now."},
		{"files_read", m{"path": "new.md"}, "a\nb\n"},
		{"files_write", m{"path": "new.md", "remove": true}, "Removed new.md."},
		{"files_read", m{"path": "new.md"}, "ERROR not_found: no file new.md"},
		{"files_write", m{"path": "new.md", "text": "a", "remove": true}, "ERROR invalid: remove goes with neither text nor append"},
		{"files_write", m{"path": "/tmp/x", "text": "a"}, "ERROR denied: /tmp/x is outside the workspace (policy vespiarytest)"},
	}
	h := vespiarytest.New(t)
	h.Files = files
	for i, test := range tests {
		t.Run(fmt.Sprintf("%d %s %v", i, test.tool, test.arguments), func(t *testing.T) {
			if diff := cmp.Diff(test.want, outcome(h.CallTool(test.tool, test.arguments))); diff != "" {
				t.Errorf("-want +got:\n%.2000s", diff)
			}
		})
	}
}

// What the model wrote is what the host, and so the policy, is asked about.
func TestPathsAreNotTouched(t *testing.T) {
	h := vespiarytest.New(t)
	for _, path := range []string{"a//b/../c", " /etc/passwd", "~/x", "C:\\x", ".", "file:///etc/passwd"} {
		for _, tool := range []string{"files_list", "files_read", "files_write"} {
			h.CallTool(tool, map[string]any{"path": path})
			calls := h.Calls()
			if got := string(calls[len(calls)-1].Request); !strings.Contains(got, fmt.Sprintf(`"path":%q`, path)) {
				t.Errorf("%s of %q asks the host for %s", tool, path, got)
			}
		}
	}
}

func TestListing(t *testing.T) {
	h := vespiarytest.New(t)
	for i := range maxListing + 1 {
		h.Files[fmt.Sprintf("%04d", i)] = ""
	}
	got := outcome(h.CallTool("files_list", struct{}{}))
	if !strings.HasSuffix(got, "0499 (0 bytes)\n[there are more; list a folder below]\n") {
		t.Errorf("ends with %q", got[len(got)-80:])
	}
}

func TestAnnotations(t *testing.T) {
	got := map[string]bool{}
	for _, tool := range vespiarytest.New(t).Tools() {
		got[tool.Name] = tool.Annotations.ReadOnlyHint
	}
	want := map[string]bool{"files_list": true, "files_read": true, "files_search": true, "files_write": false, "clock_now": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read-only tools: -want +got:\n%s", diff)
	}
}
