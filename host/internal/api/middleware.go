package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/vespiary/vespiary/host"
)

// requestID is the form of ids that are taken over from a client or proxy.
var requestID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// begin gives the request its id, its limits of time, and the response the
// headers that all have.
func (s *Server) begin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r, t := c.Request(), s.route(c)
		if t != nil {
			r.Pattern = t.Method + " " + t.Path // names the span and the metric
			trace.SpanFromContext(r.Context()).SetAttributes(attribute.String("http.route", t.Path))
		}
		x := &exchange{id: r.Header.Get("X-Request-Id"), server: s}
		if !requestID.MatchString(x.id) {
			x.id = s.opts.NewID()
		}
		ctx := context.WithValue(r.Context(), exchangeKey{}, x)
		if t == nil || !t.Long {
			limited, cancel := context.WithTimeout(ctx, s.limits.Work)
			defer cancel()
			ctx = limited
		}
		c.SetRequest(r.WithContext(ctx))
		s.deadlines(c)
		harden(c.Response().Header(), x.id)
		return next(c)
	}
}

// deadlines bounds how long the body may take to arrive and the answer to be
// taken. The server lifts the read deadline at the body's end; without a body it
// watches the connection for its end already, and a deadline would be taken for one.
func (s *Server) deadlines(c echo.Context) {
	rc := http.NewResponseController(c.Response())
	_ = rc.SetWriteDeadline(time.Time{}) // that of the request before on this connection
	if hasBody(c.Request()) {
		arrive := s.limits.Arrive
		if t := s.route(c); t == nil || !t.Stream {
			arrive += time.Duration(s.bodyLimit(c)/slowest) * time.Second
		}
		_ = rc.SetReadDeadline(s.opts.Now().Add(arrive))
	}
	c.Response().Before(func() { _ = rc.SetWriteDeadline(s.opts.Now().Add(s.limits.Write)) })
}

// slowest is the rate, in bytes per second, that a large body must have.
const slowest = 1 << 20

func (s *Server) bodyLimit(c echo.Context) int64 {
	if t := s.route(c); t != nil && t.Body > 0 {
		return t.Body
	}
	return s.limits.Body
}

func hasBody(r *http.Request) bool { return r.Body != nil && r.Body != http.NoBody }

// harden sets the headers that keep a browser from doing more with an answer than
// showing it. There are no CORS headers: no page of another origin may read it.
func harden(h http.Header, id string) {
	h.Set("X-Request-Id", id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
}

// logged writes one line per request, without query, headers and bodies: they may
// hold secrets and what users said.
func (s *Server) logged(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		start := s.opts.Now()
		err := next(c)
		if err != nil {
			c.Error(err)
		}
		r := c.Request()
		status := c.Response().Status
		args := []any{
			"request", requestIDOf(r.Context()), "method", r.Method, "path", r.URL.Path, "status", status,
			"bytes", c.Response().Size, "took", s.opts.Now().Sub(start), "remote", r.RemoteAddr,
			"key", Caller(r).Key,
		}
		if err != nil && status >= http.StatusInternalServerError {
			args = append(args, "error", unwrapped(err))
		}
		s.log.Log(r.Context(), level(r.URL.Path, status), "http request", args...)
		return nil
	}
}

// unwrapped tells the cause of an error whose message hides it from clients.
func unwrapped(err error) string {
	if e, ok := errors.AsType[*host.Error](err); ok && e.Cause != nil && !strings.Contains(e.Message, e.Cause.Error()) {
		return e.Message + ": " + e.Cause.Error()
	}
	return err.Error()
}

// probes are what is asked every few seconds.
var probes = []string{"/healthz", "/readyz", "/ping", "/metrics"}

// level keeps probes out of the ordinary log.
func level(path string, status int) slog.Level {
	switch {
	case status >= http.StatusInternalServerError:
		return slog.LevelError
	case slices.Contains(probes, path):
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// recovered turns a panic into an error. When an answer is under way the
// connection is cut instead, so that the client does not take a part for the whole.
func (s *Server) recovered(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so, too
				panic(v)
			}
			s.log.ErrorContext(c.Request().Context(), "panic in a request",
				"request", requestIDOf(c.Request().Context()), "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			if c.Response().Committed {
				panic(http.ErrAbortHandler)
			}
			err = errors.New("panic; see the log")
		}()
		return next(c)
	}
}

// admitted lets in as many requests as there are slots. Open routes need none, so
// that a busy host does not look like a dead one.
func (s *Server) admitted(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		t := s.route(c)
		if t != nil && t.Open {
			return next(c)
		}
		slots := s.quick
		if t != nil && t.Long {
			slots = s.long
		}
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			return next(c)
		default:
			return host.Errorf(host.ErrTooMany, "the host serves %d such requests already; try again soon", cap(slots))
		}
	}
}

// authenticated finds out who calls. What is not a route needs a key as well: a
// stranger learns nothing from trying paths.
func (s *Server) authenticated(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if t := s.route(c); t != nil && t.Open {
			return next(c)
		}
		token, err := token(c.Request().Header)
		if err != nil {
			return err
		}
		ctx := c.Request().Context()
		caller, err := s.opts.Auth.Authenticate(ctx, token)
		if err != nil {
			return err
		}
		caller.Remote = remote(c.Request())
		exchangeOf(ctx).caller = caller
		return next(c)
	}
}

// remote returns the address that the request came from. Headers of proxies do not
// count: anybody can send them.
func remote(r *http.Request) string {
	if addr, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return addr
	}
	return r.RemoteAddr
}

// token returns the API key of a request, from Authorization or X-API-Key.
func token(h http.Header) (string, error) {
	if auth := h.Get("Authorization"); auth != "" {
		scheme, token, _ := strings.Cut(auth, " ")
		if strings.EqualFold(scheme, "Bearer") && token != "" {
			return strings.TrimSpace(token), nil
		}
		return "", host.Errorf(host.ErrUnauthorized, "the Authorization header is not of the form: Bearer TOKEN, with an API key or another token that this host takes")
	}
	if key := h.Get("X-API-Key"); key != "" {
		return key, nil
	}
	return "", host.Errorf(host.ErrUnauthorized, "the request carries no token; send Authorization: Bearer with an API key (vsp_…) or another token that this host takes")
}

// limited holds each key to its rate.
func (s *Server) limited(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if t := s.route(c); t != nil && t.Open {
			return next(c)
		}
		if err := s.rates.take(Caller(c.Request())); err != nil {
			return err
		}
		return next(c)
	}
}

// received reads the body before the route gets the request, so that handlers
// never wait for a slow client.
func (s *Server) received(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if !hasBody(r) {
			return next(c)
		}
		if t := s.route(c); t != nil && t.Stream {
			r.Body = s.streamed(c)
			return next(c)
		}
		body, err := readBody(r, s.bodyLimit(c))
		if err != nil {
			c.Response().Header().Set("Connection", "close") // the rest is not worth reading
			return err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		return next(c)
	}
}
