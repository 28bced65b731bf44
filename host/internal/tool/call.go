package tool

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/tool/request"
	"github.com/vespiary/vespiary/policy"
)

// call is the capability tool_call.
type call struct{ catalog *Catalog }

// callState is a call of a tool that was found and whose arguments fit.
type callState struct {
	entry     *entry
	arguments json.RawMessage
}

// Classify implements host.Capability.
func (k call) Classify(ctx context.Context, c *host.Call) (host.Class, error) {
	var in abi.ToolCallParams
	if err := request.Decode(c, &in); err != nil {
		return host.Class{}, err
	}
	e, err := k.find(ctx, c, in.Name)
	if err != nil {
		return host.Class{}, err
	}
	if len(in.Arguments) == 0 || bytes.Equal(in.Arguments, []byte("null")) {
		in.Arguments = json.RawMessage("{}")
	}
	if wrong := e.tool.input.check(in.Arguments); wrong != "" {
		return host.Class{}, request.Invalid(c, "the arguments of %s do not fit its schema: %s", e.name, wrong)
	}
	class := classOf(e)
	class.State = callState{e, in.Arguments}
	class.Control, class.Data, class.Recipient = e.tool.flow(in.Arguments)
	if n := len(class.Recipient); n > maxLeaves {
		return host.Class{}, request.Invalid(c, "the arguments of %s name %d who would get them, over the limit of %d; call it for fewer at a time", e.name, n, maxLeaves)
	}
	if k.catalog.opt.Input == nil {
		return class, nil
	}
	input, err := k.catalog.opt.Input(e.id(), in.Arguments)
	if err != nil {
		return host.Class{}, request.Invalid(c, "the arguments of %s cannot be judged by policies: %s", e.name, err)
	}
	class.Context = map[string]any{"input": input}
	return class, nil
}

// classOf is a call of a tool of which nothing else is known.
func classOf(e *entry) host.Class {
	set := policy.UID{Type: "ToolSet", ID: e.source.Name}
	class := host.Class{
		Action: e.id(), Kind: host.Effect, Recovery: host.RecoverNested,
		Resource: policy.Entity{
			UID: policy.UID{Type: "Tool", ID: e.id()}, Parents: []policy.UID{set},
			Attrs: map[string]any{"source": e.source.Name, "readOnly": e.readOnly()},
		},
		Entities: []policy.Entity{{UID: set}},
		Child:    &host.Child{Module: e.source.Module, Plugin: e.source.Plugin, Needs: e.source.Needs},
	}
	if e.readOnly() {
		class.Kind = host.Observe
	}
	return class
}

func (k call) find(ctx context.Context, c *host.Call, name string) (*entry, error) {
	v, err := k.catalog.visible(ctx, c)
	if err != nil {
		return nil, err
	}
	if e := v.find(name); e != nil {
		return e, nil
	}
	if v.missing != nil {
		return nil, request.Failed(c, abi.CodeUnavailable, "there is no tool %.80q, and not all sources could be asked: %s", name, oneLine(v.missing.Error()))
	}
	if len(v.entries) == 0 {
		return nil, request.Failed(c, abi.CodeNotFound, "there is no tool %.80q: agent %s has no tools", name, c.Run.Agent.Name)
	}
	names := make([]string, len(v.entries))
	for i, e := range v.entries {
		names[i] = e.name
	}
	return nil, request.Failed(c, abi.CodeNotFound, "agent %s has no tool %.80q; it has %s", c.Run.Agent.Name, name, strings.Join(near(name, names), ", "))
}

// Perform implements host.Capability.
func (k call) Perform(ctx context.Context, c *host.Call) (host.Output, error) {
	s, _ := c.Class.State.(callState)
	input, err := json.Marshal(abi.ToolCallParams{Name: s.entry.tool.Name, Arguments: s.arguments})
	if err != nil {
		return host.Output{}, err
	}
	out, err := k.catalog.opt.Activator.Activate(ctx, c, *c.Class.Child, "call", input)
	result, err := k.result(ctx, s.entry, out, err)
	if err != nil {
		return host.Output{}, err
	}
	b, err := json.Marshal(result)
	return host.Output{OK: b, Labels: abi.Labels{"": {Sources: []string{"tool:" + s.entry.id()}}}}, err
}

// result is what the agent gets of an activation that ended with out or err.
func (k call) result(ctx context.Context, e *entry, out []byte, err error) (abi.ToolResult, error) {
	if err == nil {
		result, wrong := decodeResult(out)
		if wrong != "" {
			result = failed(e.name + " returned no tool result: " + wrong)
		}
		return result, nil
	}
	if ctx.Err() == nil {
		if why, ok := k.catalog.opt.GuestFault(err); ok {
			return failed(e.name + " failed: " + why), nil
		}
	}
	return abi.ToolResult{}, err
}
