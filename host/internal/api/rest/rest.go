// Package rest is the host's own HTTP dialect: agents, sessions, turns, journals
// and what the CLI needs, in JSON and server-sent events. openapi.json describes
// it, and a test holds the two together.
package rest

import (
	"cmp"
	_ "embed"
	"net/http"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

//go:embed openapi.json
var openAPI []byte

// Options join the dialect to the host. Sessions, Agents, Admin and Now are needed; what
// else is nil has no routes.
type Options struct {
	Sessions   api.Sessions
	Agents     api.Agents
	Admin      api.Admin
	Durable    api.Durable
	Backup     api.Backup
	Tasks      api.Tasks
	Delegation api.Delegation
	Keys       api.Keys
	Policies   api.Policies
	Audit      api.Audit
	Now        func() time.Time
	Wait       time.Duration // for a turn, before an invocation is answered with 202; default 10 min
	Module     int64         // limit of a module in bytes; default 64 MiB
	Import     int64         // limit of an imported session in bytes; default 16 GiB
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
	for _, part := range []struct {
		there  bool
		routes []api.Route
	}{
		{o.Durable != nil, h.durable()},
		{o.Backup != nil, []api.Route{{Method: post, Path: "/v1/admin/backup", Serve: h.backup, Long: true}}},
		{o.Tasks != nil, h.ofTasks()},
		{o.Delegation != nil, h.ofDelegation()},
		{o.Keys != nil, h.ofKeys()},
		{o.Policies != nil, h.ofPolicies()},
		{o.Audit != nil, h.ofAudit()},
	} {
		if part.there {
			routes = append(routes, part.routes...)
		}
	}
	return routes
}

const get, post, put, remove = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete

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

// ofTasks are the routes of units of authority, and of the calls of programs elsewhere.
func (h *handlers) ofTasks() []api.Route {
	return []api.Route{
		{Method: post, Path: "/v1/tasks", Serve: h.openTask},
		{Method: get, Path: "/v1/tasks", Serve: h.tasks},
		{Method: get, Path: "/v1/tasks/{id}", Serve: h.task},
		{Method: remove, Path: "/v1/tasks/{id}", Serve: h.cancelTask},
		{Method: post, Path: "/v1/tasks/{id}/end", Serve: h.endTask},
		{Method: post, Path: "/v1/tasks/{id}/calls", Serve: h.callTask, Long: true, Body: callLimit},
		{Method: get, Path: "/v1/tasks/{id}/tools", Serve: h.taskTools, Long: true},
	}
}

// callLimit is the size of a call's body: what a journal holds, and what surrounds it.
const callLimit = host.MaxPayload + 64<<10

// ofDelegation are the routes of tokens for agents elsewhere.
func (h *handlers) ofDelegation() []api.Route {
	return []api.Route{
		{Method: post, Path: "/v1/tasks/{id}/tokens", Serve: h.delegateTask},
		{Method: get, Path: "/.well-known/jwks.json", Serve: h.keySet, Open: true},
	}
}

// ofKeys are the routes of API keys.
func (h *handlers) ofKeys() []api.Route {
	return []api.Route{
		{Method: get, Path: "/v1/keys", Serve: h.keys},
		{Method: post, Path: "/v1/keys", Serve: h.createKey},
		{Method: remove, Path: "/v1/keys/{id}", Serve: h.revokeKey},
	}
}

// ofPolicies are the routes of policies: as they are, as they might be, and why.
func (h *handlers) ofPolicies() []api.Route {
	return []api.Route{
		{Method: get, Path: "/v1/policies", Serve: h.policies},
		{Method: put, Path: "/v1/policies", Serve: h.replacePolicies, Body: policiesLimit},
		{Method: put, Path: "/v1/policies/{file}", Serve: h.writePolicy, Body: policiesLimit},
		{Method: remove, Path: "/v1/policies/{file}", Serve: h.removePolicy},
		{Method: get, Path: "/v1/policies/sets/{digest}", Serve: h.policySet},
		{Method: get, Path: "/v1/policies/schema", Serve: h.policySchema},
		{Method: post, Path: "/v1/policies/check", Serve: h.checkPolicies, Body: policiesLimit},
		{Method: post, Path: "/v1/policies/simulate", Serve: h.simulatePolicies, Body: policiesLimit, Long: true},
		{Method: get, Path: "/v1/decisions/{id}/explain", Serve: h.explainDecision},
		{Method: get, Path: "/v1/agents/{agent}/reach", Serve: h.reach},
		{Method: get, Path: "/v1/agents/{agent}/suggestion", Serve: h.suggestion, Long: true},
	}
}

// policiesLimit is the size of a body with policies, in bytes.
const policiesLimit = 16 << 20

// ofAudit are the routes of the records of what was asked, decided and done.
func (h *handlers) ofAudit() []api.Route {
	return []api.Route{
		{Method: get, Path: "/v1/audit", Serve: h.searchAudit},
		{Method: get, Path: "/v1/audit/{id}", Serve: h.auditRecord},
		{Method: get, Path: "/v1/audit/tail", Serve: h.tailAudit, Long: true},
		{Method: get, Path: "/v1/audit/export", Serve: h.exportAudit, Long: true},
		{Method: get, Path: "/v1/audit/checkpoint", Serve: h.auditCheckpoint},
		{Method: get, Path: "/v1/audit/verify", Serve: h.verifyAudit, Long: true},
		{Method: post, Path: "/v1/audit/verify", Serve: h.verifyAuditAgainst, Long: true},
	}
}

// describe serves the document as it is in the source, so that what is tested is
// what clients get.
func describe(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI)
	return nil
}
