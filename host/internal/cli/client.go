package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
)

// client speaks to a running host.
type client struct {
	base string
	key  string
	http *http.Client
}

var _ Service = (*client)(nil)

// newClient returns a client of the host of cfg, which is reached at base.
func newClient(cfg *config.Config, base string) (*client, error) {
	token, err := key(cfg)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{}
	if cfg.TLS != nil {
		if transport.TLSClientConfig, err = pinned(cfg.TLS.Cert); err != nil {
			return nil, fmt.Errorf("read the host's certificate: %w", err)
		}
	}
	return &client{base: base, key: token, http: &http.Client{Transport: transport}}, nil
}

// pinned accepts the certificate in the file and no other. Its names do not
// matter: this machine is reached by an address that they may not hold.
func pinned(file string) (*tls.Config, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", file)
	}
	return &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection is stricter
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || !bytes.Equal(s.PeerCertificates[0].Raw, block.Bytes) {
				return errors.New("the host shows another certificate than the configuration names")
			}
			return nil
		},
		MinVersion: tls.VersionTLS12,
	}, nil
}

// Close implements Service.
func (c *client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Sessions implements Service.
func (c *client) Sessions(ctx context.Context, f host.SessionFilter) ([]host.Session, error) {
	q := url.Values{}
	for name, v := range map[string]string{"agent": f.Agent, "status": string(f.Status), "after": f.After} {
		if v != "" {
			q.Set(name, v)
		}
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	var page struct {
		Sessions []host.Session `json:"sessions"`
	}
	return page.Sessions, c.do(ctx, http.MethodGet, "/v1/sessions", q, nil, &page)
}

// Session implements Service.
func (c *client) Session(ctx context.Context, id string) (s host.Session, err error) {
	return s, c.do(ctx, http.MethodGet, "/v1/sessions/"+url.PathEscape(id), nil, nil, &s)
}

// Journal implements Service.
func (c *client) Journal(ctx context.Context, id string, from uint64, limit int) ([]host.Record, error) {
	q := url.Values{"from": {strconv.FormatUint(from, 10)}, "limit": {strconv.Itoa(limit)}}
	var page struct {
		Records []host.Record `json:"records"`
	}
	err := c.do(ctx, http.MethodGet, "/v1/sessions/"+url.PathEscape(id)+"/journal", q, nil, &page)
	return page.Records, err
}

// Cancel implements Service.
func (c *client) Cancel(ctx context.Context, id string) (s host.Session, err error) {
	return s, c.do(ctx, http.MethodPost, "/v1/sessions/"+url.PathEscape(id)+"/cancel", nil, nil, &s)
}

// Install implements Service.
func (c *client) Install(ctx context.Context, name string, wasm []byte) (digest string, err error) {
	var out struct {
		Digest string `json:"digest"`
	}
	err = c.do(ctx, http.MethodPost, "/v1/modules", url.Values{"name": {name}}, wasm, &out)
	return out.Digest, err
}

// Decisions implements Service.
func (c *client) Decisions(ctx context.Context, deniedOnly bool, limit int) ([]host.DecisionRecord, error) {
	q := url.Values{"denied": {strconv.FormatBool(deniedOnly)}, "limit": {strconv.Itoa(limit)}}
	var page struct {
		Decisions []host.DecisionRecord `json:"decisions"`
	}
	err := c.do(ctx, http.MethodGet, "/v1/decisions", q, nil, &page)
	return page.Decisions, err
}

// Reload makes the host read its configuration and policies again.
func (c *client) Reload(ctx context.Context) error {
	if err := c.do(ctx, http.MethodPost, "/v1/reload", nil, nil, nil); err != nil {
		return while("reload", err)
	}
	return nil
}

// do sends a request and decodes the answer into out, unless out is nil.
func (c *client) do(ctx context.Context, method, path string, q url.Values, body []byte, out any) error {
	response, err := c.send(ctx, method, path, q, body, http.Header{"Content-Type": {"application/wasm"}})
	if err != nil {
		return err
	}
	return answer(response, out)
}

// post sends a JSON document and decodes the answer into out.
func (c *client) post(ctx context.Context, path string, body, out any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	response, err := c.send(ctx, http.MethodPost, path, nil, b, http.Header{"Content-Type": {"application/json"}})
	if err != nil {
		return err
	}
	return answer(response, out)
}

// answer decodes an answer into out, unless out is nil.
func answer(response *http.Response, out any) error {
	defer response.Body.Close() //nolint:errcheck // read to its end, or of no more use
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return fmt.Errorf("read the host's answer: %w", err)
	}
	return nil
}

// send returns the answer of a request that the host did not refuse. The caller
// closes its body.
func (c *client) send(ctx context.Context, method, path string, q url.Values, body []byte, header http.Header) (*http.Response, error) {
	target := c.base + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	for tried := 0; ; tried++ {
		response, err := c.try(ctx, method, target, bytes.NewReader(body), header)
		if err != nil {
			return nil, err
		}
		if response.StatusCode < http.StatusBadRequest {
			return response, nil
		}
		pause, again := patience(response)
		err = refusal(response)
		_ = response.Body.Close()
		if !again || tried == maxTries {
			return nil, err
		}
		if err := wait(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// try sends a request once and returns the answer, whatever it is.
func (c *client) try(ctx context.Context, method, target string, body io.Reader, header http.Header) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	request.Header = header.Clone()
	request.Header.Set("Authorization", "Bearer "+c.key)
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("reach the host: %w", err)
	}
	return response, nil
}

// Patience with a host that asks for it.
const (
	maxTries     = 10
	defaultPause = time.Second
	maxPause     = time.Minute // beyond it a person decides
)

// patience returns how long the host asks to wait before the request is sent again,
// in the seconds of Retry-After; again is false for an answer that is final. Such a
// request was not begun, so that no message is given twice.
func patience(response *http.Response) (pause time.Duration, again bool) {
	after := response.Header.Get("Retry-After")
	switch {
	case response.StatusCode == http.StatusTooManyRequests:
	case response.StatusCode == http.StatusServiceUnavailable && after != "":
	default:
		return 0, false
	}
	seconds, err := strconv.ParseUint(after, 10, 16)
	if err != nil {
		return defaultPause, true
	}
	pause = time.Duration(seconds) * time.Second
	return pause, pause <= maxPause
}

func wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// refusal turns problem details (RFC 9457) into the error they were made from.
func refusal(response *http.Response) error {
	const most = 1 << 20
	var p struct {
		Detail   string              `json:"detail"`
		Code     host.ErrorCode      `json:"code"`
		Problems host.PolicyProblems `json:"problems"`
	}
	b, err := io.ReadAll(io.LimitReader(response.Body, most))
	if err != nil || json.Unmarshal(b, &p) != nil || p.Detail == "" {
		return host.Errorf(host.ErrInternal, "ask the host: it answered %s and not why", response.Status)
	}
	if len(p.Problems) > 0 {
		return &host.Error{Code: p.Code, Message: clean(eachProblem(p.Problems)), Cause: p.Problems}
	}
	return &host.Error{Code: p.Code, Message: clean(p.Detail)}
}
