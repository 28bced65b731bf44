package app

import (
	"context"
	"maps"
	"slices"

	"github.com/vespiary/vespiary/host"
)

// able finds out what an agent of the configuration could ask for.
func (h *Host) able(ctx context.Context, name string) (able, error) {
	d := h.desired.Load()
	agent, ok := d.agents[name]
	if !ok {
		return able{}, host.Errorf(host.ErrNotFound, "find out what agent %.80s could do: the configuration has none of this name", name)
	}
	needs, err := h.plugins.needs(ctx, agent.Module)
	if err != nil {
		return able{}, err
	}
	tools, _ := h.catalog.Declared(ctx, d.tools) // one that cannot be described can be called by nobody
	a := able{agent: agent, needs: needs, tools: tools, models: d.config.Models}
	for _, other := range slices.Sorted(maps.Keys(d.agents)) {
		a.agents = append(a.agents, d.agents[other])
	}
	return a, nil
}
