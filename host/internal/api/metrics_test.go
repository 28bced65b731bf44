package api_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/host/internal/api/apitest"
)

func TestMetrics(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") })
	for open, want := range map[bool]int{true: 200, false: 401} {
		s := newServer(t, api.Options{Metrics: metrics, MetricsOpen: open})
		w := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		req.Host = "localhost"
		s.Handler().ServeHTTP(w, req)
		if w.Code != want {
			t.Errorf("open %v: %d, want %d", open, w.Code, want)
		}
	}
}

// TestMayMeasure: who may not have the metrics does not get them, unless they are open.
func TestMayMeasure(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") })
	refuse := func(_ context.Context, c host.Caller) error {
		if c.User != apitest.Caller.User {
			t.Errorf("asked about %v", c)
		}
		return host.Errorf(host.ErrForbidden, "no policy permits it")
	}
	for open, want := range map[bool]int{true: 200, false: 403} {
		s := newServer(t, api.Options{Metrics: metrics, MetricsOpen: open, MayMeasure: refuse})
		w := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		req.Host = "localhost"
		req.Header.Set("Authorization", "Bearer "+apitest.Key)
		s.Handler().ServeHTTP(w, req)
		if w.Code != want || (want == 403) == strings.Contains(w.Body.String(), "up 1") {
			t.Errorf("open %v: %d %s, want %d", open, w.Code, w.Body, want)
		}
	}
}
