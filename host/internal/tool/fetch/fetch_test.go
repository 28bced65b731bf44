package fetch

import (
	"compress/gzip"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// names is a resolver: each name has one answer after another, the last one for ever.
type names map[string][][]string

func (n names) LookupNetIP(_ context.Context, _, name string) ([]netip.Addr, error) {
	answers := n[name]
	if len(answers) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	if len(answers) > 1 {
		n[name] = answers[1:]
	}
	var out []netip.Addr
	for _, a := range answers[0] {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

func fetcher(t *testing.T, opt Options) *Fetcher {
	t.Helper()
	f, err := New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func callOf(t *testing.T, in abi.HTTPRequest) *host.Call {
	t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	return &host.Call{Run: &host.Run{}, Name: abi.CallHTTPFetch, Request: b, Ask: allow}
}

// counting counts the names that are looked up.
type counting struct{ n *int }

func (c counting) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	*c.n++
	return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
}

// allow lets everything be asked.
func allow(context.Context, host.Class) error { return nil }

// TestNamesAreLookedUpOnlyIfAllowed: a name is a message to whoever answers for it.
func TestNamesAreLookedUpOnlyIfAllowed(t *testing.T) {
	asked := 0
	f := fetcher(t, Options{Resolver: counting{&asked}})
	refusal := &abi.Error{Code: abi.CodeDenied, Message: "no", Policy: "p"}
	var class host.Class
	c := callOf(t, abi.HTTPRequest{URL: "https://the-secret-is-42.example.com/"})
	c.Ask = func(_ context.Context, k host.Class) error {
		class = k
		return refusal
	}
	if _, err := f.Classify(t.Context(), c); !errors.Is(err, refusal) || asked != 0 {
		t.Errorf("%v after %d look-ups", err, asked)
	}
	if class.Action != "resolveName" || class.Resource.UID.ID != "the-secret-is-42.example.com:443" || !class.Kind.Has(host.Egress) {
		t.Errorf("asked for %+v", class)
	}
	name := []string{"the-secret-is-42.example.com"}
	if diff := cmp.Diff([][]string{name, name, {}}, [][]string{class.Recipient, class.Control, class.Data}); diff != "" {
		t.Errorf("recipient, control and data (-want +got):\n%s", diff)
	}
	c = callOf(t, abi.HTTPRequest{URL: "https://192.0.2.1/"})
	c.Ask = func(context.Context, host.Class) error { return refusal }
	if _, err := f.Classify(t.Context(), c); err != nil {
		t.Errorf("an address needs no look-up: %v", err)
	}
}

// do takes a request through both steps.
func do(ctx context.Context, t *testing.T, f *Fetcher, in abi.HTTPRequest) (abi.HTTPResponse, error) {
	t.Helper()
	c := callOf(t, in)
	class, err := f.Classify(ctx, c)
	if err != nil {
		return abi.HTTPResponse{}, err
	}
	c.Class = class
	out, err := f.Perform(ctx, c)
	if err != nil {
		return abi.HTTPResponse{}, err
	}
	var r abi.HTTPResponse
	if err := json.Unmarshal(out.OK, &r); err != nil {
		t.Fatal(err)
	}
	return r, nil
}

func codeOf(t *testing.T, err error) abi.Code {
	t.Helper()
	e, ok := errors.AsType[*abi.Error](err)
	if !ok {
		t.Fatalf("error %v is no *abi.Error", err)
	}
	return e.Code
}

func serve(t *testing.T, h http.HandlerFunc) (s *httptest.Server, port string) {
	t.Helper()
	s = httptest.NewServer(h)
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return s, port
}

func TestClassify(t *testing.T) {
	f := fetcher(t, Options{Resolver: names{"api.example": {{"93.184.216.34"}}}})
	resource := policy.Entity{
		UID:   policy.UID{Type: "NetHost", ID: "api.example:443"},
		Attrs: map[string]any{"host": "api.example", "port": int64(443), "tls": true},
	}
	ctx := func(method string) map[string]any {
		return map[string]any{"method": method, "scheme": "https", "urlPath": "/v1/a%2Fb", "ip": netip.MustParseAddr("93.184.216.34")}
	}
	for _, test := range []struct {
		in   abi.HTTPRequest
		want host.Class
	}{
		{abi.HTTPRequest{}, host.Class{Action: "httpGet", Kind: host.Observe | host.Egress, Recovery: abi.RecoverRead, Data: []string{}, Context: ctx("GET")}},
		{abi.HTTPRequest{Method: "head"}, host.Class{Action: "httpGet", Kind: host.Observe | host.Egress, Recovery: abi.RecoverRead, Data: []string{}, Context: ctx("HEAD")}},
		{abi.HTTPRequest{Method: "POST", Body: "x"}, host.Class{Action: "httpSend", Kind: host.Effect | host.Egress, Recovery: abi.RecoverOnce, Context: ctx("POST")}},
		{abi.HTTPRequest{Method: "OPTIONS"}, host.Class{Action: "httpSend", Kind: host.Effect | host.Egress, Recovery: abi.RecoverOnce, Data: []string{}, Context: ctx("OPTIONS")}},
		{
			abi.HTTPRequest{Method: "PUT", Headers: map[string]string{"idempotency-key": "k1"}},
			host.Class{Action: "httpSend", Kind: host.Effect | host.Egress, Recovery: abi.RecoverKeyed, Data: []string{}, Context: ctx("PUT")},
		},
	} {
		test.in.URL = "https://API.example/v1/%61%2fb?token=q"
		got, err := f.Classify(t.Context(), callOf(t, test.in))
		if err != nil {
			t.Errorf("%+v: %v", test.in, err)
			continue
		}
		test.want.Resource, test.want.Recipient = resource, []string{"api.example"}
		test.want.Control = []string{test.in.URL} // as the guest wrote it
		diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(host.Class{}, "State"), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }))
		if diff != "" {
			t.Errorf("%+v (-want +got):\n%s", test.in, diff)
		}
	}
}

func TestRequestRefused(t *testing.T) {
	f := fetcher(t, Options{Resolver: names{"a.example": {{"93.184.216.34"}}}})
	header := func(name string) abi.HTTPRequest { return abi.HTTPRequest{Headers: map[string]string{name: "x"}} }
	for name, in := range map[string]abi.HTTPRequest{
		"method":        {Method: "CONNECT"},
		"trace":         {Method: "TRACE"},
		"odd method":    {Method: "GET /x HTTP/1.1\r\nHost: b"},
		"body of get":   {Body: "x"},
		"base64":        {Method: "POST", Body: "***", Base64: true},
		"authorization": header("authorization"),
		"cookie":        header("Cookie"),
		"proxy":         header("Proxy-Authorization"),
		"api key":       header("X-API-Key"),
		"token":         header("X-Vault-Token"),
		"metadata":      header("X-aws-ec2-metadata-token"),
		"host":          header("Host"),
		"length":        header("Content-Length"),
		"encoding":      header("Transfer-Encoding"),
		"connection":    header("Connection"),
		"upgrade":       header("Upgrade"),
		"override":      header("X-HTTP-Method-Override"),
		"forwarded":     header("X-Forwarded-For"),
		"no name":       header(""),
		"odd name":      header("a b"),
		"odd value":     {Headers: map[string]string{"a": "x\r\nAuthorization: y"}},
		"header twice":  {Headers: map[string]string{"Accept": "a", "accept": "b"}},
		"long header":   {Headers: map[string]string{"a": strings.Repeat("x", maxHeaderText)}},
	} {
		in.URL = "http://a.example/"
		_, err := f.Classify(t.Context(), callOf(t, in))
		if err == nil || codeOf(t, err) != abi.CodeInvalid {
			t.Errorf("%s: got %v, want invalid", name, err)
		}
	}
	for _, raw := range []string{`{`, `[]`, `{"url":"http://a.example/","redirect":true}`, `{"url":"http://a.example/"} {}`} {
		_, err := f.Classify(t.Context(), &host.Call{Run: &host.Run{}, Name: abi.CallHTTPFetch, Request: []byte(raw), Ask: allow})
		if err == nil || codeOf(t, err) != abi.CodeInvalid {
			t.Errorf("%s: got %v, want invalid", raw, err)
		}
	}
}

func TestExchange(t *testing.T) {
	_, port := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Saw", fmt.Sprintf("%s %s host=%s agent=%s type=%s key=%s body=%s", r.Method, r.RequestURI, r.Host, r.UserAgent(), r.Header.Get("Content-Type"), r.Header.Get("Idempotency-Key"), body))
		w.Header().Add("Set-Cookie", "session=1")
		w.Header().Add("Vary", "a")
		w.Header().Add("Vary", "b")
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "<b>hé</b>")
	})
	f := fetcher(t, Options{AllowPrivate: []string{"here.example:" + port}, Resolver: names{"here.example": {{"127.0.0.1"}}}})
	got, err := do(t.Context(), t, f, abi.HTTPRequest{
		Method: "post", URL: "http://HERE.example:" + port + "/a%2fb?q=1", Body: "aGk=", Base64: true,
		Headers: map[string]string{"content-type": "text/x", "Idempotency-Key": "k"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "POST /a%2Fb?q=1 host=here.example:" + port + " agent=vespiary type=text/x key=k body=hi"
	if got.Status != http.StatusTeapot || got.Headers["X-Saw"] != want || got.Body != "<b>hé</b>" || got.Base64 {
		t.Errorf("got %+v, want %s", got, want)
	}
	if got.Headers["Vary"] != "a, b" || got.Headers["Set-Cookie"] != "" {
		t.Errorf("headers are %v", got.Headers)
	}
}

func TestLabelsOfAResponse(t *testing.T) {
	s, port := serve(t, func(http.ResponseWriter, *http.Request) {})
	f := fetcher(t, Options{AllowPrivate: []string{"*"}})
	c := callOf(t, abi.HTTPRequest{URL: s.URL})
	class, err := f.Classify(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	c.Class = class
	out, err := f.Perform(t.Context(), c)
	want := abi.Labels{"": {Integrity: abi.Untrusted, Sources: []string{"http:127.0.0.1:" + port}}}
	if diff := cmp.Diff(want, out.Labels); diff != "" || err != nil || out.Derived {
		t.Errorf("derived %v, error %v, labels (-want +got):\n%s", out.Derived, err, diff)
	}
}

// A name that resolves to another address the second time is the classic way around a
// check: the address that was checked is the one that is dialled.
func TestRebinding(t *testing.T) {
	_, port := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "inside") })
	resolver := names{"rebind.example": {{"127.0.0.1"}, {"169.254.169.254"}}}
	f := fetcher(t, Options{Resolver: resolver, AllowPrivate: []string{"127.0.0.0/8"}})
	got, err := do(t.Context(), t, f, abi.HTTPRequest{URL: "http://rebind.example:" + port})
	if err != nil || got.Body != "inside" {
		t.Errorf("got %+v, %v; want the first address dialled", got, err)
	}
	if len(resolver["rebind.example"]) != 1 {
		t.Fatal("the name was never resolved")
	}
	_, err = do(t.Context(), t, f, abi.HTTPRequest{URL: "http://rebind.example:" + port})
	if err == nil || codeOf(t, err) != abi.CodeDenied {
		t.Errorf("got %v, want the second address denied", err)
	}
}

// What the ceiling refuses is classified all the same, so that it is on record.
func TestCeiling(t *testing.T) {
	var reached atomic.Bool
	s, _ := serve(t, func(http.ResponseWriter, *http.Request) { reached.Store(true) })
	f := fetcher(t, Options{Resolver: names{"inside.example": {{"10.0.0.7"}}}})
	for url, ip := range map[string]string{
		s.URL: "127.0.0.1", "http://inside.example/": "10.0.0.7", "http://0xa9fea9fe/latest/meta-data": "169.254.169.254",
		"http://[::ffff:10.0.0.1]/": "10.0.0.1", "http://[fd00:ec2::254]/": "fd00:ec2::254",
	} {
		c := callOf(t, abi.HTTPRequest{URL: url})
		class, err := f.Classify(t.Context(), c)
		if err != nil {
			t.Errorf("%s is not classified: %v", url, err)
			continue
		}
		if got := class.Context["ip"]; got != netip.MustParseAddr(ip) {
			t.Errorf("%s: policy sees %v, want %s", url, got, ip)
		}
		c.Class = class
		if _, err := f.Perform(t.Context(), c); err == nil || codeOf(t, err) != abi.CodeDenied {
			t.Errorf("%s: got %v, want denied", url, err)
		}
	}
	if reached.Load() {
		t.Error("a refused address was reached")
	}
}

func TestManyAddresses(t *testing.T) {
	_, port := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	f := fetcher(t, Options{
		Resolver:     names{"many.example": {{"169.254.169.254", "::ffff:127.0.0.1", "10.0.0.1"}}, "none.example": {{}}},
		AllowPrivate: []string{"127.0.0.0/8"},
	})
	got, err := do(t.Context(), t, f, abi.HTTPRequest{URL: "http://many.example:" + port})
	if err != nil || got.Body != "ok" {
		t.Errorf("got %+v, %v; want the first allowed address", got, err)
	}
	for _, name := range []string{"none.example", "unknown.example"} {
		_, err := do(t.Context(), t, f, abi.HTTPRequest{URL: "http://" + name})
		if err == nil || codeOf(t, err) != abi.CodeUnavailable {
			t.Errorf("%s: got %v, want unavailable", name, err)
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var reached atomic.Bool
	forbidden, _ := serve(t, func(http.ResponseWriter, *http.Request) { reached.Store(true) })
	s, port := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, forbidden.URL, http.StatusFound) })
	f := fetcher(t, Options{AllowPrivate: []string{"127.0.0.1:" + port}})
	got, err := do(t.Context(), t, f, abi.HTTPRequest{URL: s.URL})
	if err != nil || got.Status != http.StatusFound || got.Headers["Location"] != forbidden.URL {
		t.Errorf("got %+v, %v", got, err)
	}
	if reached.Load() {
		t.Error("the redirect was followed")
	}
	_, err = do(t.Context(), t, f, abi.HTTPRequest{URL: got.Headers["Location"]})
	if err == nil || codeOf(t, err) != abi.CodeDenied || reached.Load() {
		t.Errorf("got %v, want the second request denied", err)
	}
}

func TestProxyIsIgnored(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	_, port := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "direct") })
	f := fetcher(t, Options{AllowPrivate: []string{"*"}, Resolver: names{"a.example": {{"127.0.0.1"}}}})
	if got, err := do(t.Context(), t, f, abi.HTTPRequest{URL: "http://a.example:" + port}); err != nil || got.Body != "direct" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestBodies(t *testing.T) {
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/binary":
			_, _ = w.Write([]byte{0, 0xff})
		case "/limit":
			_, _ = io.WriteString(w, strings.Repeat("<", maxResponse))
		case "/over":
			_, _ = io.WriteString(w, strings.Repeat("a", maxResponse+1))
		case "/bomb":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(make([]byte, 8<<20))
			_ = z.Close()
		}
	})
	f := fetcher(t, Options{AllowPrivate: []string{"*"}})
	got, err := do(t.Context(), t, f, abi.HTTPRequest{URL: s.URL + "/binary"})
	if err != nil || !got.Base64 || got.Body != "AP8=" {
		t.Errorf("binary: got %+v, %v", got, err)
	}
	got, err = do(t.Context(), t, f, abi.HTTPRequest{URL: s.URL + "/limit"})
	if err != nil || !got.Base64 || len(got.Body) != base64.StdEncoding.EncodedLen(maxResponse) {
		t.Errorf("text that JSON makes six times as long: base64 %v, %d bytes, %v", got.Base64, len(got.Body), err)
	}
	for _, path := range []string{"/over", "/bomb"} {
		_, err := do(t.Context(), t, f, abi.HTTPRequest{URL: s.URL + path})
		if err == nil || codeOf(t, err) != abi.CodeInvalid {
			t.Errorf("%s: got %v, want invalid", path, err)
		}
	}
}

func TestSlowBodyEndsWithItsContext(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	s, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "a")
		_ = http.NewResponseController(w).Flush()
		close(begun)
		<-release
	})
	defer close(release)
	f := fetcher(t, Options{AllowPrivate: []string{"*"}})
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-begun
		cancel(host.ErrCancelled)
	}()
	if _, err := do(ctx, t, f, abi.HTTPRequest{URL: s.URL}); !errors.Is(err, host.ErrCancelled) {
		t.Errorf("got %v, want the context's cause", err)
	}
}

func TestNoAnswer(t *testing.T) {
	release := make(chan struct{})
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			<-release
			return
		}
		panic(http.ErrAbortHandler) // closes the connection
	})
	defer close(release)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "http://" + closed.Addr().String()
	_ = closed.Close()
	patient := fetcher(t, Options{AllowPrivate: []string{"*"}})
	hurried := fetcher(t, Options{AllowPrivate: []string{"*"}, Timeout: time.Second})
	key := map[string]string{"Idempotency-Key": "k"}
	for _, test := range []struct {
		name  string
		f     *Fetcher
		in    abi.HTTPRequest
		code  abi.Code
		again bool
	}{
		{"get, closed", patient, abi.HTTPRequest{URL: s.URL}, abi.CodeUnavailable, true},
		{"post, closed", patient, abi.HTTPRequest{Method: "POST", URL: s.URL}, abi.CodeUnknownOutcome, false},
		{"post with a key, closed", patient, abi.HTTPRequest{Method: "POST", URL: s.URL, Headers: key}, abi.CodeUnavailable, true},
		{"post, nobody there", patient, abi.HTTPRequest{Method: "POST", URL: gone}, abi.CodeUnavailable, true},
		{"get, no end", hurried, abi.HTTPRequest{URL: s.URL + "/hang"}, abi.CodeTimeout, true},
		{"post, no end", hurried, abi.HTTPRequest{Method: "POST", URL: s.URL + "/hang"}, abi.CodeUnknownOutcome, false},
	} {
		_, err := do(t.Context(), t, test.f, test.in)
		e, ok := errors.AsType[*abi.Error](err)
		if !ok || e.Code != test.code || e.Retryable != test.again {
			t.Errorf("%s: got %v (retryable %v), want %s", test.name, err, ok && e.Retryable, test.code)
		}
	}
}

func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	resolver := names{"example.com": {{"127.0.0.1"}}, "other.example": {{"127.0.0.1"}}}
	f := fetcher(t, Options{AllowPrivate: []string{"*"}, RootCAs: roots, Resolver: resolver})
	got, err := do(t.Context(), t, f, abi.HTTPRequest{URL: "https://example.com:" + port})
	if err != nil || got.Body != "HTTP/2.0" {
		t.Errorf("got %+v, %v", got, err)
	}
	// The certificate is for example.com.
	if _, err := do(t.Context(), t, f, abi.HTTPRequest{URL: "https://other.example:" + port}); err == nil || codeOf(t, err) != abi.CodeUnavailable {
		t.Errorf("another name: got %v, want unavailable", err)
	}
	strict := fetcher(t, Options{AllowPrivate: []string{"*"}, Resolver: resolver})
	if _, err := do(t.Context(), t, strict, abi.HTTPRequest{URL: "https://example.com:" + port}); err == nil || codeOf(t, err) != abi.CodeUnavailable {
		t.Errorf("unknown authority: got %v, want unavailable", err)
	}
}

func BenchmarkFetch(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer s.Close()
	f, err := New(Options{AllowPrivate: []string{"*"}})
	if err != nil {
		b.Fatal(err)
	}
	c := &host.Call{Run: &host.Run{}, Name: abi.CallHTTPFetch, Request: []byte(`{"url":"` + s.URL + `"}`)}
	for b.Loop() {
		if c.Class, err = f.Classify(b.Context(), c); err != nil {
			b.Fatal(err)
		}
		if _, err = f.Perform(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
}
