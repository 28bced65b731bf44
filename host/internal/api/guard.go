package api

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/vespiary/vespiary/host"
)

// guarded refuses requests whose Host header is not ours. A page that rebinds its
// own name to 127.0.0.1 would otherwise reach a loopback listener from inside a
// browser, as its own origin.
func (s *Server) guarded(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		name := hostName(r.Host)
		if s.hosts[name] || isLoopbackName(name) || (len(s.hosts) == 0 && !fromLoopback(r)) {
			return next(c)
		}
		return host.Errorf(codeMisdirected, "the host name %q is not served here; add it to the configured hosts if it should be", name)
	}
}

// hostName returns the name in a Host header in lower case, without port, brackets
// and trailing dot.
func hostName(header string) string {
	if name, _, err := net.SplitHostPort(header); err == nil {
		header = name
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(header, "[]"), "."))
}

// hostSet normalises configured names in the way that headers are.
func hostSet(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, n := range names {
		set[hostName(n)] = true
	}
	return set
}

// isLoopbackName knows the names that resolve to loopback everywhere (RFC 6761
// section 6.3) and loopback addresses; other names may resolve to anything.
func isLoopbackName(name string) bool {
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.Unmap().IsLoopback()
}

// fromLoopback reports whether the connection came in over loopback, or is of a
// kind that does not say.
func fromLoopback(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return true
	}
	tcp, ok := addr.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}
