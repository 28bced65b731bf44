package rest_test

import (
	"net/http"
	"testing"

	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/host/internal/api/apitest"
	"github.com/vespiary/vespiary/host/internal/api/openai"
	"github.com/vespiary/vespiary/host/internal/api/rest"
)

func routes(s *apitest.Sessions) []api.Route {
	return rest.Routes(rest.Options{Sessions: s, Agents: apitest.Agents{}, Admin: apitest.Admin{}})
}

func start(t testing.TB) *apitest.Server { return apitest.Start(t, routes, nil) }

func TestGolden(t *testing.T) {
	apitest.Golden(t, start, apitest.LoadSpec(t, "openapi.json"))
}

func TestOpenAPIDescribesEveryRoute(t *testing.T) {
	all := append(routes(apitest.NewSessions()), openai.Routes(openai.Options{Now: apitest.Now})...)
	all = append(all,
		api.Route{Method: http.MethodGet, Path: "/healthz", Open: true},
		api.Route{Method: http.MethodGet, Path: "/readyz", Open: true},
		api.Route{Method: http.MethodGet, Path: "/metrics"})
	apitest.LoadSpec(t, "openapi.json").CheckRoutes(t, all)
}
