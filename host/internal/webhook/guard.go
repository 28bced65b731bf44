package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/vespiary/vespiary/host/internal/netguard"
)

// Resolver finds the addresses of names. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

const dialTime = 5 * time.Second // for each address of a name

// guard dials for one endpoint, and only what the endpoint may reach.
type guard struct {
	resolver Resolver
	private  bool // the endpoint is declared private
	plain    bool // without TLS
}

// dial implements the DialContext of http.Transport. What is dialled is the address
// that was checked: a name is not looked up again, so that it cannot mean one thing to
// the check and another to the connection.
func (g *guard) dial(ctx context.Context, _, hostport string) (net.Conn, error) {
	name, text, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, err
	}
	addrs, err := g.resolve(ctx, name)
	if err != nil {
		return nil, err
	}
	var failed []error
	dialer := &net.Dialer{Timeout: dialTime}
	for _, a := range addrs {
		conn, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(a, uint16(port)).String())
		if err == nil {
			return conn, nil
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

// resolve returns the addresses of a host that may be dialled, at least one.
func (g *guard) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	literal := true
	a, err := netip.ParseAddr(host)
	addrs := []netip.Addr{a}
	if err != nil {
		literal = false
		if addrs, err = g.resolver.LookupNetIP(ctx, "ip", host); err != nil {
			return nil, err
		}
	}
	var out []netip.Addr
	var refused error
	for _, a := range addrs {
		a = netguard.Plain(a)
		if err := g.check(a, literal); err != nil {
			refused = err
			continue
		}
		out = append(out, a)
	}
	switch {
	case len(out) > 0:
		return out, nil
	case refused != nil:
		return nil, refused
	}
	return nil, fmt.Errorf("%s has no address", host)
}

// check tells why an address must not be dialled. Literal means that the URL holds it.
func (g *guard) check(a netip.Addr, literal bool) error {
	switch public := netguard.Public(a); {
	case public && g.plain:
		return fmt.Errorf("%s is a public address; http would send the notice in the clear: use https", a)
	case public || g.private && isLocal(a, literal):
		return nil
	case !g.private:
		return fmt.Errorf("%s is not a public address; set private for an endpoint on this machine or a private network", a)
	case a.IsLinkLocalUnicast():
		return fmt.Errorf("%s is link-local, where clouds keep their metadata and keys; write the address itself into the URL if it is meant", a)
	}
	return fmt.Errorf("%s is neither a public address nor one of a private network", a)
}

// shared is the space of carriers (RFC 6598), which overlay networks use as well.
var shared = netip.MustParsePrefix("100.64.0.0/10")

// isLocal reports whether a private endpoint may be at an address that is not public.
func isLocal(a netip.Addr, literal bool) bool {
	return a.IsLoopback() || a.IsPrivate() || shared.Contains(a) || literal && a.IsLinkLocalUnicast()
}
