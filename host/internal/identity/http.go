package identity

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// errUnreachable: what a token must be checked with cannot be had now.
var errUnreachable = errors.New("the keys of the token's issuer cannot be read")

// Bounds on what an issuer or peer is waited for and may answer. An answer is a short
// document.
const (
	patience  = 5 * time.Second
	maxAnswer = 1 << 20 // bytes
	maxHeader = 64 << 10
)

// newClient returns a client that takes an answer of one kind: a document of bounded
// size from where it was asked for. Connections are not kept, as minutes lie between
// requests.
func newClient(t http.RoundTripper) *http.Client {
	if t == nil {
		own := &http.Transport{Proxy: http.ProxyFromEnvironment}
		if std, ok := http.DefaultTransport.(*http.Transport); ok {
			own = std.Clone()
		}
		own.DisableKeepAlives, own.MaxResponseHeaderBytes = true, maxHeader
		t = own
	}
	return &http.Client{Transport: bounded{t}, Timeout: patience}
}

// bounded turns every answer but 200 into an error, redirections too: an address that
// the configuration does not name is not trusted with saying who users are.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("the answer is %s", resp.Status), resp.Body.Close())
	}
	resp.Body = &limited{ReadCloser: resp.Body, left: maxAnswer}
	return resp, nil
}

// limited fails where a body is too long: a part of it must not be taken for the whole.
type limited struct {
	io.ReadCloser
	left int64
}

func (l *limited) Read(b []byte) (int, error) {
	n, err := l.ReadCloser.Read(b[:min(int64(len(b)), l.left+1)])
	if l.left -= int64(n); l.left < 0 {
		return 0, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	return n, err
}

// checkURL refuses addresses whose answers anyone on the way could change.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%q is not a plain URL such as https://login.example.com", text)
	case u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%q must be https; http is for this machine only", text)
}

func isLoopback(name string) bool {
	a, err := netip.ParseAddr(name)
	return name == "localhost" || err == nil && a.IsLoopback()
}
