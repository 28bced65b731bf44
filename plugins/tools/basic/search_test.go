package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/sdk/go/vespiarytest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// library is a host whose workspace is testdata/docs.
func library(t *testing.T) *vespiarytest.Host {
	t.Helper()
	h := vespiarytest.New(t)
	docs := os.DirFS("testdata/docs")
	err := fs.WalkDir(docs, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(docs, path)
		h.Files[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestSearch(t *testing.T) {
	type m = map[string]any
	for name, arguments := range map[string]m{
		"stems":      {"query": "approving calls", "limit": 3},
		"two-words":  {"query": "crash recovery"},
		"plural":     {"query": "backup", "limit": 10},
		"in-folder":  {"query": "backup", "path": "guide"},
		"no-match":   {"query": "zeppelin"},
		"code-block": {"query": "comment heading"},
		"stopwords":  {"query": "what is the denial of a policy"},
		"only-stop":  {"query": "what is the"},
		"outside":    {"query": "backup", "path": "../secrets"},
	} {
		t.Run(name, func(t *testing.T) {
			r := library(t).CallTool("files_search", arguments)
			got := outcome(r) + "----\n" + indented(t, r.StructuredContent)
			file := filepath.Join("testdata/search", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func indented(t *testing.T, b []byte) string {
	t.Helper()
	if len(b) == 0 {
		return ""
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out) + "\n"
}

func TestSearchDoesNotDependOnTheOrderOfReads(t *testing.T) {
	var got []string
	for _, newest := range []bool{false, true} {
		h := library(t)
		for i := range 3 * batch {
			h.Files[fmt.Sprintf("many/%02d.md", i)] = "the same approval everywhere"
		}
		h.Newest = newest
		got = append(got, outcome(h.CallTool("files_search", map[string]any{"query": "approval", "limit": 50})))
	}
	if diff := cmp.Diff(got[0], got[1]); diff != "" {
		t.Errorf("-oldest first +newest first:\n%s", diff)
	}
}

func TestSearchSkips(t *testing.T) {
	h := library(t)
	h.Files["secret.md"], h.Files["huge.md"] = "backup", strings.Repeat("backup ", maxSearched/6)
	vespiarytest.Answer(h, abi.CallFileRead, func(r abi.FileRead) (abi.FileContent, error) {
		if r.Path == "secret.md" {
			return abi.FileContent{}, &abi.Error{Code: abi.CodeDenied, Message: "not yours", Policy: "p3"}
		}
		return abi.FileContent{Text: h.Files[r.Path], EOF: true}, nil
	})
	got := outcome(h.CallTool("files_search", map[string]any{"query": "backup", "limit": 1}))
	want := "guide/store.md:11 (Backups)\n" +
		"Stop the server before you copy the data folder, or use the command for backups. Backups are not encrypted.\n" +
		"[not searched: huge.md: 611667 bytes are too many]\n" +
		"[not searched: secret.md: denied: not yours (policy p3)]\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSearchNamesAFewOfManySkipped(t *testing.T) {
	h := vespiarytest.New(t)
	for i := range 9 {
		h.Files[fmt.Sprintf("%d.md", i)] = strings.Repeat("x", maxSearched+1)
	}
	got := outcome(h.CallTool("files_search", map[string]any{"query": "x"}))
	if !strings.HasSuffix(got, "4.md: 524289 bytes are too many]\n[and 4 more]\n") {
		t.Errorf("got %q", got)
	}
}

func TestStem(t *testing.T) {
	for _, same := range []string{
		"policy policies", "approve approves approved approving", "run runs running", "call calls called calling",
		"deny denies denied", "crash crashes crashed", "box boxes", "process processes", "backup backups", "file files", "stop stopped",
	} {
		words := strings.Fields(same)
		for _, w := range words[1:] {
			if stem(w) != stem(words[0]) {
				t.Errorf("%s is %s, %s is %s", words[0], stem(words[0]), w, stem(w))
			}
		}
	}
	for _, word := range []string{"bus", "status", "is", "this", "class", "red", "ring", "a", "日本語", "ed", "ss"} {
		if got := stem(word); got != word {
			t.Errorf("%s is %s", word, got)
		}
	}
}

func TestSplit(t *testing.T) {
	long := strings.Repeat(strings.Repeat("w", 99)+"\n", 30)
	got := split("a.md", "intro\n\n# One\n## Two\n\ntext\n\nmore\n\n#hashtag\n# Three #\n~~~\n# code\n~~~\n\n"+long)
	var b strings.Builder
	for _, p := range got {
		fmt.Fprintf(&b, "%d %q %d %.20q\n", p.line, p.heading, len(p.text), p.text)
	}
	want := "1 \"\" 5 \"intro\"\n" +
		"6 \"One > Two\" 20 \"text\\n\\nmore\\n\\n#hashtag\"\n" +
		"12 \"Three\" 1215 \"~~~\\n# code\\n~~~\\n\\nwwww\"\n" +
		"28 \"Three\" 1299 \"wwwwwwwwwwwwwwwwwwww\"\n" +
		"41 \"Three\" 499 \"wwwwwwwwwwwwwwwwwwww\"\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, p := range split("a.txt", "# not a heading\n") {
		if p.heading != "" || p.text != "# not a heading" {
			t.Errorf("plain text is split to %+v", p)
		}
	}
}

// FuzzSplit checks that no line of a file is lost or moved, whatever it holds.
func FuzzSplit(f *testing.F) {
	f.Add("a.md", "# H\n\ntext\n```\n# x\n")
	f.Add("a.txt", "\r\n\r\n# \x00")
	f.Fuzz(func(t *testing.T, path, text string) {
		lines := strings.Split(text, "\n")
		last := 0
		for _, p := range split(path, text) {
			first, _, _ := strings.Cut(p.text, "\n")
			if p.line <= last || p.line > len(lines) || strings.TrimRight(lines[p.line-1], " \t\r\n") != first {
				t.Fatalf("passage %q is said to begin at line %d", p.text, p.line)
			}
			last = p.line
		}
	})
}
