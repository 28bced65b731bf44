package tool

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/tool/request"
	"github.com/vespiary/vespiary/policy"
)

// list is the capability tool_list.
type list struct{ catalog *Catalog }

// Classify implements host.Capability.
func (list) Classify(_ context.Context, c *host.Call) (host.Class, error) {
	if err := request.Decode(c, &struct{}{}); err != nil {
		return host.Class{}, err
	}
	return host.Class{Action: "listTools", Kind: host.Observe, Recovery: abi.RecoverRead, Resource: agentOf(c.Run)}, nil
}

// agentOf is the run's agent as policy knows it already: an entity of a request hides
// the run's own, so it must be the same one.
func agentOf(run *host.Run) policy.Entity {
	id := policy.UID{Type: "Agent", ID: run.Agent.Name}
	if run.Known != nil {
		for _, e := range slices.Backward(run.Known.Entities) {
			if e.UID == id {
				return e
			}
		}
	}
	return policy.Entity{UID: id, Attrs: map[string]any{"module": policy.UID{Type: "Module", ID: run.Agent.Module}}}
}

// Perform implements host.Capability. A source that cannot be described leaves its
// tools out; a call of one of them says why.
func (l list) Perform(ctx context.Context, c *host.Call) (host.Output, error) {
	v, err := l.catalog.visible(ctx, c)
	if err != nil {
		return host.Output{}, err
	}
	out := abi.ToolList{Tools: []abi.Tool{}}
	for _, e := range v.entries {
		t := e.tool.Tool
		t.Name = e.name
		out.Tools = append(out.Tools, t)
	}
	b, err := json.Marshal(out)
	// The operator chose these plugins by digest, like the agent's instructions: an
	// agent that has looked at its tools has read nothing from outside.
	return host.Output{OK: b, Derived: true}, err
}
