package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/identity"
	"github.com/vespiary/vespiary/host/internal/model"
	"github.com/vespiary/vespiary/host/internal/tool"
	"github.com/vespiary/vespiary/policy/cedar"
)

// desired is what a configuration and its policies ask for, all of it made ready:
// either the whole of it becomes what the host does, or nothing.
type desired struct {
	config *config.Config
	agents map[string]*host.Agent
	tools  []tool.Source
	models map[string]model.Entry
	rules  rules
	// callers finds out who asks.
	callers *identity.Chain
	// engines are the engines of the modules that do not run on the native one.
	engines map[string]string
}

// prepare makes a configuration ready and changes nothing of what runs.
func (h *Host) prepare(ctx context.Context, cfg *config.Config) (*desired, error) {
	d := &desired{config: cfg, agents: map[string]*host.Agent{}, models: map[string]model.Entry{}}
	var errs []error
	var err error
	if d.callers, err = h.identities(cfg); err != nil {
		errs = append(errs, err)
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Models)) {
		if h.opt.History {
			break
		}
		if d.models[name], err = modelEntry(cfg.Models[name], h.opt.Log); err != nil {
			errs = append(errs, fmt.Errorf("model %s: %w", name, err))
		}
	}
	if d.tools, d.engines, err = h.plugins.sources(ctx, cfg); err != nil {
		errs = append(errs, err)
	}
	actions, dumb := h.actions(ctx, d)
	if d.rules, err = loadRules(cfg, actions); err != nil {
		errs = append(errs, err, dumb) // it may be why a policy names what is not there
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Agents)) {
		if d.agents[name], err = h.plugins.agent(ctx, cfg, name); err != nil {
			errs = append(errs, fmt.Errorf("agent %s: %w", name, err))
		}
	}
	return d, errors.Join(errs...)
}

// actions are those of the tools of a configuration that is made ready. A tool that cannot
// describe itself has none, so that nobody can call it; the error says why, as does the log.
func (h *Host) actions(ctx context.Context, d *desired) ([]cedar.Action, error) {
	h.engines.next.Store(&d.engines)
	defer h.engines.next.Store(nil)
	tools, err := h.catalog.Declared(ctx, d.tools)
	return actionsOf(tools), err
}

// agentPlugin finds the plugin of an agent, which has none where it is a program elsewhere.
func (s *shelf) agentPlugin(ctx context.Context, ref string) (plugin, error) {
	if ref == config.PluginExternal {
		return plugin{name: ref, digest: host.ModuleExternal}, nil
	}
	return s.resolve(ctx, ref)
}

// agent makes an agent of the configuration.
func (s *shelf) agent(ctx context.Context, cfg *config.Config, name string) (*host.Agent, error) {
	a := cfg.Agents[name]
	p, err := s.agentPlugin(ctx, a.Plugin)
	if err != nil {
		return nil, err
	}
	if p.manifest != nil && p.manifest.Kind != abi.PluginAgent {
		return nil, fmt.Errorf("%s is of the kind %s, not an agent", a.Plugin, p.manifest.Kind)
	}
	folders := map[string]string{}
	for _, f := range a.Folders {
		path, err := filepath.Abs(cfg.Folders[f].Path)
		if err != nil {
			return nil, err
		}
		folders[f] = path
	}
	return &host.Agent{
		Name: name, Description: a.Description, Plugin: a.Plugin, Module: p.digest,
		Binding: abi.Binding{
			Name: name, Instructions: strings.TrimSpace(a.Instructions.Text), Model: a.Model,
			MaxSteps: a.MaxSteps, Options: a.Options,
		},
		Tools: a.Tools, Folders: folders, Roles: slices.Compact(slices.Sorted(slices.Values(a.Roles))), Retain: a.Session.Retain,
		Idle: a.Session.Idle, MaxAge: a.Session.Max,
		Turn: host.Budget{
			Tokens: a.Budget.Turn.Tokens, CostMicros: int64(a.Budget.Turn.USD), Calls: a.Budget.Turn.Calls,
			Time: a.Budget.Turn.Time, Fuel: fuelOf(a.Budget),
		},
		Budget: host.Budget{
			Tokens: a.Budget.Tokens, CostMicros: int64(a.Budget.USD),
			Calls: cmp.Or(a.Budget.Calls, defaultCalls), Time: a.Budget.Time,
			Fuel: a.Budget.Fuel, Memory: uint64(a.Budget.Memory), //nolint:gosec // checked to be positive
		},
	}, nil
}

// defaultFuel is what the guests of a turn may use whose agent names no limit: half an hour
// of the tightest loop, hours of most work, and an end for one that spins.
const defaultFuel = 1_000_000_000_000

func fuelOf(b config.Budget) int64 {
	if b.Fuel > 0 {
		return b.Turn.Fuel
	}
	return cmp.Or(b.Turn.Fuel, defaultFuel)
}

// defaultCalls is how many calls a task may make whose agent names no limit: enough for
// what agents do, and an end for one that loops. Time has no such default, since an
// agent may wait for days.
const defaultCalls = 10_000

func modelEntry(m config.Model, log *slog.Logger) (model.Entry, error) {
	s := model.Settings{
		Provider: m.Provider, Model: m.Model, BaseURL: m.BaseURL, MaxTokens: m.MaxTokens,
		Timeout: m.Timeout, Latency: m.Latency, Headers: map[string]model.Secret{},
	}
	if m.Price != nil {
		s.Price = model.Price{Input: m.Price.Input, Output: m.Price.Output, CacheRead: m.Price.CacheRead, CacheWrite: m.Price.CacheWrite}
	}
	var err error
	if s.Key, err = secretOf(m.Key); err != nil {
		return model.Entry{}, fmt.Errorf("key: %w", err)
	}
	for name, ref := range m.Headers {
		if s.Headers[name], err = secretOf(ref); err != nil {
			return model.Entry{}, fmt.Errorf("header %s: %w", name, err)
		}
	}
	p, err := model.New(s, model.Options{Log: log})
	return model.Entry{Settings: s, Provider: p}, err
}

func secretOf(s config.Secret) (model.Secret, error) {
	if s.IsZero() {
		return model.Secret{}, nil
	}
	v, err := s.Resolve()
	if err != nil {
		return model.Secret{}, err
	}
	return model.NewSecret(v), nil
}
