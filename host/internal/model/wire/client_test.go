package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
)

// server serves the answers in turn, the last one again and again.
func server(t *testing.T, answers ...http.HandlerFunc) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		i := int(n.Add(1)) - 1
		answers[min(i, len(answers)-1)](w, r)
	}))
	t.Cleanup(s.Close)
	return s, &n
}

func status(code int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

var good = status(http.StatusOK, `{"text":"fine"}`)

// reset sends text and then resets the connection.
func reset(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, text)
		_ = http.NewResponseController(w).Flush()
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
}

type waits struct{ all []time.Duration }

func (w *waits) sleep(ctx context.Context, d time.Duration) error {
	w.all = append(w.all, d)
	return ctx.Err()
}

func client(t *testing.T, url string, change func(*Config)) (*Client, *waits) {
	t.Helper()
	w := &waits{}
	cfg := Config{
		Provider: "test", Model: "m", BaseURL: url, Key: NewSecret(key, "${env:KEY}"),
		Headers: map[string]Secret{"Authorization": NewSecret("Bearer "+key, ""), "X-Team": NewSecret("team-4711", "")},
		Sleep:   w.sleep, Rand: func() float64 { return 0.5 },
	}
	if change != nil {
		change(&cfg)
	}
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c, w
}

func readText(text *string) func(*Answer) error {
	return func(a *Answer) error {
		var v struct{ Text string }
		err := a.JSON(&v)
		*text = v.Text
		return err
	}
}

// said returns the *abi.Error in err.
func said(t *testing.T, err error) *abi.Error {
	t.Helper()
	var e *abi.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v holds no *abi.Error", err)
	}
	return e
}

func TestPostRetries(t *testing.T) {
	const date = "Sun, 01 Mar 2026 09:30:00 GMT"
	for name, c := range map[string]struct {
		first http.HandlerFunc
		want  []time.Duration
	}{
		"429 with seconds": {status(429, `{}`, "Retry-After", "7"), []time.Duration{7 * time.Second}},
		"429 with a date": {
			status(429, `{}`, "Retry-After", "Sun, 01 Mar 2026 09:31:30 GMT", "Date", date),
			[]time.Duration{90 * time.Second},
		},
		"429 with a past date": {
			status(429, `{}`, "Retry-After", "Sun, 01 Mar 2026 09:00:00 GMT", "Date", date), []time.Duration{0},
		},
		"429 with milliseconds": {status(429, `{}`, "Retry-After-Ms", "250"), []time.Duration{250 * time.Millisecond}},
		"429 with nonsense":     {status(429, `{}`, "Retry-After", "soon"), []time.Duration{375 * time.Millisecond}},
		"500":                   {status(500, `oops`), []time.Duration{375 * time.Millisecond}},
		"503 html":              {status(503, `<html>`, "Content-Type", "text/html"), []time.Duration{375 * time.Millisecond}},
		"529":                   {status(529, `{"error":{"type":"overloaded_error"}}`), []time.Duration{375 * time.Millisecond}},
		"reset":                 {reset(""), []time.Duration{375 * time.Millisecond}},
		"408":                   {status(408, ``), []time.Duration{375 * time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			s, n := server(t, c.first, good)
			client, w := client(t, s.URL, nil)
			var text string
			if err := client.Post(t.Context(), "x", struct{}{}, nil, readText(&text)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, w.all); diff != "" || text != "fine" || n.Load() != 2 {
				t.Errorf("text %q after %d calls, waits (-want +got):\n%s", text, n.Load(), diff)
			}
		})
	}
}

func TestPostFailures(t *testing.T) {
	for name, c := range map[string]struct {
		answer    http.HandlerFunc
		calls     int64
		code      abi.Code
		retryable bool
		words     []string
	}{
		"429 for good":  {status(429, `{"error":{"message":"slow down","type":"rate_limit_error"}}`), 4, abi.CodeRateLimited, true, []string{"HTTP 429", "slow down"}},
		"429 for hours": {status(429, `{}`, "Retry-After", "7200"), 1, abi.CodeRateLimited, true, []string{"asks to wait 2h0m0s"}},
		"quota":         {status(429, `{"error":{"message":"no","code":"insufficient_quota"}}`), 1, abi.CodeRateLimited, false, []string{"billing"}},
		"500 for good":  {status(500, `{"error":{"message":"broken"}}`), 4, abi.CodeUnavailable, true, []string{"HTTP 500", "broken"}},
		"wrong key":     {status(401, `{"error":{"message":"bad key sk-te***789","code":"invalid_api_key"}}`), 1, abi.CodeUnavailable, false, []string{"HTTP 401", "check what ${env:KEY} holds"}},
		"forbidden":     {status(403, `{"error":{"message":"region"}}`), 1, abi.CodeUnavailable, false, []string{"region", "permissions"}},
		"no model":      {status(404, `{"error":{"message":"no such model"}}`), 1, abi.CodeNotFound, false, []string{"no such model", "base_url"}},
		"bad request":   {status(400, `{"error":{"message":"temperature"}}`), 1, abi.CodeInvalid, false, []string{"temperature"}},
		"unprocessable": {status(422, `{"detail":[{"msg":"field"}]}`), 1, abi.CodeInvalid, false, []string{"field"}},
		"too long 1":    {status(400, `{"error":{"message":"x","code":"context_length_exceeded"}}`), 1, abi.CodeInvalid, false, []string{"longer than the model can read"}},
		"too long 2":    {status(400, `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum"}}`), 1, abi.CodeInvalid, false, []string{"longer than the model can read", "9 tokens"}},
		"too long 3":    {status(400, `{"object":"error","message":"This model's maximum context length is 8 tokens"}`), 1, abi.CodeInvalid, false, []string{"longer than the model can read"}},
		"too large":     {status(413, ``), 1, abi.CodeInvalid, false, []string{"too large"}},
		"not json":      {status(200, `<html>hi</html>`, "Content-Type", "text/html"), 1, abi.CodeUnavailable, true, []string{"text/html", "base_url"}},
		"half json":     {status(200, `{"text":"fi`), 1, abi.CodeUnavailable, true, []string{"JSON"}},
		"error in 200":  {status(200, `{"error":"model is loading"}`), 4, abi.CodeUnavailable, true, []string{"model is loading"}},
		"not there":     {status(501, ``), 1, abi.CodeUnavailable, false, []string{"HTTP 501"}},
		"not followed":  {status(304, ``), 1, abi.CodeInvalid, false, []string{"HTTP 304"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, n := server(t, c.answer)
			client, _ := client(t, s.URL, nil)
			var text string
			err := client.Post(t.Context(), "x", struct{}{}, nil, readText(&text))
			e := said(t, err)
			if e.Code != c.code || e.Retryable != c.retryable || n.Load() != c.calls {
				t.Errorf("%d calls, retryable %t: %v", n.Load(), e.Retryable, err)
			}
			for _, words := range append(c.words, "test model m: ") {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("%q is not in: %v", words, err)
				}
			}
		})
	}
}

func TestErrorsNeverShowSecrets(t *testing.T) {
	for _, code := range []int{200, 400, 401, 403, 404, 413, 422, 429, 500} {
		s, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(code)
			_, _ = fmt.Fprintf(w, `{"error":{"message":"you sent %s and %s"}}`, r.Header["Authorization"], r.Header["X-Team"])
		})
		client, _ := client(t, s.URL, nil)
		err := client.Post(t.Context(), "x", struct{}{}, nil, readText(new(string)))
		for _, secret := range []string{key, "team-4711"} {
			if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, said(t, err)), secret) {
				t.Errorf("HTTP %d: the error shows a secret: %v", code, err)
			}
		}
		if code == 400 && !strings.Contains(err.Error(), "you sent [Bearer redacted] and [redacted]") {
			t.Errorf("the words are lost: %v", err)
		}
	}
}

func TestRedirects(t *testing.T) {
	other, n := server(t, good)
	away, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	c, _ := client(t, away.URL, nil)
	err := c.Post(t.Context(), "x", struct{}{}, nil, readText(new(string)))
	if e := said(t, err); e.Code != abi.CodeUnavailable || n.Load() != 0 || !strings.Contains(err.Error(), other.URL) {
		t.Errorf("%d calls reached the other host: %v", n.Load(), err)
	}
	var here *httptest.Server
	here, _ = server(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, here.URL+"/v2/x", http.StatusPermanentRedirect)
	}, good)
	c, _ = client(t, here.URL, nil)
	var text string
	if err := c.Post(t.Context(), "x", struct{}{}, nil, readText(&text)); err != nil || text != "fine" {
		t.Errorf("a redirect within the server: %q, %v", text, err)
	}
}

func TestDeliveredTextIsNotRetried(t *testing.T) {
	read := func(a *Answer) error {
		for ev, err := range Events(a.Body()) {
			if err != nil {
				return err
			}
			if err := a.Deliver(string(ev.Data)); err != nil {
				return err
			}
		}
		return Truncated()
	}
	s, n := server(t, reset("data: a\n\n"))
	client, _ := client(t, s.URL, nil)
	var got []string
	delta := func(text string) error { got = append(got, text); return nil }
	err := client.Post(t.Context(), "x", struct{}{}, delta, read)
	if e := said(t, err); e.Code != abi.CodeUnavailable || !e.Retryable || n.Load() != 1 || len(got) != 1 {
		t.Errorf("%d calls, %q: %v", n.Load(), got, err)
	}
	stop := errors.New("stop")
	err = client.Post(t.Context(), "x", struct{}{}, func(string) error { return stop }, read)
	if err != stop { //nolint:errorlint // the very error comes back
		t.Errorf("the caller's error comes back as %v", err)
	}
	n.Store(0)
	if err := client.Post(t.Context(), "x", struct{}{}, nil, read); err == nil || n.Load() != 4 {
		t.Errorf("nothing was delivered, %d calls: %v", n.Load(), err)
	}
}

func TestContextEnds(t *testing.T) {
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	s, _ := server(t, hang)
	c, _ := client(t, s.URL, func(cfg *Config) { cfg.Timeout = 20 * time.Millisecond })
	err := c.Post(t.Context(), "x", struct{}{}, nil, readText(new(string)))
	if e := said(t, err); e.Code != abi.CodeTimeout || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("timeout: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c, _ = client(t, s.URL, nil)
	err = c.Post(ctx, "x", struct{}{}, nil, readText(new(string)))
	if e := said(t, err); e.Code != abi.CodeCancelled || !errors.Is(err, context.Canceled) {
		t.Errorf("cancel: %v", err)
	}
	s, n := server(t, status(503, "busy"))
	ctx, cancel = context.WithCancel(t.Context())
	c, _ = client(t, s.URL, func(cfg *Config) {
		cfg.Sleep = func(ctx context.Context, _ time.Duration) error { cancel(); return ctx.Err() }
	})
	err = c.Post(ctx, "x", struct{}{}, nil, readText(new(string)))
	if e := said(t, err); e.Code != abi.CodeCancelled || n.Load() != 1 || !strings.Contains(err.Error(), "busy") {
		t.Errorf("cancel while waiting: %v", err)
	}
}

func TestNoServer(t *testing.T) {
	s, _ := server(t, good)
	s.Close()
	c, w := client(t, s.URL, nil)
	err := c.Post(t.Context(), "x", struct{}{}, nil, readText(new(string)))
	if e := said(t, err); e.Code != abi.CodeUnavailable || !e.Retryable || len(w.all) != 3 || !strings.Contains(err.Error(), "check that the server runs") {
		t.Errorf("%v after %v", err, w.all)
	}
}

func TestUntrustedCertificate(t *testing.T) {
	s := httptest.NewUnstartedServer(good)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	c, w := client(t, s.URL, nil)
	err := c.Post(t.Context(), "x", struct{}{}, nil, readText(new(string)))
	if said(t, err).Retryable || len(w.all) != 0 || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("%v after %v", err, w.all)
	}
}

func TestAnswerTooLarge(t *testing.T) {
	s, n := server(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk := []byte(strings.Repeat(" ", 1<<20))
		for range maxAnswer>>20 + 1 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	c, _ := client(t, s.URL, nil)
	err := c.Post(t.Context(), "x", struct{}{}, nil, readText(new(string)))
	if e := said(t, err); e.Code != abi.CodeUnavailable || e.Retryable || n.Load() != 1 || !strings.Contains(err.Error(), "32 MiB") {
		t.Errorf("%v", err)
	}
}

// TestRequest checks what goes over the wire beside the body.
func TestRequest(t *testing.T) {
	for base, want := range map[string]string{
		"":                       "/v1/chat/x",
		"/":                      "/v1/chat/x",
		"/openai/v1/":            "/openai/v1/chat/x",
		"/v1?api-version=2026-1": "/v1/chat/x?api-version=2026-1",
	} {
		var got *http.Request
		s, _ := server(t, func(w http.ResponseWriter, r *http.Request) { got = r; good(w, r) })
		c, _ := client(t, s.URL+base, nil)
		if err := c.Post(t.Context(), "chat/x", map[string]string{"a": "<b>"}, nil, readText(new(string))); err != nil {
			t.Fatal(err)
		}
		h := got.Header
		if got.RequestURI != want || h.Get("Authorization") != "Bearer "+key || h.Get("X-Team") != "team-4711" ||
			h.Get("Content-Type") != "application/json" || got.ContentLength != int64(len(`{"a":"<b>"}`+"\n")) {
			t.Errorf("%q: %s, %d bytes, %v", base, got.RequestURI, got.ContentLength, h)
		}
	}
}

func TestUnencodableRequest(t *testing.T) {
	c, _ := client(t, "http://127.0.0.1:1", nil)
	err := c.Post(t.Context(), "x", map[string]any{"a": func() {}}, nil, nil)
	if e := said(t, err); e.Code != abi.CodeInvalid {
		t.Error(err)
	}
}

func TestNewClientRefuses(t *testing.T) {
	for _, url := range []string{"", "localhost:1234", "ftp://x", "https://user:pw@host/v1", "http://", ":"} {
		_, err := NewClient(Config{Model: "m", BaseURL: url})
		if err == nil || strings.Contains(err.Error(), "pw") {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := NewClient(Config{BaseURL: "http://x", Price: Price{Input: -1}}); err == nil {
		t.Error("a negative price is accepted")
	}
}

func TestBackoff(t *testing.T) {
	for n := 1; n < 100; n++ {
		low, high := backoff(n, 0), backoff(n, 0.999)
		if low < firstPause/2 || high > longestPause || low >= high {
			t.Errorf("attempt %d: between %v and %v", n, low, high)
		}
	}
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if err := Pause(t.Context(), time.Hour); err != nil || time.Since(begin) != time.Hour {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin = time.Now()
		if err := Pause(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestFinish(t *testing.T) {
	c, _ := client(t, "http://x", func(cfg *Config) { cfg.Price = Price{Input: 1, Output: 2} })
	req := Request{Messages: []abi.Message{{Role: abi.RoleUser, Content: []abi.Content{abi.Text("12345678")}}}, Tools: []abi.Tool{{Name: "a.b"}}}
	got, err := c.Finish(req, NamesOf(req), Reply{Text: "abc", Calls: []Call{{Name: "a_b"}, {ID: "x", Name: "c", Args: ` {"d":1} `}}})
	if err != nil {
		t.Fatal(err)
	}
	want := abi.ChatResponse{
		Message: abi.Message{
			Role: abi.RoleAssistant, Content: []abi.Content{abi.Text("abc")},
			ToolCalls: []abi.ToolCall{{ID: "call_1_0", Name: "a.b", Arguments: []byte("{}")}, {ID: "x", Name: "c", Arguments: []byte(`{"d":1}`)}},
		},
		Finish: abi.FinishTools, Model: "m", Provider: "test",
		Usage: abi.Usage{InputTokens: 7, OutputTokens: 6, CostMicros: 19},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, args := range []string{`{"a":`, `[]`, `"x"`, `7`, `{} {}`} {
		_, err := c.Finish(req, NamesOf(req), Reply{Calls: []Call{{Name: "a_b", Args: args}}})
		if e := said(t, err); e.Code != abi.CodeUnavailable || !e.Retryable {
			t.Errorf("%s: %v", args, err)
		}
		_, err = c.Finish(req, NamesOf(req), Reply{Finish: abi.FinishLength, Calls: []Call{{Name: "a_b", Args: args}}})
		if e := said(t, err); e.Code != abi.CodeInvalid || !strings.Contains(err.Error(), "max_tokens") {
			t.Errorf("%s: %v", args, err)
		}
	}
}
