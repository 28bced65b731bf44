// Package rest is the host's own HTTP dialect: agents, sessions, turns, journals
// and what the CLI needs, in JSON and server-sent events. openapi.json describes
// it, and a test holds the two together.
package rest

import (
	"cmp"
	_ "embed"
	"net/http"
	"time"

	"github.com/vespiary/vespiary/host/internal/api"
)

//go:embed openapi.json
var openAPI []byte

// Options join the dialect to the host. The interfaces are needed.
type Options struct {
	Sessions api.Sessions
	Agents   api.Agents
	Admin    api.Admin
	Wait     time.Duration // for a turn, before an invocation is answered with 202; default 10 min
	Module   int64         // limit of a module in bytes; default 64 MiB
}

// handlers has a method for each route.
type handlers struct {
	Options
}

// Routes returns the dialect's routes.
func Routes(o Options) []api.Route {
	h := &handlers{o}
	h.Wait = cmp.Or(o.Wait, 10*time.Minute)
	h.Module = cmp.Or(o.Module, 64<<20)
	const get, post = http.MethodGet, http.MethodPost
	return []api.Route{
		{Method: post, Path: "/v1/agents/{agent}/invocations", Serve: h.invoke, Long: true},
		{Method: get, Path: "/v1/agents", Serve: h.agents},
		{Method: get, Path: "/v1/sessions", Serve: h.sessions},
		{Method: get, Path: "/v1/sessions/{id}", Serve: h.session},
		{Method: get, Path: "/v1/sessions/{id}/events", Serve: h.events, Long: true},
		{Method: get, Path: "/v1/sessions/{id}/journal", Serve: h.journal},
		{Method: get, Path: "/v1/sessions/{id}/turns/{n}", Serve: h.turn, Long: true},
		{Method: post, Path: "/v1/sessions/{id}/cancel", Serve: h.cancel},
		{Method: post, Path: "/v1/modules", Serve: h.install, Body: h.Module, Long: true},
		{Method: get, Path: "/v1/decisions", Serve: h.decisions},
		{Method: post, Path: "/v1/reload", Serve: h.reload},
		{Method: get, Path: "/openapi.json", Serve: describe, Open: true},
	}
}

// describe serves the document as it is in the source, so that what is tested is
// what clients get.
func describe(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI)
	return nil
}
