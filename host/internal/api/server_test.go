package api_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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

func do(t *testing.T, req *http.Request) (*http.Response, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func post(t *testing.T, url, body string) (*http.Response, string) {
	t.Helper()
	return do(t, request(t, url, strings.NewReader(body)))
}

func want(t *testing.T, resp *http.Response, body string, status int, code string) {
	t.Helper()
	var p api.Problem
	if err := json.Unmarshal([]byte(body), &p); err != nil && code != "" {
		t.Errorf("not a problem: %s", body)
	}
	if resp.StatusCode != status || string(p.Code) != code {
		t.Errorf("%d %s, want %d %s: %s", resp.StatusCode, p.Code, status, code, body)
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
	resp, body := post(t, "http://"+addr+"/x", "0123456789")
	want(t, resp, body, 200, "")
	resp, body = post(t, "http://"+addr+"/x", "0123456789a")
	want(t, resp, body, 413, "too_large")
	resp, body = post(t, "http://"+addr+"/large", strings.Repeat("x", 100))
	want(t, resp, body, 200, "")
	chunked := io.MultiReader(strings.NewReader("0123456789"), strings.NewReader("a"))
	resp, body = do(t, request(t, "http://"+addr+"/x", chunked))
	want(t, resp, body, 413, "too_large")
}

// TestSlowClients sends headers and bodies that never end.
func TestSlowClients(t *testing.T) {
	addr, _ := serve(t, api.Options{
		Routes: []api.Route{route("/x", ok)},
		Limits: api.Limits{Arrive: 20 * time.Millisecond},
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
	addr, _ := serve(t, api.Options{Routes: []api.Route{long}, Limits: api.Limits{Arrive: 5 * time.Millisecond, Work: time.Millisecond}})
	resp, body := post(t, "http://"+addr+"/x", "{}")
	want(t, resp, body, 200, "")
}

func TestWorkLimit(t *testing.T) {
	slow := route("/x", func(_ http.ResponseWriter, r *http.Request) error {
		<-r.Context().Done()
		return r.Context().Err()
	})
	addr, _ := serve(t, api.Options{Routes: []api.Route{slow}, Limits: api.Limits{Work: time.Millisecond}})
	resp, body := post(t, "http://"+addr+"/x", "")
	want(t, resp, body, 503, "unavailable")
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
			resp, body := post(t, "http://"+addr+path, "")
			want(t, resp, body, 200, "")
		})
		<-entered // so the kinds do not take each other's slots
		resp, body := post(t, "http://"+addr+path, "")
		want(t, resp, body, 429, "too_many")
		if resp.Header.Get("Retry-After") != "1" {
			t.Errorf("%s: Retry-After %q", path, resp.Header.Get("Retry-After"))
		}
	}
	if resp, err := http.Get("http://" + addr + "/healthz"); err != nil || resp.StatusCode != 200 {
		t.Error("a busy host is not healthy", err)
	}
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
		if resp, body := post(t, url, ""); resp.StatusCode != status {
			t.Errorf("%d, want %d: %s", resp.StatusCode, status, body)
		}
	}
	resp, body := post(t, url, "")
	want(t, resp, body, 429, "too_many")
	if resp.Header.Get("Retry-After") != "2" {
		t.Errorf("Retry-After %q, want 2", resp.Header.Get("Retry-After"))
	}
	other := request(t, url, nil)
	other.Header.Set("Authorization", "Bearer "+apitest.OtherKey)
	resp, body = do(t, other)
	want(t, resp, body, 200, "")
	now = now.Add(2 * time.Second)
	resp, body = post(t, url, "")
	want(t, resp, body, 200, "")
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
		resp, _ := do(t, req)
		if got := resp.Header.Get("X-Request-Id"); got != want {
			t.Errorf("request id %q became %q, want %q", sent, got, want)
		}
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Access-Control-Allow-Origin": "",
		} {
			if got := resp.Header.Get(name); got != want {
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
	for name, value := range map[string]string{"Authorization": "bearer " + apitest.Key, "X-API-Key": apitest.Key} {
		req := request(t, "http://"+addr+"/x", nil)
		req.Header.Del("Authorization")
		req.Header.Set(name, value)
		got = host.Caller{}
		if resp, _ := do(t, req); resp.StatusCode != 200 || got != apitest.Caller {
			t.Errorf("%s: %d %v", name, resp.StatusCode, got)
		}
	}
}

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

func TestReady(t *testing.T) {
	addr, _ := serve(t, api.Options{Ready: func(context.Context) error { return errors.New("the store is full") }})
	resp, err := http.Get("http://" + addr + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	want(t, resp, string(body), 503, "unavailable")
	if !strings.Contains(string(body), "the store is full") {
		t.Errorf("not said why: %s", body)
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
		resp, body := do(t, req)
		if strings.Contains(body, "cause") || strings.Contains(body, "disco") {
			t.Errorf("%s: %d tells too much: %s", path, resp.StatusCode, body)
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
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the answer %q ended as if whole", body)
	}
}

// follow is a route that streams what seq yields.
func follow(seq func(ctx context.Context) iter.Seq2[host.StreamEvent, error]) api.Route {
	r := route("/x", func(w http.ResponseWriter, r *http.Request) error {
		return api.Follow{
			Events: seq,
			Each: func(s *api.Stream, e host.StreamEvent) (bool, error) {
				return true, s.Send(e.ID, string(e.Type), []byte("a\nb"))
			},
			Fail: func(s *api.Stream, p api.Problem) { _ = s.Send("", "problem", []byte(p.Detail)) },
		}.Serve(w, r)
	})
	r.Long = true
	return r
}

func TestStream(t *testing.T) {
	one := host.StreamEvent{ID: "1", Type: host.StreamCall}
	for name, c := range map[string]struct {
		seq  func(ctx context.Context) iter.Seq2[host.StreamEvent, error]
		want string
	}{
		"ends": {
			func(context.Context) iter.Seq2[host.StreamEvent, error] {
				return func(yield func(host.StreamEvent, error) bool) { yield(one, nil) }
			},
			"retry: 1000\n\nid: 1\nevent: call\ndata: a\ndata: b\n\nretry: 1000\n: no more events here; come back with Last-Event-ID\n\n",
		},
		"fails": {
			func(context.Context) iter.Seq2[host.StreamEvent, error] {
				return func(yield func(host.StreamEvent, error) bool) {
					yield(host.StreamEvent{}, host.Errorf(host.ErrNotFound, "gone"))
				}
			},
			"retry: 1000\n\nevent: problem\ndata: gone\n\n",
		},
		"panics": {
			func(context.Context) iter.Seq2[host.StreamEvent, error] { panic("in another goroutine") },
			"retry: 1000\n\nevent: problem\ndata: the host failed; its log tells why under request id\n\n",
		},
	} {
		addr, _ := serve(t, api.Options{Routes: []api.Route{follow(c.seq)}, NewID: func() string { return "id" }})
		if _, body := post(t, "http://"+addr+"/x", ""); body != c.want {
			t.Errorf("%s: %q, want %q", name, body, c.want)
		}
	}
}

// quiet yields nothing until ctx ends, and then closes ended.
func quiet(ended chan struct{}) func(ctx context.Context) iter.Seq2[host.StreamEvent, error] {
	return func(ctx context.Context) iter.Seq2[host.StreamEvent, error] {
		return func(func(host.StreamEvent, error) bool) {
			<-ctx.Done()
			close(ended)
		}
	}
}

// TestStreamBeats reads comments from a quiet stream, leaves, and sees the
// sequence end.
func TestStreamBeats(t *testing.T) {
	ended := make(chan struct{})
	addr, _ := serve(t, api.Options{Routes: []api.Route{follow(quiet(ended))}, Limits: api.Limits{Beat: time.Millisecond}})
	resp, err := http.DefaultClient.Do(request(t, "http://"+addr+"/x", nil))
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(resp.Body)
	for range 3 {
		if line, err := in.ReadString(':'); err != nil {
			t.Fatal(line, err)
		}
	}
	_ = resp.Body.Close()
	<-ended
}

func TestGracefulStop(t *testing.T) {
	ended, entered, leave := make(chan struct{}), make(chan struct{}), make(chan struct{})
	waiting := api.Route{Method: http.MethodPost, Path: "/wait", Long: true, Serve: func(w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := api.Serving(r.Context(), time.Hour)
		defer cancel()
		entered <- struct{}{}
		<-ctx.Done()
		return ok(w, r)
	}}
	working := route("/work", func(w http.ResponseWriter, r *http.Request) error {
		entered <- struct{}{}
		<-leave
		return ok(w, r)
	})
	addr, stop := serve(t, api.Options{Routes: []api.Route{follow(quiet(ended)), waiting, working}})
	stream, err := http.DefaultClient.Do(request(t, "http://"+addr+"/x", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	var wg sync.WaitGroup
	for _, path := range []string{"/wait", "/work"} {
		wg.Go(func() {
			resp, body := post(t, "http://"+addr+path, "")
			want(t, resp, body, 200, "")
		})
		<-entered
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	body, err := io.ReadAll(stream.Body)
	if err != nil || !strings.HasSuffix(string(body), "come back with Last-Event-ID\n\n") {
		t.Errorf("the stream ended with %q, %v", body, err)
	}
	<-ended
	select {
	case err := <-stopped:
		t.Errorf("stopped while a request was at work: %v", err)
	default:
	}
	close(leave)
	wg.Wait()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if _, err := http.DefaultClient.Do(request(t, "http://"+addr+"/work", nil)); err == nil {
		t.Error("a stopped server answers")
	}
}

func TestStopCutsOff(t *testing.T) {
	entered, cut := make(chan struct{}), make(chan struct{})
	stubborn := api.Route{Method: http.MethodPost, Path: "/x", Long: true, Serve: func(_ http.ResponseWriter, r *http.Request) error {
		close(entered)
		<-r.Context().Done()
		close(cut)
		return r.Context().Err()
	}}
	addr, stop := serve(t, api.Options{Routes: []api.Route{stubborn}, Limits: api.Limits{Grace: time.Millisecond}})
	go func() {
		resp, err := http.DefaultClient.Do(request(t, "http://"+addr+"/x", nil)) // fails, or not, as the cut falls
		if err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-entered
	if err := stop(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stop: %v", err)
	}
	<-cut
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
