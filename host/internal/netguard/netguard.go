// Package netguard tells the addresses of the internet from those of this machine, of
// private networks and of their infrastructure. Whatever dials for others asks it about
// the address itself, after a name was resolved and before the connection is made.
package netguard

import "net/netip"

// special are the networks that the address classes of netip leave out, from IANA's
// special-purpose registries. Those that carry an IPv4 address inside an IPv6 one are
// among them, because what answers there is another address than the one that is seen.
var special = []netip.Prefix{
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

// Plain returns the one spelling of an address that is compared and dialled: an IPv4
// address that is written as an IPv6 one (RFC 4291, section 2.5.5.2) becomes IPv4, and a
// zone is dropped, since no prefix contains an address with one.
func Plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// Public reports whether an address, in any spelling, is one of the internet. The zero
// Addr is none.
func Public(a netip.Addr) bool {
	a = Plain(a)
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}
