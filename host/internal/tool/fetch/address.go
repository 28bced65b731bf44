package fetch

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vespiary/vespiary/host/internal/netguard"
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
		if a = netguard.Plain(a); f.allows(t, a) {
			return a, true, nil
		}
	}
	if len(addrs) == 0 {
		return addr, false, fmt.Errorf("%s has no address", t.host)
	}
	return netguard.Plain(addrs[0]), false, nil
}

func (f *Fetcher) allows(t *target, a netip.Addr) bool {
	if netguard.Public(a) {
		return true
	}
	for _, e := range f.exceptions {
		if e.covers(t, a) {
			return true
		}
	}
	return false
}
