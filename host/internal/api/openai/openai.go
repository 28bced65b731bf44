// Package openai is the dialect of OpenAI's chat completions, so that clients
// written for them talk to agents: a model is an agent, and a completion is a
// turn. What a completion cannot say (events, waiting, approvals) is in the
// host's own dialect, under the session that metadata.session_id names.
package openai

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

// Options join the dialect to the host. All but Wait are needed.
type Options struct {
	Sessions api.Sessions
	Agents   api.Agents
	Now      func() time.Time
	Wait     time.Duration // for a turn; default 10 min, as the SDKs wait
}

type handlers struct {
	Options
	started int64 // unix seconds: agents have no date of their own
}

// Routes returns the dialect's routes.
func Routes(o Options) []api.Route {
	h := &handlers{o, o.Now().Unix()}
	h.Wait = cmp.Or(o.Wait, 10*time.Minute)
	return []api.Route{
		{Method: http.MethodPost, Path: "/v1/chat/completions", Serve: h.complete, Long: true, Fail: writeError},
		{Method: http.MethodGet, Path: "/v1/models", Serve: h.models, Fail: writeError},
		{Method: http.MethodGet, Path: "/v1/models/{model}", Serve: h.model, Fail: writeError},
	}
}

// model has the four fields that the official clients declare.
type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

// modelList has no pages, as OpenAI's own has none.
type modelList struct {
	Object string  `json:"object"`
	Data   []model `json:"data"`
}

// describe dates all agents with the start of the host: the field must be there, and
// a date that changes with each request would defeat caches.
func (h *handlers) describe(a host.AgentInfo) model {
	return model{ID: a.Name, Object: "model", Created: h.started, OwnedBy: "vespiary"}
}

// models lists the agents that the caller may invoke.
func (h *handlers) models(w http.ResponseWriter, r *http.Request) error {
	list := modelList{Object: "list", Data: []model{}}
	agents, err := h.Agents.List(r.Context(), api.Caller(r))
	if err != nil {
		return err
	}
	for _, a := range agents {
		list.Data = append(list.Data, h.describe(a))
	}
	return api.WriteJSON(w, http.StatusOK, list)
}

// model shows one agent; some clients ask for it before their first completion.
func (h *handlers) model(w http.ResponseWriter, r *http.Request) error {
	a, err := h.agent(r, r.PathValue("model"))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, h.describe(a))
}

// agent returns the agent that a request names as its model.
func (h *handlers) agent(r *http.Request, name string) (host.AgentInfo, error) {
	list, err := h.Agents.List(r.Context(), api.Caller(r))
	if err != nil {
		return host.AgentInfo{}, err
	}
	i := slices.IndexFunc(list, func(a host.AgentInfo) bool { return a.Name == name })
	if i < 0 {
		return host.AgentInfo{}, &api.FieldError{Field: "model", Err: host.Errorf(host.ErrNotFound,
			"the model %q does not exist; a model is an agent, and GET /v1/models lists them", name)}
	}
	return list[i], nil
}
