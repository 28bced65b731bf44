package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	attemptTime   = 20 * time.Second // for one attempt as a whole
	handshakeTime = 10 * time.Second
	headerTime    = 15 * time.Second
	idleTime      = 90 * time.Second
	maxHead       = 16 << 10 // bytes of a response's headers
	maxRead       = 4 << 10  // bytes of a response's body, so that the connection can be used again
)

// newTransport dials by the guard and uses no proxy.
func newTransport(g *guard, roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		DialContext:            g.dial,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    handshakeTime,
		ResponseHeaderTimeout:  headerTime,
		IdleConnTimeout:        idleTime,
		MaxIdleConnsPerHost:    1,
		MaxResponseHeaderBytes: maxHead,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
	}
}

// failure is why a notice was not taken.
type failure struct {
	status     int // 0: there was no answer
	retryAfter time.Duration
	cause      error
}

func (f *failure) Error() string { return f.cause.Error() }

// endpoint reports whether the endpoint is at fault, rather than this notice: it cannot
// be reached, has too much to do, or is broken.
func (f *failure) endpoint() bool {
	return f.status < 300 || f.status == http.StatusRequestTimeout || f.status == http.StatusTooManyRequests || f.status >= 500
}

// send makes one attempt. Nil means that the endpoint took the notice.
func (w *worker) send(ctx context.Context, r *record) *failure {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	q, err := w.request(ctx, r)
	if err != nil {
		return &failure{cause: err}
	}
	response, err := w.transport.RoundTrip(q) // an http.Client would follow redirects
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer within %s", attemptTime)
		}
		return &failure{cause: err}
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.CopyN(io.Discard, response.Body, maxRead) // the status has said it all
	if response.StatusCode >= 200 && response.StatusCode < 300 {
		return nil
	}
	return &failure{
		status:     response.StatusCode,
		retryAfter: retryAfter(response.Header.Get("Retry-After"), w.now()),
		cause:      refusal(response.StatusCode),
	}
}

func refusal(status int) error {
	if status >= 300 && status < 400 {
		return fmt.Errorf("it answered with a redirect (%d), which is not followed; configure the URL that it leads to", status)
	}
	return fmt.Errorf("it answered %d %s", status, http.StatusText(status))
}

func (w *worker) request(ctx context.Context, r *record) (*http.Request, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url.String(), strings.NewReader(r.Body))
	if err != nil {
		return nil, errors.New("its URL cannot be used") // err repeats the URL
	}
	timestamp := strconv.FormatInt(w.now().Unix(), 10)
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("User-Agent", "vespiary")
	// Not sent: it lets the transport take a new connection when the endpoint has closed
	// the idle one, which is safe since receivers drop repetitions.
	q.Header["Idempotency-Key"] = nil
	q.Header.Set(headerID, r.id)
	q.Header.Set(headerTimestamp, timestamp)
	q.Header.Set(headerSignature, sign(w.endpoint.Secrets, r.id, timestamp, []byte(r.Body)))
	return q, nil
}

// retryAfter reads the header of that name, which is a number of seconds or a date
// (RFC 9110, section 10.2.3). 0 means that it says nothing.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, maxWait)
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxWait)
}
