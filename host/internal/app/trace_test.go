package app_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// TestSpansReachTheCollector looks for the spans of one question, from the request to
// the tool, at a collector on loopback.
func TestSpansReachTheCollector(t *testing.T) {
	var mu sync.Mutex
	var sent bytes.Buffer
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.Copy(&sent, r.Body)
	}))
	defer collector.Close()
	s := serve(t, newFolder(t, strings.Replace(librarian, "version: 1", "version: 1\ntelemetry: {otlp: \""+collector.URL+"\"}", 1)))
	turn := s.invoke("librarian", "What is a vespiary?", "")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{
		"POST /v1/agents/{agent}/invocations", "invoke_agent librarian", "chat main", "execute_tool", "gen_ai.conversation.id", turn.Session,
	} {
		if !bytes.Contains(sent.Bytes(), []byte(want)) {
			t.Errorf("the collector got no %q", want)
		}
	}
	if bytes.Contains(sent.Bytes(), []byte("What is a vespiary?")) {
		t.Error("what was said was sent although telemetry.content is off")
	}
}
