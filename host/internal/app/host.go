package app

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/access"
	"github.com/vespiary/vespiary/host/internal/api/keys"
	"github.com/vespiary/vespiary/host/internal/cli"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/gate"
	"github.com/vespiary/vespiary/host/internal/identity"
	"github.com/vespiary/vespiary/host/internal/journal"
	"github.com/vespiary/vespiary/host/internal/model"
	"github.com/vespiary/vespiary/host/internal/runtime"
	"github.com/vespiary/vespiary/host/internal/session"
	"github.com/vespiary/vespiary/host/internal/session/snapshot"
	"github.com/vespiary/vespiary/host/internal/session/task"
	"github.com/vespiary/vespiary/host/internal/store"
	"github.com/vespiary/vespiary/host/internal/telemetry"
	"github.com/vespiary/vespiary/host/internal/tool"
	"github.com/vespiary/vespiary/host/internal/tool/file"
	"github.com/vespiary/vespiary/host/internal/webhook"
	"github.com/vespiary/vespiary/policy/audit"
	"github.com/vespiary/vespiary/policy/cedar"
	"github.com/vespiary/vespiary/registry"
)

// Options are what a host takes from its process. The zero value is the real world.
type Options struct {
	Now     func() time.Time // time.Now
	Log     *slog.Logger     // none
	Version string
	// Activity, when set, is told of every call once it is on record. It must not block
	// for long.
	Activity func(cli.Activity)
	// Fault is gate.Options.Fault.
	Fault func(point string, c *host.Call)
	// History says that the host will run no turn, only show what was done and take
	// modules in: its models are not needed.
	History bool
	// Reload, when set, reads the configuration again; without it a reload keeps the
	// configuration and reads the policies and plugins.
	Reload func() (*config.Config, error)
}

// Host is an assembled host over one data folder. It is safe for concurrent use.
type Host struct {
	opt       Options
	data      string
	store     *store.Local
	journals  *journal.Journals
	registry  *registry.Registry
	plugins   *shelf
	keys      *keys.Keys
	engines   *engines
	models    *model.Models
	catalog   *tool.Catalog
	policy    *cedar.Engine
	audit     *audit.Log
	verifier  string // public key of its checkpoints
	sets      keptSets
	signer    *identity.Signer // nil: other hosts know this one by no URL
	guard     *access.Guard
	sessions  *session.Service
	activity  *activity
	telemetry *telemetry.Telemetry
	notices   *webhook.Sender // nil where nobody is to be told
	sending   sync.WaitGroup
	hush      context.CancelFunc // ends sending

	reload  sync.Mutex // one at a time
	desired atomic.Pointer[desired]
}

// Open assembles the host of cfg and makes its configuration what it does. Close must
// be called.
func Open(ctx context.Context, cfg *config.Config, opt Options) (*Host, error) {
	h := newHost(cfg, opt)
	if opt.Activity != nil {
		h.activity = newActivity(h, opt.Activity)
	}
	for _, step := range []func(context.Context, *config.Config) error{h.openStore, h.openAudit, h.openRuntime, h.openNotices, h.openParts, h.apply} {
		if err := step(ctx, cfg); err != nil {
			return nil, errors.Join(err, h.Close(ctx))
		}
	}
	return h, nil
}

// newHost is a host that has nothing yet.
func newHost(cfg *config.Config, opt Options) *Host {
	if opt.Now == nil {
		opt.Now = time.Now //nolint:forbidigo // the default of what is injected
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	return &Host{opt: opt, data: cfg.Data}
}

func (h *Host) openStore(ctx context.Context, cfg *config.Config) error {
	master, err := masterKey(cfg.Data)
	if err != nil {
		return err
	}
	if h.store, err = store.Open(ctx, storeOptions(cfg, h.opt)); err != nil {
		return err
	}
	ring, err := journal.NewKeys(h.store, master)
	if err != nil {
		return err
	}
	h.journals = journal.New(h.store, ring, journal.Options{Now: h.opt.Now, Committed: h.committed})
	if err := h.journals.Tidy(ctx); err != nil {
		return err
	}
	if h.keys, err = keys.New(keys.Options{Store: h.store, Now: h.opt.Now, Scope: access.Scope}); err != nil {
		return err
	}
	h.registry, err = registry.New(registry.Options{
		Dir: filepath.Join(cfg.Data, "modules"), Store: h.store, Tenant: host.DefaultTenant, Now: h.opt.Now,
	})
	h.plugins = &shelf{registry: h.registry, known: map[string]plugin{}, own: map[string]plugin{}}
	return err
}

func storeOptions(cfg *config.Config, opt Options) store.Options {
	return store.Options{
		Dir: filepath.Join(cfg.Data, "store"), Edge: cfg.Edge, MinFree: int64(cfg.Limits.Free), Log: opt.Log, Host: opt.Version, Now: opt.Now,
	}
}

// committed tells the sessions of durable entries. The journals exist before them.
func (h *Host) committed(tenant, id string, entries []host.Entry) {
	if h.sessions != nil {
		h.telemetry.Appended(len(entries))
		h.sessions.Committed(tenant, id, entries)
	}
	if h.activity != nil {
		h.activity.add(id, entries)
	}
}

// idle is how long a compiled module stays in memory that nobody uses.
const idle = 5 * time.Minute

func (h *Host) openRuntime(_ context.Context, cfg *config.Config) error {
	h.engines = &engines{
		options: runtime.Options{
			CacheDir: filepath.Join(cfg.Data, "cache"), MemoryLimit: memoryOf(cfg), Imports: imports(), Log: h.opt.Log,
		},
		fetch: func(ctx context.Context, digest string) ([]byte, error) {
			return h.registry.Bytes(ctx, registry.Digest(digest))
		},
		choice:  h.engineOf,
		loaders: map[string]*runtime.Loader{},
	}
	return nil
}

// guestMemory is the linear memory that one guest may use, in bytes, where no budget
// gives one more.
const guestMemory = 256 << 20

// memoryOf is the most linear memory that any guest of the configuration may use.
func memoryOf(cfg *config.Config) uint64 {
	most := uint64(guestMemory)
	for _, a := range cfg.Agents {
		most = max(most, uint64(a.Budget.Memory)) //nolint:gosec // checked to be positive
	}
	return most
}

// engineOf returns the engine that the configuration names for a module.
func (h *Host) engineOf(digest string) string {
	if d := h.desired.Load(); d != nil && d.engines[digest] != "" {
		return d.engines[digest]
	}
	return config.EngineNative
}

// imports are the capabilities that this host offers to guests.
func imports() []string {
	return []string{
		abi.CallModelChat, abi.CallModelEmbed, abi.CallToolList, abi.CallToolCall, abi.CallMemorySession,
		abi.CallHTTPFetch, abi.CallFileRead, abi.CallFileWrite, abi.CallFileList, abi.CallAgentCall, abi.CallDelegateToken,
		abi.CallEmit, abi.CallAwait,
		abi.CallStart, abi.CallWait,
	}
}

func (h *Host) openParts(ctx context.Context, cfg *config.Config) error {
	var err error
	h.telemetry, err = telemetry.New(ctx, telemetry.Options{
		OTLP: cfg.Telemetry.OTLP, Content: cfg.Telemetry.Content, Version: h.opt.Version, Now: h.opt.Now, Log: h.opt.Log,
	})
	if err != nil {
		return err
	}
	h.models, h.policy = model.NewModels(h.opt.Now), cedar.New(nil)
	capabilities := map[string]host.Capability{}
	options := session.Options{
		Store: h.store, Journals: journals{h.journals}, Runner: runner{h.engines}, Agents: agents{h},
		Door: door{gate.New(gate.Options{
			Capabilities: capabilities, Policy: h.policy, Audit: h.audit, Seal: h.journals.Wrap,
			Now: h.opt.Now, Log: h.opt.Log, Observer: h.telemetry, Fault: h.opt.Fault,
		})},
		Observer: h.telemetry,
		Now:      h.opt.Now, Log: h.opt.Log,
		Images: snapshot.New(h.store, h.journals),
		Audit:  h.audit, Grants: grants{h.policy}, Groups: h.groupsOf,
		Memory: h.engines.Memory,
		Prefixes: func(tenant, id string) [][]byte {
			return slices.Concat(journal.Prefixes(tenant, id), private(tenant, id), task.Prefixes(tenant, id))
		},
		Private:  private,
		Patience: cfg.Limits.Patience, ApprovalLife: cfg.Approvals.Expire,
		Limits: session.Limits{
			Sessions: cfg.Limits.Sessions, Queue: maxQueue, Memory: int64(cfg.Limits.Memory), MicrosPerDay: int64(cfg.Limits.USDPerDay),
		},
	}
	if h.notices != nil {
		options.Notices = h.notices
	}
	h.sessions = session.New(options)
	tools := descriptions{filepath.Join(cfg.Data, "cache", "tools"), h.engines.describing, h.describe}
	h.catalog = tool.New(tool.Options{Describe: tools.described, Activator: h.sessions, GuestFault: guestFault, Input: h.input, Log: h.opt.Log})
	h.telemetry.Watch(telemetry.Sources{Sessions: h.sessions.Counts, Store: h.storeStats})
	// The gate reads the table only once a turn runs, and no turn runs before Resume.
	maps.Copy(capabilities, h.sessions.Capabilities())
	maps.Copy(capabilities, h.models.Capabilities())
	maps.Copy(capabilities, h.catalog.Capabilities())
	capabilities[abi.CallDelegateToken] = identity.Handover{Signer: h.signer, Now: h.opt.Now}
	if err := h.openTools(cfg, capabilities); err != nil {
		return err
	}
	return h.openGuard()
}

// input makes of a tool's arguments what policies see.
func (h *Host) input(action string, arguments json.RawMessage) (map[string]any, error) {
	return h.policy.Set().Input(action, arguments)
}

// private are the prefixes of what a session holds beside its journal.
func private(tenant, id string) [][]byte {
	return append(snapshot.Prefixes(tenant, id), file.Prefixes(tenant, id)...)
}

// maxQueue bounds the events that wait in one session.
const maxQueue = 256

// apply makes a configuration what the host does, whole or not at all.
func (h *Host) apply(ctx context.Context, cfg *config.Config) error {
	h.reload.Lock()
	defer h.reload.Unlock()
	if err := settlePolicies(cfg.Policies); err != nil { // of a change that a crash cut off
		return err
	}
	return h.become(ctx, cfg)
}

// become is apply for who holds the lock.
func (h *Host) become(ctx context.Context, cfg *config.Config) error {
	d, err := h.prepare(ctx, cfg)
	if err != nil {
		return err
	}
	if err := h.keepRules(ctx, d.rules); err != nil {
		return err
	}
	h.desired.Store(d)
	h.models.Replace(d.models)
	h.catalog.Replace(d.tools)
	h.policy.Replace(d.rules.active, d.rules.candidate)
	return nil
}

// Reload reads configuration, policies and plugins again. An error leaves everything
// as it was.
func (h *Host) Reload(ctx context.Context) error {
	cfg := h.desired.Load().config
	if h.opt.Reload != nil {
		var err error
		if cfg, err = h.opt.Reload(); err != nil {
			return err
		}
		if err := fixed(h.desired.Load().config, cfg); err != nil {
			return err
		}
	}
	return h.apply(ctx, cfg)
}

// Close ends the host: turns under way get until ctx ends, then wait for the next
// host. It may be called on a host that did not open whole.
func (h *Host) Close(ctx context.Context) error {
	var errs []error
	if h.sessions != nil {
		errs = append(errs, h.sessions.Close(ctx))
	}
	ctx = context.WithoutCancel(ctx)
	if h.hush != nil {
		h.hush()
		h.sending.Wait()
	}
	if h.audit != nil { // what waits in memory would be lost
		errs = append(errs, h.audit.Integrate(ctx))
		if d := h.desired.Load(); d != nil {
			h.publishNewer(ctx, checkpointFile(d.config), nil)
		}
	}
	if h.engines != nil {
		errs = append(errs, h.engines.Close(ctx))
	}
	if h.telemetry != nil {
		errs = append(errs, h.telemetry.Shutdown(ctx))
	}
	if h.store != nil {
		errs = append(errs, h.store.Close())
	}
	return errors.Join(errs...)
}

// agents is what the sessions see of the configuration.
type agents struct{ h *Host }

func (a agents) Agent(name string) (*host.Agent, bool) {
	agent, ok := a.h.desired.Load().agents[name]
	return agent, ok
}

func (a agents) Plugin(ctx context.Context, digest string) (string, []string, error) {
	if digest == host.ModuleExternal { // a program elsewhere may ask for all there is
		return digest, imports(), nil
	}
	return a.h.plugins.Plugin(ctx, digest)
}

// List implements api.Agents.
func (a agents) List(_ context.Context, _ host.Caller) ([]host.AgentInfo, error) {
	all := a.h.desired.Load().agents
	out := []host.AgentInfo{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		g := all[name]
		out = append(out, host.AgentInfo{
			Name: name, Description: g.Description, Plugin: g.Plugin, Module: g.Module, Model: g.Binding.Model, Tools: g.Tools,
		})
	}
	return out, nil
}
