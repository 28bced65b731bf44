package fetch

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestTarget(t *testing.T) {
	for _, test := range []struct{ in, id, url string }{
		{"https://example.com", "example.com:443", "https://example.com:443/"},
		{"HTTP://EXAMPLE.com.:8080/a?q=%20b#frag", "example.com:8080", "http://example.com:8080/a?q=%20b"},
		{"http://localhost/", "localhost:80", "http://localhost:80/"},
		{"https://bücher.example/ä", "xn--bcher-kva.example:443", "https://xn--bcher-kva.example:443/%C3%A4"},
		{"http://faß.de/", "xn--fa-hia.de:80", "http://xn--fa-hia.de:80/"},
		{"http://my_host.internal/", "my_host.internal:80", "http://my_host.internal:80/"},
		// Odd spellings of addresses.
		{"http://127.0.0.1/", "127.0.0.1:80", "http://127.0.0.1:80/"},
		{"http://0x7f.1/", "127.0.0.1:80", "http://127.0.0.1:80/"},
		{"http://2130706433/", "127.0.0.1:80", "http://127.0.0.1:80/"},
		{"http://017700000001/", "127.0.0.1:80", "http://127.0.0.1:80/"},
		{"http://127.1/", "127.0.0.1:80", "http://127.0.0.1:80/"},
		{"http://0/", "0.0.0.0:80", "http://0.0.0.0:80/"},
		{"http://0x/", "0.0.0.0:80", "http://0.0.0.0:80/"},
		{"http://0xA9FEA9FE/latest", "169.254.169.254:80", "http://169.254.169.254:80/latest"},
		{"http://169.254.43518/", "169.254.169.254:80", "http://169.254.169.254:80/"},
		{"http://１２７.０.０.１/", "127.0.0.1:80", "http://127.0.0.1:80/"},
		{"http://127。0。0。1/", "127.0.0.1:80", "http://127.0.0.1:80/"},
		{"http://127.0.0.1./", "127.0.0.1:80", "http://127.0.0.1:80/"},
		{"http://[::1]:81/", "[::1]:81", "http://[::1]:81/"},
		{"http://[0:0:0::1]/", "[::1]:80", "http://[::1]:80/"},
		{"http://[::ffff:127.0.0.1]/", "127.0.0.1:80", "http://127.0.0.1:80/"},
		{"http://[::ffff:7f00:1]/", "127.0.0.1:80", "http://127.0.0.1:80/"},
		// Paths.
		{"http://a.example/%61dmin%2fb%3a?%61", "a.example:80", "http://a.example:80/admin%2Fb%3A?%61"},
		{"http://a.example/a..b/...", "a.example:80", "http://a.example:80/a..b/..."},
		{"http://a.example//x", "a.example:80", "http://a.example:80//x"},
	} {
		got, err := parseTarget(test.in)
		if err != nil {
			t.Errorf("%s: %v", test.in, err)
			continue
		}
		if got.id() != test.id || got.url.String() != test.url {
			t.Errorf("%s: got %s and %s, want %s and %s", test.in, got.id(), got.url, test.id, test.url)
		}
	}
}

func TestTargetRefused(t *testing.T) {
	for _, in := range []string{
		"", "example.com", "//example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://x/", "http:example.com", "http:///x",
		"http://user@example.com/", "http://user:pass@example.com/", "http://@example.com/",
		"http://example.com:0/", "http://example.com:65536/", "http://example.com:x/",
		"http://256.1.1.1/", "http://1.2.3.4.5/", "http://0x100000000/", "http://1.2.3.4x.5/", "http://09/", "http://a.0x/../",
		"http://[::1%25eth0]/", "http://[fe80::1%25en0]/", "http://[::1", "http://[1.2.3.4]/",
		"http://exa mple.com/", "http://ex\x00ample.com/", "http://a..b/", "http://.a/", "http://-/", "http://a-.example/", "http://%31%32%37.0.0.1/",
		"http://" + strings.Repeat("a", 64) + ".example/", "http://" + strings.Repeat("a.", 127) + "example/",
		"http://a.example/../x", "http://a.example/./x", "http://a.example/%2e%2E/x", "http://a.example/a/..", "http://a.example/a/..%2fx",
		"http://a.example/a\\..\\x", "http://a.example/..;/admin", "http://a.example/%zz", "http://a.example/a%", "http://a.example/a?b c",
		"http://a.example/" + strings.Repeat("a", maxURL),
	} {
		if got, err := parseTarget(in); err == nil {
			t.Errorf("%q is accepted as %s", in, got.url)
		}
	}
}

// FuzzTarget checks what policy relies on: that the URL which is sent leads to the
// host that policy saw, and that there is nothing left to spell differently.
func FuzzTarget(f *testing.F) {
	for _, seed := range []string{
		"http://0x7f.1/a", "https://user@h:1/", "http://[::ffff:1.2.3.4]:80/%2e", "http://bücher.example/ä?x#y", "http://a.example/%61/..;/b\\c",
		"http://１２７.1/", "http://xn--bcher-kva.example/", "HTTP://A.:080/",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := parseTarget(in)
		if err != nil {
			return
		}
		sent, err := url.Parse(got.url.String())
		if err != nil {
			t.Fatalf("%q: the URL that is sent cannot be read: %v", in, err)
		}
		if sent.Hostname() != got.host || sent.User != nil || sent.EscapedPath() != got.url.EscapedPath() {
			t.Errorf("%q: sent to %s, decided about %s%s", in, sent, got.host, got.url.EscapedPath())
		}
		if a, err := netip.ParseAddr(got.host); (err == nil) != got.addr.IsValid() || err == nil && (a != got.addr || a.Is4In6() || a.Zone() != "") {
			t.Errorf("%q: host %s, address %s", in, got.host, got.addr)
		}
		again, err := parseTarget(got.url.String())
		if err != nil || again.url.String() != got.url.String() || again.id() != got.id() {
			t.Errorf("%q: %s is read as %v, %v", in, got.url, again, err)
		}
		for segment := range strings.SplitSeq(sent.Path, "/") {
			if segment == "." || segment == ".." {
				t.Errorf("%q: the path %s climbs", in, sent.Path)
			}
		}
	})
}

func TestExceptions(t *testing.T) {
	at := func(raw string) *target {
		got, err := parseTarget(raw)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, test := range []struct {
		entry, url, addr string
		want             bool
	}{
		{"*", "http://x.example/", "127.0.0.1", true},
		{"*", "http://x.example/", "10.1.2.3", true},
		{"*", "http://x.example/", "169.254.169.254", false},
		{"*", "http://x.example/", "100.100.100.200", false},
		{"10.1.0.0/16", "http://x.example/", "10.1.2.3", true},
		{"10.1.0.0/16", "http://x.example/", "10.2.2.3", false},
		{"169.254.169.254", "http://169.254.169.254/", "169.254.169.254", true},
		{"localhost:8080", "http://localhost:8080/", "127.0.0.1", true},
		{"localhost:8080", "http://localhost:8081/", "127.0.0.1", false},
		{"localhost", "http://localhost:8081/", "127.0.0.1", true},
		{"LOCALHOST", "http://localhost:8081/", "127.0.0.1", true},
		{"localhost:8080", "http://evil.example:8080/", "127.0.0.1", false},
		{"[::1]:8080", "http://[::1]:8080/", "::1", true},
		{"::1", "http://[::1]:8080/", "::1", true},
		{"127.0.0.1:8080", "http://0x7f.1:8080/", "127.0.0.1", true},
	} {
		f, err := New(Options{AllowPrivate: []string{test.entry}})
		if err != nil {
			t.Errorf("%s: %v", test.entry, err)
			continue
		}
		if got := f.allows(at(test.url), netip.MustParseAddr(test.addr)); got != test.want {
			t.Errorf("%s for %s at %s: %v, want %v", test.entry, test.url, test.addr, got, test.want)
		}
	}
	for _, entry := range []string{"", "10.0.0.0/33", "a b", "host:99999", "host:http"} {
		if _, err := New(Options{AllowPrivate: []string{entry}}); err == nil {
			t.Errorf("exception %q is accepted", entry)
		}
	}
}
