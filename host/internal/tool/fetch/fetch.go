package fetch

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/tool/request"
	"github.com/vespiary/vespiary/policy"
)

// Options are what a Fetcher is made of. The zero value is useful.
type Options struct {
	Resolver Resolver // nil means the machine's own
	// AllowPrivate lists what may be reached although it is not public: "host:port",
	// "host", a network such as "10.1.0.0/16", or "*" for this machine and private
	// networks. Link-local addresses, where clouds keep their metadata and keys, must
	// be named.
	AllowPrivate []string
	Timeout      time.Duration  // of a request with its response; 0 means a minute
	RootCAs      *x509.CertPool // nil means the machine's own
}

// Fetcher is the capability http_fetch. It is safe for concurrent use.
type Fetcher struct {
	opt        Options
	exceptions []exception
}

var _ host.Capability = (*Fetcher)(nil)

// New returns a Fetcher. The error tells which exception is not of its form.
func New(opt Options) (*Fetcher, error) {
	if opt.Resolver == nil {
		opt.Resolver = net.DefaultResolver
	}
	if opt.Timeout == 0 {
		opt.Timeout = time.Minute
	}
	exceptions, err := parseExceptions(opt.AllowPrivate)
	return &Fetcher{opt, exceptions}, err
}

// Capabilities returns http_fetch by name.
func (f *Fetcher) Capabilities() map[string]host.Capability {
	return map[string]host.Capability{abi.CallHTTPFetch: f}
}

// prepared is a request that was checked, and where it goes.
type prepared struct {
	target  *target
	raw     string // the URL as the guest gave it
	method  string
	header  http.Header
	body    []byte
	addr    netip.Addr
	allowed bool // by the ceiling
}

// maxRequest is the size of the call's JSON, in bytes, which the journal keeps.
const maxRequest = 7 << 20

// Classify implements host.Capability.
func (f *Fetcher) Classify(ctx context.Context, c *host.Call) (host.Class, error) {
	if len(c.Request) > maxRequest {
		return host.Class{}, request.Invalid(c, "the request has %d bytes, over the limit of %d", len(c.Request), maxRequest)
	}
	var in abi.HTTPRequest
	if err := request.Decode(c, &in); err != nil {
		return host.Class{}, err
	}
	p, err := prepare(in)
	if err != nil {
		return host.Class{}, request.Invalid(c, "%v", err)
	}
	if !p.target.addr.IsValid() {
		if err := c.Ask(ctx, p.lookup()); err != nil {
			return host.Class{}, err
		}
	}
	p.addr, p.allowed, err = f.resolve(ctx, p.target)
	switch {
	case ctx.Err() != nil:
		return host.Class{}, context.Cause(ctx)
	case err != nil:
		return host.Class{}, unresolved(c, p.target, err)
	}
	return p.class(), nil
}

func prepare(in abi.HTTPRequest) (*prepared, error) {
	p := prepared{raw: in.URL}
	var err error
	if p.target, err = parseTarget(in.URL); err != nil {
		return nil, err
	}
	if p.method, err = methodOf(in); err != nil {
		return nil, err
	}
	if p.header, err = headersOf(in.Headers); err != nil {
		return nil, err
	}
	p.body, err = bodyOf(in, p.method)
	return &p, err
}

func unresolved(c *host.Call, t *target, err error) error {
	e := request.Failed(c, abi.CodeUnavailable, "the address of %s cannot be found", t.host)
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		e.Retryable = dns.IsTemporary || dns.IsTimeout
	}
	return e
}

// lookup is the class of the question that finds out where the target's name leads.
func (p *prepared) lookup() host.Class {
	return host.Class{
		Action: "resolveName", Kind: host.Egress, Recovery: abi.RecoverRead,
		Resource: p.target.entity(), Recipient: []string{p.target.host}, Control: []string{p.target.host}, Data: []string{},
	}
}

func (t *target) entity() policy.Entity {
	return policy.Entity{
		UID:   policy.UID{Type: "NetHost", ID: t.id()},
		Attrs: map[string]any{"host": t.host, "port": int64(t.port), "tls": t.tls},
	}
}

func (p *prepared) class() host.Class {
	t := p.target
	scheme := t.url.Scheme
	class := host.Class{
		Action: "httpSend", Kind: host.Effect | host.Egress, Recovery: abi.RecoverOnce,
		Resource: t.entity(),
		Context: map[string]any{
			"method": p.method, "scheme": scheme, "urlPath": t.url.EscapedPath(), "ip": p.addr,
		},
		Recipient: []string{t.host}, Control: []string{p.raw},
		State: p,
	}
	if len(p.body) == 0 {
		class.Data = []string{}
	}
	switch {
	case reads(p.method):
		class.Action, class.Kind, class.Recovery = "httpGet", host.Observe|host.Egress, abi.RecoverRead
	case p.header.Get("Idempotency-Key") != "":
		class.Recovery = abi.RecoverKeyed
	}
	return class
}
