package webhook

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	local "github.com/vespiary/vespiary/host/internal/store"
	"github.com/vespiary/vespiary/host/store"
)

func openStore(t *testing.T, dir string) *local.Local {
	t.Helper()
	s, err := local.Open(t.Context(), local.Options{Dir: dir, Edge: true, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// received is a request that an endpoint verified.
type received struct{ id, body string }

// endpoint is a real server that verifies what it gets.
func endpoint(t *testing.T, answer http.HandlerFunc) (http.Handler, <-chan received) {
	t.Helper()
	got := make(chan received, 100)
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err == nil {
			err = Verify(secret, q.Header, body, time.Now(), 5*time.Minute)
		}
		if err != nil || q.Method != http.MethodPost || q.URL.Path != "/hook" || q.Header.Get("Content-Type") != "application/json" ||
			q.Header.Values("Idempotency-Key") != nil {
			t.Errorf("%s %s %v: %v", q.Method, q.URL, q.Header, err)
		}
		got <- received{q.Header.Get("webhook-id"), string(body)}
		answer(w, q)
	}), got
}

func take(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

// sender starts a Sender with one endpoint named ops.
func sender(t *testing.T, o Options, e Endpoint) (s *Sender, stop func() error) {
	t.Helper()
	e.Name, e.Secrets = "ops", [][]byte{secret}
	o.Endpoints, o.Now = []Endpoint{e}, time.Now
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() error { cancel(); return <-done }
}

// lines is a log that hands out its lines.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

func logged() (lines, *slog.Logger) {
	l := make(lines, 100)
	return l, slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// delivered waits until the host knows that a notice was taken.
func (l lines) delivered(t *testing.T) {
	t.Helper()
	if text := <-l; !strings.Contains(text, "was delivered") {
		t.Errorf("the log says %s", text)
	}
}

func TestDeliver(t *testing.T) {
	var conns atomic.Int64
	for name, secure := range map[string]bool{"http": false, "https": true} {
		t.Run(name, func(t *testing.T) {
			conns.Store(0)
			log, logger := logged()
			handler, got := endpoint(t, take)
			server := httptest.NewUnstartedServer(handler)
			server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
				if s == http.StateNew {
					conns.Add(1)
				}
			}
			o := Options{Store: openStore(t, t.TempDir()), Log: logger}
			if secure {
				server.EnableHTTP2 = true
				server.StartTLS()
				o.RootCAs = x509.NewCertPool()
				o.RootCAs.AddCert(server.Certificate())
			} else {
				server.Start()
			}
			defer server.Close()
			s, stop := sender(t, o, Endpoint{URL: server.URL + "/hook", Private: true})
			for i := range 3 {
				n := notice(fmt.Sprint("s1:", i))
				queue(t, o.Store, s, n)
				body, err := bodyOf(n)
				if err != nil {
					t.Fatal(err)
				}
				if r := <-got; r.id != n.ID || r.body != body {
					t.Errorf("got %+v, want %s", r, body)
				}
				log.delivered(t)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
			if left := waiting(t, o.Store); len(left) > 0 {
				t.Errorf("still waiting: %v", left)
			}
			if n := conns.Load(); n != 1 {
				t.Errorf("%d connections were made, want 1", n)
			}
		})
	}
}

// TestCrash: the host ends while an endpoint has the notice and has not answered. The
// next host, over the store as it is on disk, sends the same.
func TestCrash(t *testing.T) {
	var calls atomic.Int64
	handler, got := endpoint(t, func(w http.ResponseWriter, q *http.Request) {
		if calls.Add(1) == 1 {
			<-q.Context().Done() // the host is gone
		}
		take(w, q)
	})
	server := httptest.NewServer(handler)
	defer server.Close()
	dir := t.TempDir()
	o := Options{Store: openStore(t, dir)}
	s, stop := sender(t, o, Endpoint{URL: server.URL + "/hook", Private: true})
	queue(t, o.Store, s, notice("n1"))
	before := <-got
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if err := o.Store.Close(); err != nil {
		t.Fatal(err)
	}

	o.Store = openStore(t, dir)
	_, stop = sender(t, o, Endpoint{URL: server.URL + "/hook", Private: true}) // nobody calls Wake
	after := <-got
	if diff := cmp.Diff(before, after, cmp.AllowUnexported(received{})); diff != "" {
		t.Errorf("the repetition differs (-before +after):\n%s", diff)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestCrashBeforeRecord: the store ends before it is recorded that a notice was taken.
func TestCrashBeforeRecord(t *testing.T) {
	dir := t.TempDir()
	st := openStore(t, dir)
	var once sync.Once
	handler, got := endpoint(t, func(w http.ResponseWriter, q *http.Request) {
		once.Do(func() { _ = st.Close() })
		take(w, q)
	})
	server := httptest.NewServer(handler)
	defer server.Close()
	e := Endpoint{URL: server.URL + "/hook", Private: true}
	s, err := New(Options{Store: st, Now: time.Now, Endpoints: []Endpoint{{Name: "ops", URL: e.URL, Secrets: [][]byte{secret}, Private: true}}})
	if err != nil {
		t.Fatal(err)
	}
	queue(t, st, s, notice("n1"))
	if err := s.Run(t.Context()); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Run returned %v", err)
	}
	before := <-got
	st = openStore(t, dir)
	log, logger := logged()
	_, stop := sender(t, Options{Store: st, Log: logger}, e)
	if after := <-got; after != before {
		t.Errorf("got %+v, then %+v", before, after)
	}
	log.delivered(t)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if left := waiting(t, st); len(left) > 0 {
		t.Errorf("still waiting: %v", left)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var reached atomic.Bool
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer inner.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		handler, _ := endpoint(t, func(w http.ResponseWriter, q *http.Request) { http.Redirect(w, q, inner.URL, status) })
		server := httptest.NewServer(handler)
		log, logger := logged()
		o := Options{Store: openStore(t, t.TempDir()), Log: logger}
		s, stop := sender(t, o, Endpoint{URL: server.URL + "/hook", Private: true})
		queue(t, o.Store, s, notice("n1"))
		if text := <-log; !strings.Contains(text, fmt.Sprintf("redirect (%d)", status)) {
			t.Errorf("the log says %s", text)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if left := waiting(t, o.Store); len(left) != 1 || reached.Load() {
			t.Errorf("%d: %v wait; the target was reached: %v", status, left, reached.Load())
		}
		server.Close()
	}
}

// counting is a Resolver for which all names are this machine.
type counting struct{ asked atomic.Int64 }

func (r *counting) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	r.asked.Add(1)
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

// TestNotDialled: a name that leads to this machine is not followed there, by any
// spelling. A proxy would look it up again.
func TestNotDialled(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepted atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		if c, err := listener.Accept(); err == nil {
			accepted.Store(true)
			_ = c.Close()
		}
	})
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		host     string
		resolver Resolver
	}{
		{"hook.example", &counting{}},
		{"localhost", nil},
		{"127.1", nil},
		{"0x7f000001", nil},
		{"2130706433", nil},
		{"hook.example", names{"hook.example": {"::ffff:127.0.0.1", "::1", "0.0.0.0", "10.0.0.1"}}},
	} {
		log, logger := logged()
		o := Options{Store: openStore(t, t.TempDir()), Resolver: test.resolver, Log: logger}
		s, stop := sender(t, o, Endpoint{URL: "https://" + net.JoinHostPort(test.host, port) + "/hook"})
		queue(t, o.Store, s, notice("n1"))
		text := <-log
		// Resolvers differ in whether they read numbers as addresses: no name is as good.
		if !strings.Contains(text, "not a public address") && !strings.Contains(text, "no such host") {
			t.Errorf("%s: the log says %s", test.host, text)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
	if newTransport(&guard{}, nil).Proxy != nil {
		t.Error("a proxy is used")
	}
	_ = listener.Close()
	wg.Wait()
	if accepted.Load() {
		t.Error("a connection was made")
	}
}

// TestDialsWhatItChecked: one look-up for a connection, and its answer is what is dialled.
func TestDialsWhatItChecked(t *testing.T) {
	handler, got := endpoint(t, take)
	server := httptest.NewServer(handler)
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	r := &counting{}
	o := Options{Store: openStore(t, t.TempDir()), Resolver: r}
	s, stop := sender(t, o, Endpoint{URL: "http://hook.example:" + u.Port() + "/hook", Private: true})
	queue(t, o.Store, s, notice("n1"), notice("n2"))
	<-got
	<-got
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := r.asked.Load(); n != 1 {
		t.Errorf("the name was looked up %d times for one connection", n)
	}
}

func TestUnknownCertificate(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the notice was sent") }))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.StartTLS()
	defer server.Close()
	log, logger := logged()
	o := Options{Store: openStore(t, t.TempDir()), Log: logger}
	s, stop := sender(t, o, Endpoint{URL: server.URL + "/hook", Private: true})
	queue(t, o.Store, s, notice("n1"))
	if text := <-log; !strings.Contains(text, "certificate") {
		t.Errorf("the log says %s", text)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestRemovedEndpoint(t *testing.T) {
	st := openStore(t, t.TempDir())
	b := store.Batch{}
	for i := range pageSize + 10 {
		for _, name := range []string{"gone", "ops", "opsx"} {
			r := record{endpoint: name, due: time.Now().Add(time.Hour), id: fmt.Sprint("n", i), Body: "{}"}
			op, err := r.op()
			if err != nil {
				t.Fatal(err)
			}
			b.Ops = append(b.Ops, op)
		}
	}
	b.Ops = append(b.Ops, store.Op{Key: []byte("webhookx/gone"), Value: []byte{}})
	if _, err := st.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	log, logger := logged()
	_, stop := sender(t, Options{Store: st, Log: logger}, Endpoint{URL: "https://ops.example/hook"})
	if text := <-log; !strings.Contains(text, fmt.Sprint("notices=", 2*(pageSize+10))) {
		t.Errorf("the log says %s", text)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	left := waiting(t, st)
	if len(left) != pageSize+10 || !strings.HasPrefix(left[0], "webhook/ops/") || !strings.HasPrefix(left[pageSize], "webhook/ops/") {
		t.Errorf("%d keys are left, the first %s", len(left), left[0])
	}
	if err := st.View(t.Context(), func(tx store.Tx) error { _, err := tx.Get([]byte("webhookx/gone")); return err }); err != nil {
		t.Errorf("a key beside the outbox: %v", err)
	}
}

// TestIdleConnectionClosed: an endpoint may close an idle connection just when the next
// notice is sent over it. That is no failure.
func TestIdleConnectionClosed(t *testing.T) {
	var calls atomic.Int64
	handler, _ := endpoint(t, func(w http.ResponseWriter, q *http.Request) {
		if calls.Add(1) != 2 {
			take(w, q)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_ = conn.Close()
	})
	server := httptest.NewServer(handler)
	defer server.Close()
	log, logger := logged()
	o := Options{Store: openStore(t, t.TempDir()), Log: logger}
	s, stop := sender(t, o, Endpoint{URL: server.URL + "/hook", Private: true})
	for _, id := range []string{"n1", "n2"} {
		queue(t, o.Store, s, notice(id))
		log.delivered(t)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := calls.Load(); n != 3 {
		t.Errorf("%d requests were made, want 3", n)
	}
}
