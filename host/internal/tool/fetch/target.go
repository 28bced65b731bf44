package fetch

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// target is where a URL leads, in one spelling.
type target struct {
	url  *url.URL
	host string     // lower-case ASCII without brackets
	addr netip.Addr // when the host is an address
	port uint16
	tls  bool
}

// id names the target to people and policies.
func (t *target) id() string { return net.JoinHostPort(t.host, strconv.Itoa(int(t.port))) }

const maxURL = 8 << 10 // bytes

// parseTarget reads a URL and undoes what gives one place several spellings.
func parseTarget(raw string) (*target, error) {
	if len(raw) > maxURL {
		return nil, fmt.Errorf("the URL is over %d bytes", maxURL)
	}
	u, err := url.Parse(raw)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // it repeats the URL
		}
		return nil, fmt.Errorf("the URL cannot be read: %w", err)
	}
	t := &target{tls: strings.EqualFold(u.Scheme, "https")}
	switch {
	case !t.tls && !strings.EqualFold(u.Scheme, "http"):
		return nil, errors.New("the URL must begin with https:// or http://")
	case u.User != nil:
		return nil, errors.New("the URL must not hold a user name or password; the host adds credentials")
	case u.Opaque != "" || u.Host == "":
		return nil, errors.New("the URL names no host")
	}
	if t.host, t.addr, err = canonicalHost(u.Hostname()); err != nil {
		return nil, err
	}
	if t.port, err = portOf(u, t.tls); err != nil {
		return nil, err
	}
	t.url, err = t.canonicalURL(u)
	return t, err
}

func portOf(u *url.URL, tls bool) (uint16, error) {
	text := u.Port()
	switch {
	case text == "" && tls:
		return 443, nil
	case text == "":
		return 80, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("the URL's port %q is not a number between 1 and 65535", text)
	}
	return uint16(n), nil
}

// canonicalURL is the URL that is sent.
func (t *target) canonicalURL(u *url.URL) (*url.URL, error) {
	path, err := canonicalPath(u.EscapedPath())
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if t.tls {
		scheme = "https"
	}
	decoded, err := url.PathUnescape(path)
	if err != nil {
		return nil, fmt.Errorf("the URL's path cannot be read: %w", err)
	}
	out := &url.URL{Scheme: scheme, Host: t.id(), Path: decoded, RawPath: path, RawQuery: u.RawQuery}
	if out.EscapedPath() != path {
		return nil, errors.New("the URL's path holds characters that must be written with %")
	}
	if strings.ContainsFunc(u.RawQuery, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, errors.New("the URL's query holds characters that must be written with %")
	}
	return out, nil
}

// canonicalPath undoes escapes that say nothing (RFC 3986, section 6.2.2). It refuses
// the segments . and .. however they are spelt: servers differ in what they make of
// them, so that policy could not know which path it decides about.
func canonicalPath(escaped string) (string, error) {
	if escaped == "" {
		return "/", nil
	}
	if escaped[0] != '/' {
		return "", errors.New("the URL's path must begin with /")
	}
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		if escaped[i] != '%' {
			b.WriteByte(escaped[i])
			continue
		}
		n, err := strconv.ParseUint(escaped[i+1:min(i+3, len(escaped))], 16, 8)
		if err != nil || i+2 >= len(escaped) {
			return "", errors.New("the URL's path holds a % that begins no escape")
		}
		if c := byte(n); isUnreserved(c) {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + strings.ToUpper(escaped[i+1:i+3]))
		}
		i += 2
	}
	path := b.String()
	for _, segment := range separator.Split(path, -1) {
		if segment == "." || segment == ".." {
			return "", errors.New("the URL's path must not hold dot segments, such as /../, in any spelling")
		}
	}
	return path, nil
}

// separator is all that a server may take for the end of a path's segment.
var separator = regexp.MustCompile(`/|\\|;|%2F|%5C|%3B`)

func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// canonicalHost returns the one spelling of a host, and its address when it is one.
func canonicalHost(name string) (string, netip.Addr, error) {
	if strings.ContainsAny(name, ":%") {
		a, err := netip.ParseAddr(name)
		if err != nil || a.Zone() != "" {
			return "", netip.Addr{}, fmt.Errorf("the URL's host %.80q is not an address", name)
		}
		return a.Unmap().String(), a.Unmap(), nil
	}
	ascii, err := asciiHost(name)
	if err != nil {
		return "", netip.Addr{}, err
	}
	if !endsInNumber(ascii) {
		return ascii, netip.Addr{}, nil
	}
	a, ok := parseIPv4(ascii)
	if !ok {
		return "", netip.Addr{}, fmt.Errorf("the URL's host %.80q is neither a name nor an address", name)
	}
	return a.String(), a, nil
}

var (
	hostForm = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$`)
	lookup   = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckJoiners(true), idna.StrictDomainName(false), idna.Transitional(false))
)

const maxHost = 253 // bytes of a name in the DNS

// asciiHost maps a name to what the DNS is asked for (RFC 5891, UTS 46).
func asciiHost(name string) (string, error) {
	ascii, err := lookup.ToASCII(name)
	if err != nil {
		return "", fmt.Errorf("the URL's host %.80q is not a valid name", name)
	}
	ascii = strings.TrimSuffix(strings.ToLower(ascii), ".")
	again, err := lookup.ToASCII(ascii) // a name that others would refuse
	if err != nil || again != ascii || len(ascii) > maxHost || !hostForm.MatchString(ascii) {
		return "", fmt.Errorf("the URL's host %.80q is not a valid name", name)
	}
	return ascii, nil
}

// endsInNumber reports whether a host must be an IPv4 address: its last part is a
// number. Resolvers of operating systems read all of these as addresses.
func endsInNumber(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	if _, ok := parseNumber(last); ok {
		return true
	}
	return strings.Trim(last, "0123456789") == ""
}

// parseIPv4 reads an address of one to four parts, each decimal, octal with a leading
// 0 or hexadecimal with a leading 0x, the last part filling the bytes that remain. It
// is the reading of inet_aton(3) and of the WHATWG URL standard.
func parseIPv4(host string) (netip.Addr, bool) {
	parts := strings.Split(host, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var out uint64
	for i, part := range parts {
		n, ok := parseNumber(part)
		limit := uint64(1) << 8
		if i == len(parts)-1 {
			limit = 1 << (8 * (5 - len(parts)))
		}
		if !ok || n >= limit {
			return netip.Addr{}, false
		}
		if i < len(parts)-1 {
			n <<= 8 * (3 - i)
		}
		out |= n
	}
	return netip.AddrFrom4([4]byte{byte(out >> 24), byte(out >> 16), byte(out >> 8), byte(out)}), true
}

func parseNumber(s string) (uint64, bool) {
	base := 10
	switch {
	case s == "":
		return 0, false
	case len(s) >= 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X'):
		s, base = s[2:], 16
		if s == "" {
			return 0, true
		}
	case len(s) >= 2 && s[0] == '0':
		s, base = s[1:], 8
	}
	n, err := strconv.ParseUint(s, base, 33)
	return n, err == nil
}
