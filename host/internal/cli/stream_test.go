package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
)

func TestSSE(t *testing.T) {
	for name, tc := range map[string]struct {
		stream string
		want   []string
	}{
		"events":      {"event: a\ndata: 1\n\nid: 3\ndata: 2\n\n", []string{"a 1", " 2"}},
		"lines":       {"data: 1\ndata: 2\n\n", []string{" 1\n2"}},
		"comments":    {": hi\nretry: 10\n\n: \n\nevent: a\ndata:1\n\n", []string{"a 1"}},
		"carriage":    {"event: a\r\ndata: 1\r\n\r\n", []string{"a 1"}},
		"unfinished":  {"event: a\ndata: 1\n", nil},
		"no data":     {"event: a\n\ndata: 2\n\n", []string{" 2"}},
		"colon first": {":data: 1\n\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for e, err := range sse(strings.NewReader(tc.stream)) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, e.kind+" "+string(e.data))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzSSE(f *testing.F) {
	f.Add("event: a\ndata: 1\n\n: \ndata")
	f.Fuzz(func(t *testing.T, stream string) {
		for e, err := range sse(strings.NewReader(stream)) {
			if err == nil && len(e.data) == 0 {
				t.Fatal("an event without data")
			}
		}
	})
}

// TestInvokeResumes: a turn whose stream breaks off is followed where it was, with
// the events of other turns left out.
func TestInvokeResumes(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path+" "+r.Header.Get("Last-Event-ID"))
		w.Header().Set("X-Session-Id", "S1")
		if r.Method == http.MethodPost {
			_, _ = io.WriteString(w, event("2.0.0.0", host.StreamAccepted, 2)+event("2.1.1.1", host.StreamDelta, 2))
			return
		}
		_, _ = io.WriteString(w, event("2.1.1.2", host.StreamDelta, 2)+event("3.1.1.1", host.StreamDelta, 3)+event("2.end.1.0", host.StreamEnd, 2))
	}))
	t.Cleanup(server.Close)
	r := &runner{configFile: runningHost(t, server.URL)}

	var got []string
	for e, err := range r.invoke(t.Context(), "echo", "hi", "S1") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.ID)
	}
	if diff := cmp.Diff([]string{"2.0.0.0", "2.1.1.1", "2.1.1.2", "2.end.1.0"}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	want := []string{"POST /v1/agents/echo/invocations ", "GET /v1/sessions/S1/events 2.1.1.1"}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

// TestInvokeFails: what the host says in the stream ends it, and so does the end of
// patience.
func TestInvokeFails(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, event("1.0.0.0", host.StreamAccepted, 1)+"event: problem\ndata: {\"code\":\"unavailable\",\"detail\":\"no \\u001b[2Jstore\"}\n\n")
	}))
	t.Cleanup(server.Close)
	r := &runner{configFile: runningHost(t, server.URL)}
	var last error
	for _, err := range r.invoke(t.Context(), "echo", "hi", "") {
		last = err
	}
	if host.CodeOf(last) != host.ErrUnavailable || last.Error() != "no [2Jstore" {
		t.Errorf("error = %v", last)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range r.invoke(ctx, "echo", "hi", "") {
		last = err
	}
	if last == nil {
		t.Error("an invocation under a context that has ended succeeded")
	}
}

func event(id string, kind host.StreamType, turn int) string {
	return fmt.Sprintf("id: %s\nevent: %s\ndata: {\"id\":%q,\"type\":%q,\"turn\":%d}\n\n", id, kind, id, kind, turn)
}

// runningHost returns a configuration whose data folder points at a host.
func runningHost(t *testing.T, url string) (configFile string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"vespiary.yaml":    "version: 1\n",
		"data/cli.key":     "k\n",
		"data/server.json": fmt.Sprintf(`{"url":%q,"pid":%d}`, url, os.Getpid()),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "vespiary.yaml")
}
