package tool

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// Source is a plugin whose tools agents find under a name.
type Source struct {
	Name   string
	Plugin string
	Module string   // digest of the plugin
	Needs  []string // capabilities that its manifest names
	Prefix string   // only the tools whose names begin so; "" means all
}

// Activator runs guests.
type Activator interface {
	// Activate calls an export of child as a child run of the call.
	Activate(ctx context.Context, c *host.Call, child host.Child, export string, input []byte) ([]byte, error)
}

// Options are what a Catalog is made of. GuestFault and Log may be nil.
type Options struct {
	// Describe returns what the plugin says of its tools. It is asked once for each
	// digest, and again after it failed.
	Describe  func(ctx context.Context, digest string) (abi.ToolList, error)
	Activator Activator
	// Input makes the context.input of a tool's action of its arguments; an error is why
	// policies cannot judge them. nil: policies see no arguments.
	Input func(action string, arguments json.RawMessage) (map[string]any, error)
	// GuestFault tells whether an error of Activate is the plugin's own failing, such
	// as a trap, and says it in words for the model: the agent can go on without the
	// tool. All other errors are the host's.
	GuestFault func(err error) (why string, ok bool)
	Log        *slog.Logger
}

// Catalog holds the sources of tools. It is safe for concurrent use.
type Catalog struct {
	opt       Options
	sources   atomic.Pointer[map[string]*Source]
	described descriptions
}

// New returns an empty catalog.
func New(opt Options) *Catalog {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.GuestFault == nil {
		opt.GuestFault = func(error) (string, bool) { return "", false }
	}
	c := &Catalog{opt: opt, described: descriptions{describe: opt.Describe}}
	c.Replace(nil)
	return c
}

// Replace makes sources the ones that calls find from now on. Of two with one name
// the later counts.
func (c *Catalog) Replace(sources []Source) {
	byName := make(map[string]*Source, len(sources))
	for _, s := range sources {
		byName[s.Name] = &s
	}
	c.sources.Store(&byName)
	c.described.keep(maps.Values(byName))
}

// Capabilities returns tool_list and tool_call by name.
func (c *Catalog) Capabilities() map[string]host.Capability {
	return map[string]host.Capability{abi.CallToolList: list{c}, abi.CallToolCall: call{c}}
}

// entry is a tool as an agent sees it.
type entry struct {
	source *Source
	tool   *declared
	name   string // the visible one
}

// id names the tool to people and policies, and is the name of its action.
func (e *entry) id() string { return e.source.Name + "." + e.tool.Name }

// readOnly holds for a tool that says so, and for one whose plugin can ask the host
// for nothing: it computes, and changes nothing whatever it says.
func (e *entry) readOnly() bool {
	return len(e.source.Needs) == 0 || e.tool.Annotations != nil && e.tool.Annotations.ReadOnlyHint
}

// view is what an agent's selectors name: tools in the order of their names, and
// why the tools of some sources are missing.
type view struct {
	entries []*entry
	missing error
}

// view describes the sources that the agent's selectors name.
func (c *Catalog) view(ctx context.Context, agent *host.Agent) (*view, error) {
	v, taken := &view{}, map[string]bool{}
	all, wanted := *c.sources.Load(), selected(agent.Tools)
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		source := all[name]
		if source == nil {
			v.missing = errors.Join(v.missing, fmt.Errorf("the configuration has no tools named %s", name))
			continue
		}
		tools, err := c.described.get(ctx, source.Module)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			c.opt.Log.WarnContext(ctx, "tools not described", "source", name, "plugin", source.Plugin, "error", err)
			v.missing = errors.Join(v.missing, fmt.Errorf("the tools of %s cannot be used: %w", name, err))
			continue
		}
		v.add(source, tools, wanted[name], taken)
	}
	slices.SortFunc(v.entries, func(a, b *entry) int { return cmp.Compare(a.name, b.name) })
	return v, nil
}

// selected maps each source that selectors name to the tools of it that they name;
// nil stands for all of them.
func selected(selectors []string) map[string][]string {
	out := map[string][]string{}
	for _, s := range selectors {
		source, tool, one := strings.Cut(s, ".")
		tools, seen := out[source]
		switch {
		case !one:
			out[source] = nil
		case !seen || tools != nil:
			out[source] = append(tools, tool)
		}
	}
	return out
}

// add takes in the tools of one source, those in only when it is not nil.
func (v *view) add(source *Source, tools []*declared, only []string, taken map[string]bool) {
	for _, t := range tools {
		if !strings.HasPrefix(t.Name, source.Prefix) {
			continue
		}
		e := &entry{source: source, tool: t, name: visibleName(source.Name, t.Name)}
		if only != nil && !slices.Contains(only, t.Name) && !slices.Contains(only, e.name) {
			continue
		}
		if taken[e.name] {
			e.name = distinctName(e.name, e.id())
		}
		taken[e.name] = true
		v.entries = append(v.entries, e)
	}
}

// find returns the tool of that visible name, or of that id.
func (v *view) find(name string) *entry {
	for _, e := range v.entries {
		if e.name == name || e.id() == name {
			return e
		}
	}
	return nil
}
