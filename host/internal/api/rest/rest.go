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

// Options join the dialect to the host. Sessions, Agents and Admin are needed.
type Options struct {
	Sessions api.Sessions
	Agents   api.Agents
	Admin    api.Admin
	Durable  api.Durable   // nil: no routes for it
	Backup   api.Backup    // nil: no route for it
	Wait     time.Duration // for a turn, before an invocation is answered with 202; default 10 min
	Module   int64         // limit of a module in bytes; default 64 MiB
	Import   int64         // limit of an imported session in bytes; default 16 GiB
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
	h.Import = cmp.Or(o.Import, 16<<30)
	routes := h.routes()
	if o.Durable != nil {
		routes = append(routes, h.durable()...)
	}
	if o.Backup != nil {
		routes = append(routes, api.Route{Method: post, Path: "/v1/admin/backup", Serve: h.backup, Long: true})
	}
	return routes
}

const get, post = http.MethodGet, http.MethodPost

func (h *handlers) routes() []api.Route {
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

// durable are the routes of what sessions can do because they are on record.
func (h *handlers) durable() []api.Route {
	return []api.Route{
		{Method: post, Path: "/v1/sessions/{id}/signals", Serve: h.signal},
		{Method: get, Path: "/v1/approvals", Serve: h.approvals},
		{Method: get, Path: "/v1/approvals/{id}", Serve: h.approval},
		{Method: post, Path: "/v1/approvals/{id}", Serve: h.answerApproval},
		{Method: get, Path: "/v1/unsettled", Serve: h.unsettled},
		{Method: post, Path: "/v1/sessions/{id}/settlements", Serve: h.settle},
		{Method: post, Path: "/v1/sessions/{id}/fork", Serve: h.fork},
		{Method: post, Path: "/v1/sessions/{id}/revert", Serve: h.revert},
		{Method: post, Path: "/v1/sessions/{id}/replay", Serve: h.replay, Long: true},
		{Method: get, Path: "/v1/sessions/{id}/diff/{other}", Serve: h.diff, Long: true},
		{Method: post, Path: "/v1/sessions/{id}/upgrade", Serve: h.upgrade, Long: true},
		{Method: post, Path: "/v1/sessions/{id}/resume", Serve: h.resume},
		{Method: post, Path: "/v1/sessions/{id}/erase", Serve: h.erase},
		{Method: get, Path: "/v1/sessions/{id}/export", Serve: h.export, Long: true},
		{Method: get, Path: "/v1/sessions/{id}/verify", Serve: h.verify, Long: true},
		{Method: post, Path: "/v1/sessions/import", Serve: h.importSession, Long: true, Stream: true, Body: h.Import},
	}
}

// describe serves the document as it is in the source, so that what is tested is
// what clients get.
func describe(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI)
	return nil
}
