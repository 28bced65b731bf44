// Package apitest tests the dialects of the HTTP edge: a host in memory, a real
// server on loopback, exchanges in golden files, and answers that are held against
// the OpenAPI document.
package apitest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/policy"
)

// Key authenticates as Caller, and OtherKey as a user of another tenant.
const (
	Key      = "vsp_default_0000000000000001_test"
	OtherKey = "vsp_other_0000000000000002_test"
)

// Caller is whose Key is.
var Caller = host.Caller{Tenant: "default", User: "world", Key: "1"}

// Auth is an api.Authenticator that knows the two keys.
type Auth struct{}

// Authenticate implements api.Authenticator.
func (Auth) Authenticate(_ context.Context, token string) (host.Caller, error) {
	switch token {
	case Key:
		return Caller, nil
	case OtherKey:
		return host.Caller{Tenant: "other", User: "other", Key: "2"}, nil
	}
	return host.Caller{}, host.Errorf(host.ErrUnauthorized, "the API key is unknown; use a valid one")
}

var agents = []string{
	"echo", "history", "revise", "waiter", "approve", "lost", "slow", "stuck", "fail", "cancelled", "broken",
}

// Agents is an api.Agents of those that Sessions knows.
type Agents struct{}

// List implements api.Agents.
func (Agents) List(_ context.Context, c host.Caller) ([]host.AgentInfo, error) {
	if c.Tenant != Caller.Tenant {
		return nil, nil
	}
	out := make([]host.AgentInfo, len(agents))
	for i, name := range agents {
		out[i] = host.AgentInfo{Name: name, Plugin: "builtin:loop", Module: "sha256:00"}
	}
	return out, nil
}

// Admin is an api.Admin with one denial on record. It refuses the name bad.
type Admin struct{}

// Install implements api.Admin.
func (Admin) Install(_ context.Context, _ host.Caller, name string, wasm []byte) (string, error) {
	if name == "bad" {
		return "", host.Errorf(host.ErrForbidden, "this caller may not install modules; ask an administrator")
	}
	sum := sha256.Sum256(wasm)
	return "sha256:" + hex.EncodeToString(sum[:]), nil
}

// Decisions implements api.Admin.
func (Admin) Decisions(_ context.Context, _ host.Caller, f host.DecisionFilter) ([]host.DecisionRecord, error) {
	all := []host.DecisionRecord{
		{
			Session: "S1", Agent: "echo", Turn: 1, Time: Epoch,
			Call:     host.CallView{Path: "1/2", Name: "file_read", Action: "ReadFile", Decision: policy.Decision{Set: "sha256:11"}},
			Recorded: json.RawMessage(`{"principal":"Run::\"1\""}`),
		},
		{
			Session: "S1", Agent: "echo", Turn: 1, Time: Epoch,
			Call: host.CallView{
				Path: "1/1", Name: "model_chat", Action: "Chat",
				Decision: policy.Decision{Allowed: true, Policies: []policy.Cause{{ID: "models", File: "base.cedar", Line: 3}}, Set: "sha256:11"},
			},
		},
	}
	if f.Denied {
		all = all[:1]
	}
	return all[:min(f.Limit, len(all))], nil
}

// Reload implements api.Admin.
func (Admin) Reload(context.Context, host.Caller) error { return nil }

// Backup is an api.Backup that writes Size bytes and then ends with Err.
type Backup struct {
	Size int
	Err  error
}

// Backup implements api.Backup.
func (b Backup) Backup(_ context.Context, _ host.Caller, w io.Writer) error {
	_, err := w.Write(bytes.Repeat([]byte("b"), b.Size))
	return cmp.Or(err, b.Err)
}

// Server is a server on loopback that runs one test.
type Server struct {
	URL      string
	Sessions *Sessions
}

// Start serves the routes; now is the clock of deadlines.
func Start(tb testing.TB, now func() time.Time, routes func(s *Sessions) []api.Route) *Server {
	tb.Helper()
	s := NewSessions()
	srv, err := api.New(api.Options{
		Routes: routes(s), Auth: Auth{}, Now: now, NewID: func() string { return "request-1" },
	})
	if err != nil {
		tb.Fatal(err)
	}
	ts := httptest.NewServer(srv.Handler())
	tb.Cleanup(ts.Close)
	return &Server{URL: ts.URL, Sessions: s}
}

// Post sends body to a server without a network, holds the answer against the
// document, and fails the test when it is a fault of the host's.
func Post(t *testing.T, spec *Spec, routes []api.Route, path string, body []byte) {
	t.Helper()
	w := serve(t, routes, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, bytes.NewReader(body)))
	if w.Code >= http.StatusInternalServerError {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
	spec.Check(t, http.MethodPost, path, w.Result(), w.Body.Bytes())
}

// PostAndLeave sends body as a client that is gone before it is looked at.
func PostAndLeave(t *testing.T, routes []api.Route, path string, body []byte) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	leave()
	serve(t, routes, httptest.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(body)))
}

func serve(t *testing.T, routes []api.Route, req *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	srv, err := api.New(api.Options{Routes: routes, Auth: Auth{}, Now: Now})
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "localhost"
	req.Header.Set("Authorization", "Bearer "+Key)
	w := httptest.NewRecorder()
	srv.Handler().ServeHTTP(w, req)
	return w
}
