package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/access"
	"github.com/vespiary/vespiary/host/internal/cli"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/model"
	"github.com/vespiary/vespiary/plugins"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/cedar"
)

// App gives the commands of the command line the assembled host.
type App struct{ Version string }

var _ cli.App = App{}

// Serve implements cli.App.
func (a App) Serve(ctx context.Context, cfg *config.Config, o cli.ServeOptions) error {
	h, err := Open(ctx, cfg, Options{
		Log: o.Log, Version: a.Version, Activity: o.Activity,
		Reload: func() (*config.Config, error) { return config.Load(cfg.File) },
	})
	if err != nil {
		return err
	}
	return h.Serve(ctx, o.Ready)
}

// Open implements cli.App.
func (a App) Open(ctx context.Context, cfg *config.Config) (cli.Service, error) {
	h, err := Open(ctx, cfg, Options{Version: a.Version, History: true})
	if err != nil {
		return nil, err
	}
	return newLocal(h), nil
}

// CreateKey implements cli.App. No policy is asked: who may write the files of the host can
// do all that a key lets them do, and the host must be reachable before its policies are
// valid. It is on record all the same.
func (a App) CreateKey(ctx context.Context, cfg *config.Config, spec host.APIKeySpec) (k host.APIKey, token string, err error) {
	h := newHost(cfg, Options{Version: a.Version, Now: a.Now})
	defer func() { err = errors.Join(err, h.Close(ctx)) }()
	if err := h.openStore(ctx, cfg); err != nil {
		return k, "", err
	}
	if err := h.openAudit(ctx, cfg); err != nil {
		return k, "", err
	}
	guard, err := access.New(access.Options{
		Policy: machine{}, Audit: h.audit, Now: h.opt.Now, Evidence: h.sealedFor,
		Agents: func(string) (*host.Agent, bool) { return nil, false },
	})
	if err != nil {
		return k, "", err
	}
	return guard.Keys(h.keys).Create(ctx, onThisMachine(), spec)
}

// machine lets who is on the host's machine do what they could do by its files.
type machine struct{}

// Authorize implements policy.Authorizer.
func (machine) Authorize(context.Context, *policy.Request) policy.Decision {
	return policy.Decision{Allowed: true, Policies: []policy.Cause{{ID: "files of this host"}}}
}

// ProbeModel implements cli.App.
func (App) ProbeModel(ctx context.Context, cfg *config.Config, name string) error {
	m, ok := cfg.Models[name]
	if !ok {
		return fmt.Errorf("ask model %s: the configuration has none of this name", name)
	}
	e, err := modelEntry(m, nil)
	if err != nil {
		return err
	}
	_, err = e.Provider.Chat(ctx, model.Request{
		MaxTokens: 16, Messages: []abi.Message{{Role: abi.RoleUser, Content: []abi.Content{abi.Text("Answer with the word yes.")}}},
	}, nil)
	return err
}

// Starter implements cli.App.
func (App) Starter() fs.FS { return cedar.Starter() }

// Builtins implements cli.App.
func (App) Builtins() []string { return plugins.Names() }

// Builtin implements cli.App.
func (App) Builtin(name string) ([]byte, error) { return plugins.Read(name) }
