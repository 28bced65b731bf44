package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/vespiary/vespiary/host"
)

// Options configure a Server. Auth and Now are needed.
type Options struct {
	Routes []Route // of all dialects
	Auth   Authenticator
	Now    func() time.Time
	Ready  func(ctx context.Context) error // nil: always; its error is shown on /readyz
	// Busy returns how many turns run, and since when there are none, or some; a zero
	// time leaves the server to notice that itself. Nil: none ever.
	Busy        func() (turns int, since time.Time)
	Metrics     http.Handler // nil: no /metrics
	MetricsOpen bool         // /metrics without a key
	// MayMeasure tells whether a caller may have /metrics where they are not open; nil:
	// everybody with a key.
	MayMeasure func(ctx context.Context, c host.Caller) error
	// Hosts are names that the Host header may hold besides those of loopback. On a
	// connection from elsewhere an empty list allows every name.
	Hosts  []string
	Limits Limits
	TLS    TLS
	Log    *slog.Logger         // nil: none
	Traces trace.TracerProvider // nil: OpenTelemetry's global one
	Meters metric.MeterProvider // nil: OpenTelemetry's global one
	NewID  func() string        // of requests; nil: 130 random bits
}

// Server answers HTTP. It serves once: a stopped server stays stopped.
type Server struct {
	opts     Options
	limits   Limits
	log      *slog.Logger
	echo     *echo.Echo
	routes   map[string]*Route
	hosts    map[string]bool
	quick    chan struct{} // slots of requests
	long     chan struct{} // slots of Long requests
	rates    *rates
	pulse    *pulse
	cert     *certificate       // nil without TLS
	drain    context.CancelFunc // begins the stop
	onDrain  func(f func()) (release func() bool)
	stopping func() bool
	handler  http.Handler
}

// New makes a server. It fails when an option is missing or the TLS files do not
// load.
func New(o Options) (*Server, error) {
	if o.Auth == nil || o.Now == nil {
		return nil, errors.New("api: Options.Auth and Options.Now are needed; there is no anonymous access")
	}
	s := newServer(o)
	var err error
	if s.cert, err = loadCertificate(o.TLS, o.Now, s.log); err != nil {
		return nil, err
	}
	for _, t := range append(s.own(), o.Routes...) {
		if s.routes[t.key()] != nil {
			return nil, fmt.Errorf("api: the route %s is declared twice", t.key())
		}
		s.register(&t)
	}
	s.handler = otelhttp.NewHandler(s.echo, "http",
		otelhttp.WithTracerProvider(o.Traces), otelhttp.WithMeterProvider(o.Meters),
		otelhttp.WithPropagators(propagation.TraceContext{}))
	return s, nil
}

func newServer(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.NewID == nil {
		o.NewID = rand.Text
	}
	l := o.Limits.withDefaults()
	drain, stop := context.WithCancel(context.Background())
	s := &Server{
		opts:     o,
		limits:   l,
		log:      o.Log,
		echo:     echo.New(),
		routes:   map[string]*Route{},
		hosts:    hostSet(o.Hosts),
		quick:    make(chan struct{}, l.Requests),
		long:     make(chan struct{}, l.Long),
		rates:    newRates(l, o.Now),
		pulse:    &pulse{status: pingIdle, since: o.Now()},
		onDrain:  func(f func()) func() bool { return context.AfterFunc(drain, f) },
		drain:    stop,
		stopping: func() bool { return drain.Err() != nil },
	}
	s.echo.HTTPErrorHandler = s.fail
	s.echo.Use(s.begin, s.logged, s.recovered, s.guarded, s.admitted, s.authenticated, s.limited, s.received)
	return s
}

// Handler returns the server's handler, for tests and for servers of another kind.
func (s *Server) Handler() http.Handler { return s.handler }

// Serve answers on ln until ctx ends, then stops gracefully: it closes ln, ends
// streams and waits, answers them, and waits for other requests up to
// Limits.Grace. It returns nil after that, and an error when the listener fails
// or requests had to be cut off.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	srv := s.server(base)
	failed := make(chan error, 1)
	go func() { failed <- s.listen(srv, ln) }()
	select {
	case err := <-failed:
		s.drain()
		return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	s.drain()
	grace, cancel := context.WithTimeout(base, s.limits.Grace)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		return errors.Join(fmt.Errorf("stop: requests were cut off after %s: %w", s.limits.Grace, err), srv.Close())
	}
	return nil
}

// listen serves with TLS where it is configured.
func (s *Server) listen(srv *http.Server, ln net.Listener) error {
	if s.cert == nil {
		return srv.Serve(ln)
	}
	srv.TLSConfig = s.cert.config()
	return srv.ServeTLS(ln, "", "")
}

// server has no ReadTimeout and WriteTimeout: both would end long streams. The
// deadlines of each request are set in begin and Stream instead.
func (s *Server) server(base context.Context) *http.Server {
	return &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: s.limits.Arrive,
		IdleTimeout:       s.limits.Idle,
		// "OPTIONS *" is for the handler, which asks for a key.
		DisableGeneralOptionsHandler: true,
		MaxHeaderBytes:               s.limits.Header,
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:                  func(net.Listener) context.Context { return base },
	}
}

// own returns the routes that belong to no dialect.
func (s *Server) own() []Route {
	routes := []Route{
		{Method: http.MethodGet, Path: "/healthz", Open: true, Serve: healthy},
		{Method: http.MethodGet, Path: "/readyz", Open: true, Serve: s.ready},
		{Method: http.MethodGet, Path: "/ping", Open: true, Serve: s.ping},
	}
	if s.opts.Metrics != nil {
		routes = append(routes, Route{
			Method: http.MethodGet, Path: "/metrics", Open: s.opts.MetricsOpen,
			Serve: s.metrics,
		})
	}
	return routes
}

// metrics shows the host's metrics.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) error {
	if !s.opts.MetricsOpen && s.opts.MayMeasure != nil {
		if err := s.opts.MayMeasure(r.Context(), Caller(r)); err != nil {
			return err
		}
	}
	s.opts.Metrics.ServeHTTP(w, r)
	return nil
}

// health is the answer of both probes; a status other than 200 says the opposite.
type health struct {
	Status string `json:"status"`
}

// healthy says that the process answers, and nothing about what it depends on.
func healthy(w http.ResponseWriter, _ *http.Request) error {
	return WriteJSON(w, http.StatusOK, health{"ok"})
}

// ready says whether new work is welcome.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) error {
	if err := s.refusing(r.Context()); err != nil {
		return err
	}
	return WriteJSON(w, http.StatusOK, health{"ok"})
}

// refusing returns why new work is not welcome, nil when it is.
func (s *Server) refusing(ctx context.Context) error {
	if s.stopping() {
		return host.Errorf(host.ErrUnavailable, "the host is stopping; use another or wait until it is back")
	}
	if s.opts.Ready == nil {
		return nil
	}
	if err := s.opts.Ready(ctx); err != nil {
		return host.Errorf(host.ErrUnavailable, "the host is not ready: %w", err)
	}
	return nil
}
