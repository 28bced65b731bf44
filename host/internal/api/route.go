package api

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"
)

// Route is one endpoint.
type Route struct {
	Method string
	Path   string // "/v1/sessions/{id}"; a handler reads id with Request.PathValue
	// Serve answers the request, or returns an error and leaves the answer to the
	// server. The body it reads is in memory already, and within the limit.
	Serve func(w http.ResponseWriter, r *http.Request) error
	Open  bool // needs no key
	// Stream leaves a body that is too large for memory to be read by Serve, which
	// returns the body's own errors unchanged. Such a route is Long, too.
	Stream bool
	// Long requests wait for agents: they have no time limit of their own and are
	// counted apart from the others, so that waiting does not block working.
	Long bool
	Body int64 // limit in bytes; 0 means Limits.Body
	// Fail writes a problem in the route's dialect; nil means problem details.
	Fail func(w http.ResponseWriter, p Problem)
}

// key names the route as the router knows it.
func (t *Route) key() string { return t.Method + " " + echoPath(t.Path) }

// echoPath turns {name} into echo's :name.
func echoPath(path string) string {
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}

// register adds the route to the router and gives the handler echo's parameters
// in the form of the standard library.
func (s *Server) register(t *Route) {
	s.routes[t.key()] = t
	s.echo.Add(t.Method, echoPath(t.Path), func(c echo.Context) error {
		r := c.Request()
		for i, name := range c.ParamNames() {
			value := c.ParamValues()[i]
			if r.URL.RawPath != "" { // echo then matched that, and leaves it escaped
				value, _ = url.PathUnescape(value) // the server parsed it
			}
			if value == "" { // of "/v1/sessions/", which echo matches with {id}
				return echo.ErrNotFound
			}
			r.SetPathValue(name, value)
		}
		return t.Serve(c.Response(), r)
	})
}

// route returns the route that a request was matched to, or nil.
func (s *Server) route(c echo.Context) *Route {
	return s.routes[c.Request().Method+" "+c.Path()]
}
