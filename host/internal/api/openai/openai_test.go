package openai_test

import (
	"testing"

	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/host/internal/api/apitest"
	"github.com/vespiary/vespiary/host/internal/api/openai"
)

func routes(s *apitest.Sessions) []api.Route {
	return openai.Routes(openai.Options{Sessions: s, Agents: apitest.Agents{}, Now: apitest.Now})
}

func start(t testing.TB) *apitest.Server { return apitest.Start(t, routes, nil) }

func TestGolden(t *testing.T) {
	apitest.Golden(t, start, apitest.LoadSpec(t, "../rest/openapi.json"))
}
