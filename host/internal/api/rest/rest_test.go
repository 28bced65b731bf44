package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/host/internal/api/apitest"
	"github.com/vespiary/vespiary/host/internal/api/openai"
	"github.com/vespiary/vespiary/host/internal/api/rest"
)

func routes(s *apitest.Sessions) []api.Route {
	tasks := apitest.NewTasks()
	return rest.Routes(rest.Options{
		Sessions: s, Agents: apitest.Agents{}, Admin: apitest.Admin{}, Durable: s, Backup: apitest.Backup{Size: 10},
		Tasks: tasks, Delegation: tasks, Keys: &apitest.Keys{}, Policies: apitest.NewPolicies(), Audit: apitest.Audit{}, Now: apitest.Now,
	})
}

func start(tb testing.TB) *apitest.Server {
	tb.Helper()
	return apitest.Start(tb, time.Now, routes)
}

func TestGolden(t *testing.T) {
	apitest.Golden(t, start, apitest.LoadSpec(t, "openapi.json"))
}

func TestOpenAPIDescribesEveryRoute(t *testing.T) {
	all := append(routes(apitest.NewSessions()), openai.Routes(openai.Options{Now: apitest.Now})...)
	all = append(all,
		api.Route{Method: http.MethodGet, Path: "/healthz", Open: true},
		api.Route{Method: http.MethodGet, Path: "/readyz", Open: true},
		api.Route{Method: http.MethodGet, Path: "/ping", Open: true},
		api.Route{Method: http.MethodGet, Path: "/metrics"})
	apitest.LoadSpec(t, "openapi.json").CheckRoutes(t, all)
}

func invoke(ctx context.Context, t *testing.T, url, agent string, header ...string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/agents/"+agent+"/invocations", strings.NewReader(`{"content":"hi"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apitest.Key)
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return http.DefaultClient.Do(req)
}

// decode reads an answer with a turn.
func decode(t *testing.T, resp *http.Response) (turn struct {
	Status host.TurnStatus `json:"status"`
	Text   string          `json:"text"`
},
) {
	t.Helper()
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	if err := json.NewDecoder(resp.Body).Decode(&turn); err != nil {
		t.Fatal(err)
	}
	return turn
}

// TestClientLeaves begins a turn both ways, leaves, and finds it done later.
func TestClientLeaves(t *testing.T) {
	s := start(t)
	for _, accept := range []string{"application/json", "text/event-stream"} {
		ctx, leave := context.WithCancel(t.Context())
		n := len(s.Sessions.Accepted())
		go func() {
			if resp, err := invoke(ctx, t, s.URL, "slow", "Accept", accept); err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		}()
		for len(s.Sessions.Accepted()) == n {
			runtime.Gosched()
		}
		leave()
	}
	s.Sessions.Release()
	for _, id := range []string{"S1", "S2"} {
		turn, err := s.Sessions.Await(t.Context(), apitest.Caller, id, 1)
		if err != nil || turn.Status != host.TurnDone {
			t.Errorf("%s: %v, %v", id, turn.Status, err)
		}
	}
}

// TestClientLeavesEarly is gone before its event is accepted, which it cannot know.
func TestClientLeavesEarly(t *testing.T) {
	s := apitest.NewSessions()
	apitest.PostAndLeave(t, routes(s), "/v1/agents/slow/invocations", []byte(`{"content":"hi"}`))
	if n := len(s.Accepted()); n != 1 {
		t.Errorf("%d events accepted, want 1", n)
	}
}

func TestWait(t *testing.T) {
	short := func(s *apitest.Sessions) []api.Route {
		return rest.Routes(rest.Options{Sessions: s, Agents: apitest.Agents{}, Admin: apitest.Admin{}, Now: apitest.Now, Wait: time.Millisecond})
	}
	s := apitest.Start(t, time.Now, short)
	resp, err := invoke(t.Context(), t, s.URL, "slow")
	if err != nil {
		t.Fatal(err)
	}
	if turn := decode(t, resp); resp.StatusCode != http.StatusAccepted || turn.Status != host.TurnRunning {
		t.Errorf("%d %v, want 202 running", resp.StatusCode, turn)
	}
	s.Sessions.Release()
	resp, err = invoke(t.Context(), t, s.URL, "echo", "Prefer", "wait=100", "Prefer", "handling=strict")
	if err != nil {
		t.Fatal(err)
	}
	if turn := decode(t, resp); resp.StatusCode != http.StatusOK || turn.Text != "hi" {
		t.Errorf("%d %v", resp.StatusCode, turn)
	}
	if got := resp.Header.Get("Preference-Applied"); got != "wait=100" {
		t.Errorf("applied %q", got)
	}
}

func TestDocumentIsServed(t *testing.T) {
	want, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(start(t).URL + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	got, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v; want %d", len(got), err, len(want))
	}
}

func TestAccept(t *testing.T) {
	s := start(t)
	for accept, stream := range map[string]bool{
		"": false, "*/*": false, "application/json": false, "text/event-stream": true,
		"text/event-stream; q=0": false, "application/json, text/event-stream": false,
		"text/event-stream, application/json;q=0.5": true, "text/html, text/event-stream": true, ";;;": false,
	} {
		resp, err := invoke(t.Context(), t, s.URL, "echo", "Accept", accept)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := resp.Header.Get("Content-Type") == "text/event-stream"; got != stream {
			t.Errorf("%q: stream %v, want %v", accept, got, stream)
		}
	}
}

// TestServerStops answers a client that waits with the turn as it is.
func TestServerStops(t *testing.T) {
	s := apitest.NewSessions()
	srv, err := api.New(api.Options{Routes: routes(s), Auth: apitest.Auth{}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, ln) }()
	go func() {
		for len(s.Accepted()) == 0 {
			runtime.Gosched()
		}
		stop()
	}()
	resp, err := invoke(t.Context(), t, "http://"+ln.Addr().String(), "slow")
	if err != nil {
		t.Fatal(err)
	}
	if turn := decode(t, resp); resp.StatusCode != http.StatusAccepted || turn.Status.Over() {
		t.Errorf("%d %v, want 202", resp.StatusCode, turn)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// FuzzInvocation sends any body: the answer is never a fault of the host's, and is
// what the document says.
func FuzzInvocation(f *testing.F) {
	for _, seed := range []string{
		`{"content":"hi"}`, `{"content":[{"type":"text","text":"a"}]}`, `{"type":"signal","name":"x","data":[1]}`,
		`{"content":[{"type":"resource","resource":{"uri":"a:b","blob":"aGk="}}]}`, `{"content":[null]}`, `{"content":{}}`,
		`{"session":"S1","content":"\ud800"}`, `[`, "\xff", `{"content":"a","content":"b"}`,
	} {
		f.Add([]byte(seed))
	}
	spec := apitest.LoadSpec(f, "openapi.json")
	f.Fuzz(func(t *testing.T, body []byte) {
		apitest.Post(t, spec, routes(apitest.NewSessions()), "/v1/agents/echo/invocations", body)
	})
}
