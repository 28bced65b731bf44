package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/vespiary/vespiary/abi"
)

const (
	maxAnswer      = 32 << 20 // bytes of one answer, streamed or not
	maxErrorAnswer = 64 << 10
	maxRedirects   = 3

	defaultTimeout = 10 * time.Minute
)

// Config describes one model behind one server. BaseURL and Provider are
// required, the rest has useful zero values.
type Config struct {
	Provider string            // the name in error messages and responses
	Model    string            // the model's name at the provider
	BaseURL  string            // paths are joined to it; a URL without a path means /v1
	Key      Secret            // named in error messages, and kept out of them
	KeyHint  string            // the reference to set where Key is empty, such as ${env:OPENAI_API_KEY}
	Headers  map[string]Secret // sent with every request; the dialect's own belong here too
	Price    Price
	Timeout  time.Duration // of a call with all its retries; 0 means ten minutes
	Attempts int           // 0 means four
	HTTP     *http.Client  // nil means http.DefaultClient, which honours proxies
	Sleep    Sleep         // nil means Pause
	Rand     func() float64
	Log      *slog.Logger
}

// Client posts requests to one model server and retries what is worth it. It is
// safe for concurrent use.
type Client struct {
	cfg  Config
	base *url.URL
	http *http.Client
}

// NewClient checks the configuration and returns a client for it.
func NewClient(cfg Config) (*Client, error) {
	base, err := parseBase(cfg.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("model %q: %w", cfg.Model, err)
	}
	if err := cfg.Price.Check(); err != nil {
		return nil, fmt.Errorf("model %q: %w", cfg.Model, err)
	}
	cfg.defaults()
	return &Client{cfg: cfg, base: base, http: guarded(cfg.HTTP)}, nil
}

func (c *Config) defaults() {
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	if c.Attempts <= 0 {
		c.Attempts = defaultAttempts
	}
	if c.Sleep == nil {
		c.Sleep = Pause
	}
	if c.Rand == nil {
		c.Rand = random
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// parseBase adds /v1 to a bare host, which is what people write for a server of
// their own, and keeps a query such as api-version.
func parseBase(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("base_url must be like https://host/v1")
	}
	if u.User != nil {
		return nil, errors.New("base_url must not hold a user or password: set key to a reference such as ${env:NAME}")
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1"
	}
	return u, nil
}

// guarded returns the client with redirects held to the server that was
// configured: Go itself would carry an x-api-key header to any host.
func guarded(given *http.Client) *http.Client {
	if given == nil {
		given = http.DefaultClient
	}
	client := *given
	client.CheckRedirect = checkRedirect
	return &client
}

// errRedirect is a redirect that is not followed.
type errRedirect struct{ to string }

func (e *errRedirect) Error() string {
	return "the server redirects to " + e.to + ", which is not followed; set base_url to the final address if you trust it"
}

// checkRedirect also refuses a redirect that would turn the POST into a GET and
// lose the request.
func checkRedirect(next *http.Request, via []*http.Request) error {
	first := via[0]
	same := next.URL.Host == first.URL.Host && next.URL.Scheme == first.URL.Scheme && next.Method == first.Method
	if !same || len(via) > maxRedirects {
		return &errRedirect{next.URL.Scheme + "://" + next.URL.Host}
	}
	return nil
}

// Post sends body as JSON to a path below the base URL and lets read consume the
// answer. It tries again after a passing failure as long as no text was
// delivered, so read starts from nothing each time. Errors hold an *abi.Error,
// except one that delta returned, which comes back as it is. Delta may be nil.
func (c *Client) Post(ctx context.Context, path string, body any, delta func(string) error, read func(*Answer) error) error {
	data, err := encode(body)
	if err != nil {
		return c.fail(&failure{
			verdict: verdict{code: abi.CodeInvalid, advice: "check the tools' schemas"},
			what:    "the request is not valid JSON: " + err.Error(), cause: err,
		})
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	for n := 1; ; n++ {
		f := c.attempt(ctx, path, data, delta, read)
		switch {
		case f == nil:
			return nil
		case f.stopped:
			return f.cause
		case !f.verdict.transient || n >= c.cfg.Attempts:
			return c.fail(f)
		}
		if err := c.pause(ctx, n, f); err != nil {
			return err
		}
	}
}

// encode leaves <, > and & as they are: a model's text is full of them.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return buf.Bytes(), err
}

// attempt makes one try. It returns a *failure, not an error, so that Post can
// decide about the next try before anything is worded.
func (c *Client) attempt(ctx context.Context, path string, data []byte, delta func(string) error, read func(*Answer) error) *failure {
	req, err := c.request(ctx, path, data)
	if err != nil {
		return &failure{verdict: verdict{code: abi.CodeInvalid}, what: err.Error(), cause: err}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.broken(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return c.refused(ctx, resp)
	}
	a := &Answer{
		body:  http.MaxBytesReader(nil, resp.Body, maxAnswer),
		kind:  resp.Header.Get("Content-Type"),
		delta: delta,
	}
	if err := read(a); err != nil {
		return c.unread(ctx, a, err)
	}
	return nil
}

// request builds the request anew for each try, as a body can be read once only.
func (c *Client) request(ctx context.Context, path string, data []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.JoinPath(path).String(), bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("User-Agent", "vespiary")
	for name, value := range c.cfg.Headers {
		req.Header.Set(name, value.Reveal())
	}
	return req, nil
}

// refused classifies an answer whose status is not a success.
func (c *Client) refused(ctx context.Context, resp *http.Response) *failure {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorAnswer))
	if err != nil && ctx.Err() != nil {
		return c.broken(ctx, err)
	}
	f := ParseFault(data)
	if f == nil {
		f = &Fault{Message: excerpt(resp.Header.Get("Content-Type"), data)}
	}
	f.Status = resp.StatusCode
	out := c.faulty(f)
	out.wait, out.waits = retryAfter(resp.Header)
	return out
}

// excerpt returns what an error answer says that is not JSON; of a web page it
// returns nothing.
func excerpt(contentType string, data []byte) string {
	if strings.Contains(contentType, "html") || bytes.HasPrefix(bytes.TrimSpace(data), []byte("<")) {
		return "a web page, not an answer of a model server"
	}
	return clean(string(data))
}

// unread classifies an error of the function that read an answer.
func (c *Client) unread(ctx context.Context, a *Answer, err error) *failure {
	var out *failure
	fault, isFault := asFault(err)
	switch {
	case a.stopped != nil:
		return &failure{stopped: true, cause: a.stopped}
	case isFault:
		out = c.faulty(fault)
	default:
		out = c.broken(ctx, err)
	}
	if a.delivered {
		out.verdict.transient = false
	}
	return out
}

// broken classifies an error of the connection.
func (c *Client) broken(ctx context.Context, err error) *failure {
	var (
		tooLarge *http.MaxBytesError
		redirect *errRedirect
		dns      *net.DNSError
		timeout  net.Error
	)
	v := verdict{
		code: abi.CodeUnavailable, retryable: true, transient: true,
		advice: "check that the server runs and that base_url is right",
	}
	what := reason(err)
	switch {
	case ctx.Err() != nil:
		return ended(ctx, nil)
	case errors.As(err, &tooLarge):
		v, what = verdict{code: abi.CodeUnavailable, advice: "lower max_tokens"}, "the answer is larger than 32 MiB"
	case errors.Is(err, errEventTooLong):
		v = verdict{code: abi.CodeUnavailable, advice: "check that base_url is a server of this dialect"}
	case errors.As(err, &redirect):
		v, what = verdict{code: abi.CodeUnavailable}, redirect.Error()
	case untrusted(err):
		v = verdict{code: abi.CodeUnavailable, advice: "check the server's certificate"}
	case errors.As(err, &dns) && dns.IsNotFound:
		v = verdict{code: abi.CodeUnavailable, retryable: true, advice: "check the host in base_url"}
	case errors.As(err, &timeout) && timeout.Timeout():
		v.code = abi.CodeTimeout
	}
	return &failure{verdict: v, what: what, cause: err}
}

// Answer is a successful answer while it is read.
type Answer struct {
	body      io.Reader
	kind      string
	delta     func(string) error
	delivered bool
	stopped   error
}

// Streams reports whether the answer is a stream of events. A server may answer
// a request for a stream with one JSON document.
func (a *Answer) Streams() bool { return strings.HasPrefix(a.kind, "text/event-stream") }

// JSON decodes the whole answer into v.
func (a *Answer) JSON(v any) error {
	data, err := io.ReadAll(a.body)
	if err != nil {
		return err
	}
	if fault := ParseFault(data); fault != nil {
		return fault
	}
	if err := json.Unmarshal(data, v); err != nil {
		return Malformed("the answer (" + clean(a.kind) + ") is not the JSON of this dialect: " + clean(err.Error()))
	}
	return nil
}

// Body is the answer as it comes in, at most 32 MiB of it.
func (a *Answer) Body() io.Reader { return a.body }

// Deliver passes text to the caller as soon as it is known. From then on the
// call is not tried again. An error of the caller must end the reading.
func (a *Answer) Deliver(text string) error {
	if a.delta == nil || text == "" {
		return nil
	}
	a.delivered = true
	a.stopped = a.delta(text)
	return a.stopped
}
