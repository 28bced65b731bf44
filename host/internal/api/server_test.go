package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/host/internal/api/apitest"
)

// handler is a route's function.
type handler = func(w http.ResponseWriter, r *http.Request) error

func route(path string, serve handler) api.Route {
	return api.Route{Method: http.MethodPost, Path: path, Serve: serve}
}

func ok(w http.ResponseWriter, _ *http.Request) error { return api.WriteJSON(w, http.StatusOK, "ok") }

func newServer(t *testing.T, o api.Options) *api.Server {
	t.Helper()
	o.Auth = apitest.Auth{}
	if o.Now == nil {
		o.Now = time.Now
	}
	s, err := api.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serve runs a server until the returned function is called, which returns what
// Serve does.
func serve(t *testing.T, o api.Options) (addr string, stop func() error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	return ln.Addr().String(), stop
}

func request(t *testing.T, url string, body io.Reader) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apitest.Key)
	return req
}

// answer is a response that was read.
type answer struct {
	status int
	header http.Header
	body   string
}

func do(t *testing.T, req *http.Request) answer {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

func get(t *testing.T, url string) answer {
	t.Helper()
	req := request(t, url, nil)
	req.Method = http.MethodGet
	req.Header.Del("Authorization")
	return do(t, req)
}

func post(t *testing.T, url, body string) answer {
	t.Helper()
	return do(t, request(t, url, strings.NewReader(body)))
}

// want expects a status and, of a problem, a code.
func want(t *testing.T, a answer, status int, code string) {
	t.Helper()
	var p api.Problem
	if err := json.Unmarshal([]byte(a.body), &p); err != nil && code != "" {
		t.Errorf("not a problem: %s", a.body)
	}
	if a.status != status || string(p.Code) != code {
		t.Errorf("%d %s, want %d %s: %s", a.status, p.Code, status, code, a.body)
	}
}

func TestNewNeedsAuthentication(t *testing.T) {
	if _, err := api.New(api.Options{Now: time.Now}); err == nil {
		t.Error("a server without Auth was made")
	}
	twice := []api.Route{route("/x", ok), route("/x", ok)}
	if _, err := api.New(api.Options{Now: time.Now, Auth: apitest.Auth{}, Routes: twice}); err == nil {
		t.Error("a route was declared twice")
	}
}

func TestBodyLimit(t *testing.T) {
	large := route("/large", ok)
	large.Body = 100
	addr, _ := serve(t, api.Options{Routes: []api.Route{route("/x", ok), large}, Limits: api.Limits{Body: 10}})
	want(t, post(t, "http://"+addr+"/x", "0123456789"), 200, "")
	want(t, post(t, "http://"+addr+"/x", "0123456789a"), 413, "too_large")
	want(t, post(t, "http://"+addr+"/large", strings.Repeat("x", 100)), 200, "")
	chunked := io.MultiReader(strings.NewReader("0123456789"), strings.NewReader("a"))
	want(t, do(t, request(t, "http://"+addr+"/x", chunked)), 413, "too_large")
}

// TestSlowClients sends headers and bodies that never end.
func TestSlowClients(t *testing.T) {
	addr, _ := serve(t, api.Options{
		Routes: []api.Route{route("/x", ok)},
		Limits: api.Limits{Arrive: 20 * time.Millisecond, Body: 10},
	})
	for name, sent := range map[string]string{
		"header":           "POST /x HTTP/1.1\r\nHost: localhost\r\n",
		"body":             "POST /x HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + apitest.Key + "\r\nContent-Length: 5\r\n\r\nab",
		"body of stranger": "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab",
	} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(sent)); err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(conn) // returns when the server has had enough
		if name == "body" && !bytes.HasPrefix(answer, []byte("HTTP/1.1 408 ")) {
			t.Errorf("%s: %s", name, answer)
		}
		_ = conn.Close()
	}
}

// TestLongAnswer takes longer than the body may take to arrive.
func TestLongAnswer(t *testing.T) {
	long := route("/x", func(w http.ResponseWriter, r *http.Request) error {
		select {
		case <-r.Context().Done():
			return r.Context().Err()
		case <-time.After(50 * time.Millisecond):
			return ok(w, r)
		}
	})
	long.Long = true
	addr, _ := serve(t, api.Options{Routes: []api.Route{long}, Limits: api.Limits{Arrive: 25 * time.Millisecond, Work: time.Millisecond, Body: 10}})
	for _, body := range []string{"{}", ""} {
		want(t, post(t, "http://"+addr+"/x", body), 200, "")
	}
}

func TestWorkLimit(t *testing.T) {
	slow := route("/x", func(_ http.ResponseWriter, r *http.Request) error {
		<-r.Context().Done()
		return r.Context().Err()
	})
	addr, _ := serve(t, api.Options{Routes: []api.Route{slow}, Limits: api.Limits{Work: time.Millisecond}})
	want(t, post(t, "http://"+addr+"/x", ""), 503, "unavailable")
}

func TestAdmission(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	wait := func(w http.ResponseWriter, r *http.Request) error {
		entered <- struct{}{}
		<-leave
		return ok(w, r)
	}
	long := route("/long", wait)
	long.Long = true
	addr, _ := serve(t, api.Options{
		Routes: []api.Route{route("/quick", wait), long},
		Limits: api.Limits{Requests: 1, Long: 1},
	})
	var wg sync.WaitGroup
	for _, path := range []string{"/quick", "/long"} {
		wg.Go(func() {
			want(t, post(t, "http://"+addr+path, ""), 200, "")
		})
		<-entered // so the kinds do not take each other's slots
		busy := post(t, "http://"+addr+path, "")
		want(t, busy, 429, "too_many")
		if after := busy.header.Get("Retry-After"); after != "1" {
			t.Errorf("%s: Retry-After %q", path, after)
		}
	}
	want(t, get(t, "http://"+addr+"/healthz"), 200, "")
	close(leave)
	wg.Wait()
}

func TestRate(t *testing.T) {
	now := apitest.Epoch
	addr, _ := serve(t, api.Options{
		Routes: []api.Route{route("/x", ok)},
		Limits: api.Limits{Rate: 0.5, Burst: 2, Write: time.Hour, Arrive: time.Hour},
		Now:    func() time.Time { return now },
	})
	url := "http://" + addr + "/x"
	for _, status := range []int{200, 200, 429} {
		if a := post(t, url, ""); a.status != status {
			t.Errorf("%d, want %d: %s", a.status, status, a.body)
		}
	}
	slow := post(t, url, "")
	want(t, slow, 429, "too_many")
	if after := slow.header.Get("Retry-After"); after != "2" {
		t.Errorf("Retry-After %q, want 2", after)
	}
	other := request(t, url, nil)
	other.Header.Set("Authorization", "Bearer "+apitest.OtherKey)
	want(t, do(t, other), 200, "")
	now = now.Add(2 * time.Second)
	want(t, post(t, url, ""), 200, "")
}

func TestHostGuard(t *testing.T) {
	far := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80}
	near := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}
	for _, c := range []struct {
		host  string
		local net.Addr
		hosts []string
		want  int
	}{
		{"localhost:7070", near, nil, 200},
		{"127.0.0.1:7070", near, nil, 200},
		{"127.0.0.9", near, nil, 200},
		{"[::1]:7070", near, nil, 200},
		{"LOCALHOST.", near, nil, 200},
		{"evil.example", near, nil, 421},
		{"evil.example:7070", nil, nil, 421},
		{"127.0.0.1.evil.example", near, nil, 421},
		{"localhost.evil.example", near, nil, 421},
		{"0.0.0.0", near, nil, 421},
		{"agents.example", near, []string{"agents.example"}, 200},
		{"AGENTS.example:443", near, []string{"agents.example:443"}, 200},
		{"other.example", near, []string{"agents.example"}, 421},
		{"anything.example", far, nil, 200},
		{"other.example", far, []string{"agents.example"}, 421},
	} {
		s := newServer(t, api.Options{Hosts: c.hosts})
		req := httptest.NewRequest(http.MethodGet, "/healthz", nil)
		req.Host = c.host
		if c.local != nil {
			req = req.WithContext(context.WithValue(req.Context(), http.LocalAddrContextKey, c.local))
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, req)
		if w.Code != c.want {
			t.Errorf("%s on %v with %v: %d, want %d", c.host, c.local, c.hosts, w.Code, c.want)
		}
	}
}

func TestHeaders(t *testing.T) {
	addr, _ := serve(t, api.Options{Routes: []api.Route{route("/x", ok)}, NewID: func() string { return "made" }})
	for sent, want := range map[string]string{"": "made", "abc-1.2_3": "abc-1.2_3", "a b": "made", "<x>": "made", strings.Repeat("a", 65): "made"} {
		req := request(t, "http://"+addr+"/x", nil)
		req.Header.Set("X-Request-Id", sent)
		req.Header.Set("Origin", "https://evil.example")
		a := do(t, req)
		if got := a.header.Get("X-Request-Id"); got != want {
			t.Errorf("request id %q became %q, want %q", sent, got, want)
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Access-Control-Allow-Origin": "",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	}
}

func TestKeyInEitherHeader(t *testing.T) {
	var got host.Caller
	addr, _ := serve(t, api.Options{Routes: []api.Route{route("/x", func(w http.ResponseWriter, r *http.Request) error {
		got = api.Caller(r)
		return ok(w, r)
	})}})
	want := apitest.Caller
	want.Remote = "127.0.0.1"
	for name, value := range map[string]string{"Authorization": "bearer " + apitest.Key, "X-API-Key": apitest.Key} {
		req := request(t, "http://"+addr+"/x", nil)
		req.Header.Del("Authorization")
		req.Header.Set(name, value)
		got = host.Caller{}
		req.Header.Set("X-Forwarded-For", "203.0.113.1") // that anybody can send
		if a := do(t, req); a.status != 200 {
			t.Errorf("%s: %d", name, a.status)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestReady(t *testing.T) {
	addr, _ := serve(t, api.Options{Ready: func(context.Context) error { return errors.New("the store is full") }})
	a := get(t, "http://"+addr+"/readyz")
	want(t, a, 503, "unavailable")
	if !strings.Contains(a.body, "the store is full") {
		t.Errorf("not said why: %s", a.body)
	}
}

// TestLog holds what is logged against what must not be.
func TestLog(t *testing.T) {
	var log syncBuffer
	routes := []api.Route{
		route("/x", ok),
		route("/fails", func(http.ResponseWriter, *http.Request) error {
			return &host.Error{Code: host.ErrInternal, Message: "it failed", Cause: errors.New("the cause")}
		}),
		route("/panics", func(http.ResponseWriter, *http.Request) error { panic("at the disco") }),
	}
	addr, stop := serve(t, api.Options{Routes: routes, Log: slog.New(slog.NewJSONHandler(&log, nil))})
	for _, path := range []string{"/x", "/fails", "/panics"} {
		req := request(t, "http://"+addr+path+"?token=secret-query", strings.NewReader("secret-body"))
		req.Header.Set("X-Request-Id", "id"+path[1:])
		a := do(t, req)
		if strings.Contains(a.body, "cause") || strings.Contains(a.body, "disco") {
			t.Errorf("%s: %d tells too much: %s", path, a.status, a.body)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	for _, secret := range []string{"secret-query", "secret-body", apitest.Key} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%s is in the log:\n%s", secret, &log)
		}
	}
	for _, said := range []string{
		`"request":"idx","method":"POST","path":"/x","status":200`, `"key":"1"`,
		`it failed: the cause`, `"panic":"at the disco"`, `server_test.go`,
	} {
		if !strings.Contains(log.String(), said) {
			t.Errorf("%s is not in the log:\n%s", said, &log)
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestPanicMidway must not look like the end of the answer.
func TestPanicMidway(t *testing.T) {
	addr, _ := serve(t, api.Options{Routes: []api.Route{route("/x", func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = w.Write([]byte("half"))
		_ = http.NewResponseController(w).Flush()
		panic("midway")
	})}})
	resp, err := http.DefaultClient.Do(request(t, "http://"+addr+"/x", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the answer %q ended as if whole", body)
	}
}

func TestServeFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	if err := newServer(t, api.Options{}).Serve(t.Context(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("serve on a closed listener: %v", err)
	}
}

func TestPathValues(t *testing.T) {
	var got []string
	addr, _ := serve(t, api.Options{Routes: []api.Route{route("/a/{x}/b/{y}", func(w http.ResponseWriter, r *http.Request) error {
		got = append(got, r.PathValue("x")+"|"+r.PathValue("y"))
		return ok(w, r)
	})}})
	for _, path := range []string{"/a/1/b/2", "/a/%2F..%2F/b/%20"} {
		post(t, "http://"+addr+path, "")
	}
	if want := []string{"1|2", "/../| "}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// BenchmarkRequest measures what the server adds to a route that does nothing.
func BenchmarkRequest(b *testing.B) {
	var log countingWriter
	s, err := api.New(api.Options{
		Auth: apitest.Auth{}, Now: time.Now, Routes: []api.Route{route("/x", ok)},
		Log: slog.New(slog.NewJSONHandler(&log, nil)), Limits: api.Limits{Rate: -1},
	})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		req := httptest.NewRequest(http.MethodPost, "/x", strings.NewReader("{}"))
		req.Host = "localhost"
		req.Header.Set("Authorization", "Bearer "+apitest.Key)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, req)
		if w.Code != http.StatusOK {
			b.Fatal(w.Body)
		}
	}
}

// countingWriter makes the logger work, and keeps nothing.
type countingWriter int

func (c *countingWriter) Write(p []byte) (int, error) {
	*c += countingWriter(len(p))
	return len(p), nil
}
