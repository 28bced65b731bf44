package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api/keys"
	"github.com/vespiary/vespiary/host/internal/cli"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/model"
	"github.com/vespiary/vespiary/host/internal/store"
	"github.com/vespiary/vespiary/plugins"
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
	return local{h}, nil
}

// CreateKey implements cli.App.
func (App) CreateKey(ctx context.Context, cfg *config.Config, name string) (string, error) {
	if _, err := masterKey(cfg.Data); err != nil {
		return "", err
	}
	s, err := store.Open(ctx, storeOptions(cfg, Options{}))
	if err != nil {
		return "", err
	}
	k, err := keys.New(keys.Options{Store: s, Now: time.Now}) //nolint:forbidigo // the command line lives in real time
	if err != nil {
		return "", errors.Join(err, s.Close())
	}
	_, token, err := k.Create(ctx, Local(), name, time.Time{})
	return token, errors.Join(err, s.Close())
}

// CheckPolicies implements cli.App.
func (App) CheckPolicies(dir string) (cli.PolicySet, error) {
	set, err := loadPolicies(dir)
	if err != nil {
		return cli.PolicySet{}, err
	}
	return cli.PolicySet{Policies: len(set.Policies()), Digest: set.Digest()}, nil
}

// Suggest implements cli.App.
func (App) Suggest(dir string, denied []host.DecisionRecord) (cli.Suggestion, error) {
	set, err := loadPolicies(dir)
	if err != nil {
		return cli.Suggestion{}, err
	}
	var requests []cedar.Recorded
	for _, d := range denied {
		var r cedar.Recorded
		if len(d.Recorded) == 0 {
			continue
		}
		if err := json.Unmarshal(d.Recorded, &r); err != nil {
			return cli.Suggestion{}, fmt.Errorf("read the decision of session %s, call %s: %w", d.Session, d.Call.Path, err)
		}
		requests = append(requests, r)
	}
	s := set.Suggest(requests)
	return cli.Suggestion{Policies: s.Policies, Notes: s.Notes}, nil
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

// local is the state of a host that answers no requests.
type local struct{ h *Host }

var _ cli.Service = local{}

func (l local) Sessions(ctx context.Context, f host.SessionFilter) ([]host.Session, error) {
	return l.h.sessions.List(ctx, Local(), f)
}

func (l local) Session(ctx context.Context, id string) (host.Session, error) {
	return l.h.sessions.Get(ctx, Local(), id)
}

func (l local) Journal(ctx context.Context, id string, from uint64, limit int) ([]host.Record, error) {
	return l.h.sessions.Journal(ctx, Local(), id, from, limit)
}

// Cancel ends what a stopped host left under way. Nothing of it is run for that.
func (l local) Cancel(ctx context.Context, id string) (host.Session, error) {
	return l.h.sessions.Cancel(ctx, Local(), id)
}

func (l local) Install(ctx context.Context, name string, wasm []byte) (string, error) {
	return admin(l).Install(ctx, Local(), name, wasm)
}

func (l local) Decisions(ctx context.Context, deniedOnly bool, limit int) ([]host.DecisionRecord, error) {
	return l.h.sessions.Decisions(ctx, Local(), deniedOnly, limit)
}

// Close closes the store. Nothing runs that would have to end.
func (l local) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return l.h.Close(ctx)
}
