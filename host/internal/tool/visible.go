package tool

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vespiary/vespiary/host"
)

// visible is the view of the run's agent without the tools that no policy could allow the
// run to call, whatever the arguments: for the run they do not exist.
func (c *Catalog) visible(ctx context.Context, call *host.Call) (*view, error) {
	v, err := c.view(ctx, call.Run.Agent)
	if err != nil || call.Could == nil {
		return v, err
	}
	v.entries = slices.DeleteFunc(v.entries, func(e *entry) bool { return !call.Could(ctx, classOf(e)) })
	return v, nil
}

// Declared is a tool as policies know it.
type Declared struct {
	Action   string // its name in policies: "source.tool"
	ReadOnly bool
	Schema   []byte // JSON Schema of its arguments
}

// Declared describes the tools of sources, which need not be those that calls find. Of a
// source that cannot be described it has no tools, and nobody can call one; the error says
// why, with a line for each.
func (c *Catalog) Declared(ctx context.Context, sources []Source) ([]Declared, error) {
	var out []Declared
	var errs []error
	for _, s := range sources {
		tools, err := c.described.get(ctx, s.Module)
		if err != nil {
			c.opt.Log.WarnContext(ctx, "tools not described", "source", s.Name, "plugin", s.Plugin, "error", err)
			errs = append(errs, fmt.Errorf("tool %s: it cannot be asked what its tools are: %w", s.Name, err))
			continue
		}
		v := &view{}
		v.add(&s, tools, nil, map[string]bool{})
		for _, e := range v.entries {
			out = append(out, Declared{Action: e.id(), ReadOnly: e.readOnly(), Schema: e.tool.InputSchema})
		}
	}
	return out, errors.Join(errs...)
}
