package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
)

// reachOf returns what an agent of the configuration could do; without a name, each that
// runs the module. For nobody asked for it, nothing of that is then an error.
func (r *runner) reachOf(ctx context.Context, ref, digest, agent string) ([]host.Reach, error) {
	cfg, err := r.optional()
	switch {
	case agent == "" && err != nil:
		r.err.linef("vespiary: what it could do here is not known: %v", err)
		return nil, nil
	case err != nil:
		return nil, err
	case cfg == nil && agent != "":
		return nil, fmt.Errorf("there is no %s that agent %s could be in; name one with --config", config.FileName, agent)
	case cfg == nil:
		return nil, nil
	}
	if agent != "" {
		could, err := r.could(ctx, cfg, agent)
		return []host.Reach{could}, err
	}
	var out []host.Reach
	for _, name := range slices.Sorted(maps.Keys(cfg.Agents)) {
		if !runs(cfg.Agents[name].Plugin, ref, digest) {
			continue
		}
		could, err := r.could(ctx, cfg, name)
		if err != nil {
			r.err.linef("vespiary: what agent %s could do here is not known: %v", name, err)
			continue
		}
		out = append(out, could)
	}
	return out, nil
}

// could is what an agent could do, as the running host has it, else as the files have it.
func (r *runner) could(ctx context.Context, cfg *config.Config, agent string) (host.Reach, error) {
	if _, known := cfg.Agents[agent]; !known {
		return host.Reach{}, fmt.Errorf("there is no agent %s in %s; it has %s", agent, cfg.File,
			cmp.Or(strings.Join(slices.Sorted(maps.Keys(cfg.Agents)), ", "), "none"))
	}
	c, err := reach(ctx, cfg)
	switch {
	case err != nil:
		return host.Reach{}, err
	case c == nil:
		return r.app.Reach(ctx, cfg, agent)
	}
	defer c.Close() //nolint:errcheck // idle connections
	return c.Reach(ctx, agent)
}

// runs reports whether what a configuration names as a plugin is the module that a person
// names. A name of the registry may be, but only the host can tell.
func runs(plugin, ref, digest string) bool {
	if plugin == digest {
		return true
	}
	if name, ok := strings.CutPrefix(plugin, builtinPrefix); ok {
		asked, builtin := strings.CutPrefix(ref, builtinPrefix)
		return builtin && cmp.Or(parts[name], name) == cmp.Or(parts[asked], asked)
	}
	return config.IsPath(plugin) && same(plugin, ref)
}

// same reports whether two paths lead to one file.
func same(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errors.Join(errX, errY) == nil && os.SameFile(x, y)
}

// printReach says what an agent could do, in the order of the answers.
func printReach(out printer, could host.Reach, digest string) {
	out.linef("\nWhat agent %s could do here today, by the policies %s:", could.Agent, shortDigest(could.Set))
	if could.Module != digest {
		out.linef("  (it runs another module, %s)", shortDigest(could.Module))
	}
	if len(could.Abilities) == 0 {
		out.linef("  nothing")
	}
	for _, answer := range []string{host.AbleYes, host.AbleSome, host.AbleAsk, host.AbleNo} {
		for _, a := range could.Abilities {
			if a.Answer == answer {
				out.linef("  %-5s %-15s %s", a.Answer, clean(a.Call), short(a.Text))
			}
		}
	}
}
