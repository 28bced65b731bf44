package fetch

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Resolver finds the addresses of names. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// exception is an entry of Options.AllowPrivate.
type exception struct {
	all    bool // private networks and this machine, not link-local
	host   string
	port   uint16 // 0: any
	prefix netip.Prefix
}

func parseExceptions(entries []string) ([]exception, error) {
	var out []exception
	for _, text := range entries {
		e, err := parseException(text)
		if err != nil {
			return nil, fmt.Errorf("http_fetch: allowed private address %q: %w; use host:port, a host, a network such as 10.1.0.0/16, or *", text, err)
		}
		out = append(out, e)
	}
	return out, nil
}

func parseException(text string) (exception, error) {
	if text == "*" {
		return exception{all: true}, nil
	}
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		return exception{prefix: p.Masked()}, err
	}
	e, name := exception{}, text
	if host, port, err := net.SplitHostPort(text); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return e, err
		}
		name, e.port = host, uint16(n)
	}
	host, _, err := canonicalHost(strings.Trim(name, "[]"))
	e.host = host
	return e, err
}

// covers reports whether the exception allows the target at an address that is not
// public.
func (e exception) covers(t *target, a netip.Addr) bool {
	switch {
	case e.all:
		return a.IsLoopback() || a.IsPrivate()
	case e.prefix.IsValid():
		return e.prefix.Contains(a)
	}
	return e.host == t.host && (e.port == 0 || e.port == t.port)
}

// notPublic are the networks that the address classes of netip leave out, from IANA's
// special-purpose registries. Those that carry an IPv4 address inside an IPv6 one are
// among them, because what answers there is another address than the one that is seen.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // this network
	netip.MustParsePrefix("100.64.0.0/10"),   // shared by carriers; some clouds' metadata
	netip.MustParsePrefix("192.0.0.0/24"),    // protocol assignments
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation
	netip.MustParsePrefix("192.88.99.0/24"),  // 6to4 relays
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"), // documentation
	netip.MustParsePrefix("203.0.113.0/24"),  // documentation
	netip.MustParsePrefix("240.0.0.0/4"),     // reserved, with the broadcast address
	netip.MustParsePrefix("::/96"),           // IPv4-compatible
	netip.MustParsePrefix("64:ff9b::/96"),    // NAT64
	netip.MustParsePrefix("64:ff9b:1::/48"),  // NAT64, local
	netip.MustParsePrefix("100::/64"),        // discard
	netip.MustParsePrefix("2001::/23"),       // protocol assignments, with Teredo
	netip.MustParsePrefix("2001:db8::/32"),   // documentation
	netip.MustParsePrefix("2002::/16"),       // 6to4
	netip.MustParsePrefix("3fff::/20"),       // documentation
	netip.MustParsePrefix("5f00::/16"),       // segment routing
	netip.MustParsePrefix("fec0::/10"),       // site-local
}

func isPublic(a netip.Addr) bool {
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range notPublic {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// resolve returns the address that a target would be dialled at: the first one that
// the ceiling allows, or the first one and false.
func (f *Fetcher) resolve(ctx context.Context, t *target) (addr netip.Addr, allowed bool, err error) {
	addrs := []netip.Addr{t.addr}
	if !t.addr.IsValid() {
		if addrs, err = f.opt.Resolver.LookupNetIP(ctx, "ip", t.host); err != nil {
			return addr, false, err
		}
	}
	for _, a := range addrs {
		if a = a.Unmap().WithZone(""); f.allows(t, a) {
			return a, true, nil
		}
	}
	if len(addrs) == 0 {
		return addr, false, fmt.Errorf("%s has no address", t.host)
	}
	return addrs[0].Unmap().WithZone(""), false, nil
}

func (f *Fetcher) allows(t *target, a netip.Addr) bool {
	if isPublic(a) {
		return true
	}
	for _, e := range f.exceptions {
		if e.covers(t, a) {
			return true
		}
	}
	return false
}
