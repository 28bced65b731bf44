package apitest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

// Golden runs each exchange of the files testdata/*.http against a server of its
// own. A file is a list of requests, each followed by its answer:
//
//	POST /v1/x
//	Header: value
//
//	body
//	-- answer --
//	200 OK
//	…
//	-- request --
//
// Requests carry Key unless they have an Authorization header, an empty one
// leaving it out. The header Until, which is not sent, ends the reading of a
// stream after the line that begins with its value.
func Golden(t *testing.T, start func(tb testing.TB) *Server, spec *Spec) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.http")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata/*.http", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".http"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := replay(t, start(t).URL, string(want), spec)
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

const (
	answerMark  = "-- answer --\n"
	requestMark = "-- request --\n"
)

// replay sends the requests of a file and returns the file with their answers.
func replay(t *testing.T, url, file string, spec *Spec) string {
	t.Helper()
	var out []string
	for part := range strings.SplitSeq(file, requestMark) {
		request, _, _ := strings.Cut(part, answerMark)
		out = append(out, strings.TrimRight(request, "\n")+"\n"+answerMark+exchange(t, url, request, spec))
	}
	return strings.Join(out, requestMark)
}

// exchange sends one request, holds the answer against the document and returns it.
func exchange(t *testing.T, url, request string, spec *Spec) (answer string) {
	t.Helper()
	req, until := parse(t, url, request)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	body := read(t, resp.Body, until)
	spec.Check(t, req.Method, req.URL.EscapedPath(), resp, body)
	return show(resp, body)
}

// parse makes a request of its text.
func parse(t *testing.T, url, text string) (req *http.Request, until string) {
	t.Helper()
	head, body, _ := strings.Cut(strings.TrimRight(text, "\n")+"\n", "\n\n")
	lines := strings.Split(strings.TrimSpace(head), "\n")
	method, path, _ := strings.Cut(lines[0], " ")
	req, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(strings.TrimRight(body, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+Key)
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		req.Header.Set(name, strings.TrimSpace(value))
	}
	until = req.Header.Get("Until")
	req.Header.Del("Until")
	if req.Header.Get("Authorization") == "" {
		req.Header.Del("Authorization")
	}
	return req, until
}

// read returns the answer up to its end, or up to the line that begins with until.
func read(t *testing.T, body io.Reader, until string) []byte {
	t.Helper()
	var out bytes.Buffer
	for in := bufio.NewReader(body); ; {
		line, err := in.ReadBytes('\n')
		out.Write(line)
		if err == io.EOF || until != "" && bytes.HasPrefix(line, []byte(until)) {
			return out.Bytes()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// shown are the headers that golden files keep.
var shown = []string{
	"Allow", "Content-Disposition", "Content-Type", "Etag", "Idempotent-Replayed", "Location", "Preference-Applied", "Retry-After", "Www-Authenticate",
	"X-Session-Id", "X-Should-Retry",
}

// show writes an answer as golden files have it, JSON on many lines.
func show(resp *http.Response, body []byte) string {
	var b strings.Builder
	b.WriteString(resp.Status + "\n")
	for _, name := range slices.Sorted(slices.Values(shown)) {
		if v := resp.Header.Get(name); v != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, v)
		}
	}
	b.WriteByte('\n')
	var pretty bytes.Buffer
	if json.Indent(&pretty, body, "", "  ") == nil {
		body = pretty.Bytes()
	}
	b.Write(body)
	return strings.TrimRight(b.String(), "\n") + "\n"
}
