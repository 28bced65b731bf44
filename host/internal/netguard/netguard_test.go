package netguard_test

import (
	"net/netip"
	"testing"

	"github.com/vespiary/vespiary/host/internal/netguard"
)

func TestPublic(t *testing.T) {
	for _, in := range []string{
		"8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "2606:4700::1111%eth0",
		// The neighbours of what is refused.
		"1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.1", "191.255.255.255", "192.0.1.0", "192.0.3.0",
		"192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
		"198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255",
		"64:ff9b:2::", "100:0:0:1::", "2001:200::", "2001:db7:ffff::", "2001:db9::", "2003::", "3fff:1000::", "5eff:ffff::", "5f01::",
	} {
		check(t, in, true)
	}
	for _, in := range []string{
		// This machine and private networks.
		"127.0.0.1", "127.8.9.10", "127.255.255.255", "10.0.0.0", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1",
		"::1", "fc00::1", "fd00:ec2::254", "fdff::",
		// Link-local, multicast, nobody.
		"169.254.169.254", "169.254.170.2", "fe80::1", "fe80::1%eth0", "febf::1", "224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1",
		"0.0.0.0", "::", "255.255.255.255",
		// The special networks, first and last.
		"0.0.0.1", "0.255.255.255", "100.64.0.0", "100.100.100.200", "100.127.255.255", "192.0.0.0", "192.0.0.192", "192.0.0.255",
		"192.0.2.0", "192.0.2.255", "192.88.99.0", "192.88.99.255", "198.18.0.0", "198.19.255.255", "198.51.100.0", "198.51.100.255",
		"203.0.113.0", "203.0.113.255", "240.0.0.0", "255.255.255.254",
		"::2", "::7f00:1", "::127.0.0.1", "::ffff:ffff", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "64:ff9b:1:ffff::",
		"100::", "100::ffff:ffff:ffff:ffff", "2001::", "2001::1", "2001:1ff::", "2001:db8::", "2001:db8:ffff::", "2002::", "2002:7f00:1::",
		"2002:ffff::", "3fff::1", "3fff:fff::", "5f00::1", "5f00:ffff::", "fec0::1", "feff::", "fec0::1%eth0",
		// IPv4 inside IPv6.
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:100.64.0.1", "::ffff:0.0.0.0", "::ffff:192.0.2.1",
		"::ffff:240.0.0.1",
	} {
		check(t, in, false)
	}
	if netguard.Public(netip.Addr{}) {
		t.Error("no address at all is public")
	}
}

func check(t *testing.T, in string, want bool) {
	t.Helper()
	if got := netguard.Public(netip.MustParseAddr(in)); got != want {
		t.Errorf("%s: public is %v, want %v", in, got, want)
	}
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1": "10.0.0.1", "::ffff:10.0.0.1": "10.0.0.1", "::ffff:10.0.0.1%eth0": "10.0.0.1",
		"fe80::1%eth0": "fe80::1", "::1": "::1", "::10.0.0.1": "::a00:1",
	} {
		if got := netguard.Plain(netip.MustParseAddr(in)); got.String() != want {
			t.Errorf("%s becomes %s, want %s", in, got, want)
		}
	}
}
