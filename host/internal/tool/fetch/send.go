package fetch

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/tool/request"
)

const (
	dialTime      = 10 * time.Second
	handshakeTime = 10 * time.Second
	maxHead       = 64 << 10 // bytes of a response's headers
)

var errTooLong = errors.New("the response is over 4 MiB; ask for a part of it with the header Range")

// Perform implements host.Capability.
func (f *Fetcher) Perform(ctx context.Context, c *host.Call) (host.Output, error) {
	p, _ := c.Class.State.(*prepared)
	if !p.allowed {
		return host.Output{}, request.Failed(c, abi.CodeDenied, "%s has the address %s, which is not public; the operator can allow it in the host's configuration", p.target.id(), p.addr)
	}
	limited, cancel := context.WithTimeout(ctx, f.opt.Timeout)
	defer cancel()
	var sent atomic.Bool
	limited = httptrace.WithClientTrace(limited, &httptrace.ClientTrace{
		WroteHeaders: func() { sent.Store(true) },
	})
	ok, err := f.send(limited, p)
	if err != nil {
		return host.Output{}, p.failure(ctx, c, err, sent.Load())
	}
	return host.Output{OK: ok, Labels: abi.Labels{"": {Sources: []string{"http:" + p.target.id()}}}}, nil
}

// send makes the request over a connection of its own.
func (f *Fetcher) send(ctx context.Context, p *prepared) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, p.method, p.target.url.String(), bytes.NewReader(p.body))
	if err != nil {
		return nil, err
	}
	if len(p.body) == 0 {
		r.Body, r.GetBody = http.NoBody, nil
	}
	r.Header = p.header.Clone()
	transport := f.transport(netip.AddrPortFrom(p.addr, p.target.port))
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(r) // an http.Client would follow redirects
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxResponse+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxResponse {
		return nil, errTooLong
	}
	return encode(response.StatusCode, response.Header, body)
}

// transport dials to and nothing else.
func (f *Fetcher) transport(to netip.AddrPort) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTime}
	return &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", to.String())
		},
		TLSClientConfig:        &tls.Config{RootCAs: f.opt.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    handshakeTime,
		MaxResponseHeaderBytes: maxHead,
		DisableKeepAlives:      true,
		ForceAttemptHTTP2:      true,
	}
}

// failure says what a request came to that brought no answer. Once it was sent, an
// effect may have happened.
func (p *prepared) failure(ctx context.Context, c *host.Call, err error, sent bool) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, errTooLong) {
		return request.Invalid(c, "%s: %v", p.target.id(), err)
	}
	code, why := abi.CodeUnavailable, reason(err)
	if errors.Is(err, context.DeadlineExceeded) {
		code, why = abi.CodeTimeout, "it took too long"
	}
	again := !sent || p.class().Recovery != abi.RecoverOnce
	if !again {
		code, why = abi.CodeUnknownOutcome, why+"; the request was sent and may have had its effect: check before trying again"
	}
	e := request.Failed(c, code, "no answer from %s: %s", p.target.id(), why)
	e.Retryable = again
	return e
}

// reason is an error without the addresses that the layers below add to it.
func reason(err error) string {
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Err != nil {
		err = e.Err
	}
	return err.Error()
}
