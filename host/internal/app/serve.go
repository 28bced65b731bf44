package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/host/internal/api/openai"
	"github.com/vespiary/vespiary/host/internal/api/rest"
	"github.com/vespiary/vespiary/host/internal/config"
)

// LocalUser is the user that the keys of a single-user host stand for.
const LocalUser = "local"

// Local is the caller that commands on the host's own machine act as.
func Local() host.Caller {
	return host.Caller{Tenant: host.DefaultTenant, User: LocalUser, Name: LocalUser}
}

// drain is how long turns may go on after the host was asked to stop.
const drain = 10 * time.Second

// Serve takes up what earlier hosts left and answers HTTP until ctx ends, then stops
// in good order and closes the host. ready is called once requests are accepted.
func (h *Host) Serve(ctx context.Context, ready func(url string)) error {
	cfg := h.desired.Load().config
	server, err := h.server(cfg) //nolint:contextcheck // it begins nothing yet
	if err != nil {
		return errors.Join(err, h.Close(ctx))
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen on %s: %w; set another address with listen in the configuration", cfg.Listen, err), h.Close(ctx))
	}
	if err := h.sessions.Resume(ctx); err != nil {
		return errors.Join(err, ln.Close(), h.Close(ctx))
	}
	sending, hush := context.WithCancel(context.WithoutCancel(ctx))
	h.hush = hush
	h.sending.Go(func() { h.deliver(sending) })
	h.sending.Go(func() { h.audit.Run(sending) })
	h.sending.Go(func() { h.publish(sending, checkpointFile(cfg)) })
	if h.activity != nil {
		go h.activity.run(ctx)
	}
	go h.reloadOnSignal(ctx)
	url := baseURL(cfg, ln.Addr())
	if err := h.announce(url); err != nil {
		return errors.Join(err, ln.Close(), h.Close(ctx))
	}
	defer os.Remove(filepath.Join(h.data, serverFile)) //nolint:errcheck // it names a process that is gone either way
	ready(url)
	h.opt.Log.InfoContext(ctx, "serving", "address", ln.Addr().String())
	err = server.Serve(ctx, ln)
	h.opt.Log.InfoContext(ctx, "stopping", "turns_may_take", drain)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	return errors.Join(err, h.Close(stop))
}

// reloadOnSignal reads configuration, policies and plugins again whenever the process
// is told to (SIGHUP), until ctx ends.
func (h *Host) reloadOnSignal(ctx context.Context) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-hangups:
			if err := h.Reload(ctx); err != nil {
				h.opt.Log.ErrorContext(ctx, "reload: nothing was changed", "error", err)
			} else {
				h.opt.Log.InfoContext(ctx, "reloaded", "policies", h.policy.Set().Digest())
			}
		case <-ctx.Done():
			return
		}
	}
}

// serverFile is the file of the data folder that tells commands where the host
// answers.
const serverFile = "server.json"

// announce writes where the host answers.
func (h *Host) announce(url string) error {
	b, err := json.Marshal(map[string]any{"url": url, "pid": os.Getpid()})
	if err != nil {
		return err
	}
	path := filepath.Join(h.data, serverFile)
	return replaceWhole(path, b)
}

func baseURL(cfg *config.Config, addr net.Addr) string {
	scheme := "http"
	if cfg.TLS != nil {
		scheme = "https"
	}
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		// Commands of this machine reach a host that listens everywhere by loopback.
		return scheme + "://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
	}
	return scheme + "://" + addr.String()
}

func (h *Host) server(cfg *config.Config) (*api.Server, error) {
	o := api.Options{
		Auth: authenticator{h}, MayMeasure: h.guard.ReadMetrics, Now: h.opt.Now, Log: h.opt.Log, Ready: h.ready, Busy: h.sessions.Working,
		Metrics: h.telemetry.Handler(), MetricsOpen: cfg.Metrics.Open, Traces: h.telemetry.Traces(), Hosts: cfg.Hosts,
		Limits: api.Limits{Body: int64(cfg.Limits.Body), Rate: float64(cfg.Limits.Requests), Burst: 2 * cfg.Limits.Requests},
		Routes: h.routes(cfg),
	}
	if cfg.TLS != nil {
		o.TLS = api.TLS{Cert: cfg.TLS.Cert, Key: cfg.TLS.Key}
	}
	return api.New(o)
}

// routes are those of all dialects. Behind each is the guard.
func (h *Host) routes(cfg *config.Config) []api.Route {
	g := h.guard
	sessions, bound := g.Sessions(h.sessions), g.Agents(agents{h})
	tasks := g.Tasks(h.sessions)
	return append(
		rest.Routes(rest.Options{
			Sessions: sessions, Durable: g.Durable(h.sessions, h.sessions), Agents: bound, Tasks: tasks,
			Admin: g.Admin(admin{h}, h.sessions), Backup: g.Backup(admin{h}),
			Keys: g.Keys(h.keys), Policies: g.Policies(h.policies()), Audit: g.Audit(h.audits(cfg)),
			Delegation: g.Delegation(delegation{h.sessions.CallTask, h.signer}, h.sessions), Now: h.opt.Now,
		}),
		openai.Routes(openai.Options{Sessions: sessions, Agents: bound, Now: h.opt.Now})...,
	)
}

// audits is the service that reads and checks the audit.
func (h *Host) audits(cfg *config.Config) audits {
	return audits{log: h.audit, public: h.verifier, kept: checkpointFile(cfg), version: h.opt.Version}
}

// ready reports why the host would refuse work.
func (h *Host) ready(ctx context.Context) error {
	return h.sessions.Ready(ctx)
}

// publish writes the audit's newest checkpoint to a file whenever there is one, until ctx
// ends.
func (h *Host) publish(ctx context.Context, path string) {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	var last []byte
	for {
		select {
		case <-every.C:
			last = h.publishNewer(ctx, path, last)
		case <-ctx.Done():
			return
		}
	}
}

// publishNewer writes the newest checkpoint unless it is last, and returns what the file
// holds.
func (h *Host) publishNewer(ctx context.Context, path string, last []byte) []byte {
	note, err := h.audit.Checkpoint(ctx, host.DefaultTenant)
	if err != nil || len(note) == 0 || bytes.Equal(note, last) {
		return last
	}
	if err := replaceWhole(path, note); err != nil {
		h.opt.Log.ErrorContext(ctx, "the audit's checkpoint is not written", "file", path, "error", err)
		return last
	}
	return note
}

// replaceWhole writes a file so that readers see the old one or the new one.
func replaceWhole(path string, b []byte) error {
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
