package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/gate"
	"github.com/vespiary/vespiary/host/internal/journal"
	"github.com/vespiary/vespiary/host/internal/session"
	"github.com/vespiary/vespiary/host/internal/store"
	words "github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/cedar"
)

// guest is an agent written as a Go function instead of a module: everything else
// here is real.
type guest func(ctx context.Context, g session.Guest, e abi.Event) (abi.Reply, error)

// world is one data folder and the host that runs on it now.
type world struct {
	t        *testing.T
	dir      string
	now      func() time.Time
	limits   session.Limits
	memory   int64
	store    *fillable
	journals *journal.Journals
	service  *session.Service

	mu      sync.Mutex
	guest   guest
	effects []string
	agent   *host.Agent
}

var caller = host.Caller{Tenant: "t", User: "owner"}

func newWorld(t *testing.T, g guest) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), now: time.Now, guest: g, agent: &host.Agent{Name: "a", Module: "sha256:0", Plugin: "p"}}
	w.start()
	t.Cleanup(w.kill)
	return w
}

type journals struct{ *journal.Journals }

func (j journals) Create(ctx context.Context, o host.Open, ops ...words.Op) (session.Log, error) {
	l, err := j.Journals.Create(ctx, o, ops...)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (j journals) Acquire(ctx context.Context, tenant, id string) (session.Log, error) {
	l, err := j.Journals.Acquire(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	return l, nil
}

type door struct{ *gate.Gate }

func (d door) Begin(s session.PassageSpec) (session.Passage, error) {
	turn, err := d.Gate.Begin(gate.TurnOptions{
		Session: s.Session, Journal: s.Log, Past: s.Past, Payload: s.Payload, Budget: s.Budget, Label: s.Label,
	})
	return passage{turn}, err
}

type passage struct{ *gate.Turn }

func (p passage) Guest(run *host.Run, begun time.Time) session.Guest {
	return p.Turn.Guest(run, begun)
}

// Run implements session.Runner.
func (w *world) Run(ctx context.Context, a session.Activation, export string, input []byte) ([]byte, error) {
	w.mu.Lock()
	g := w.guest
	w.mu.Unlock()
	var e abi.Event
	if err := json.Unmarshal(input, &e); err != nil || export != "handle" {
		return nil, fmt.Errorf("%s: %w", export, err)
	}
	r, err := g(ctx, a.Guest, e)
	if err != nil {
		return nil, err
	}
	return json.Marshal(r)
}

// Agent and Plugin implement session.Agents.
func (w *world) Agent(name string) (*host.Agent, bool) { return w.agent, name == "a" }

func (w *world) Plugin(context.Context, string) (string, []string, error) {
	return "p", []string{"effect", "emit", "await", "memory_session"}, nil
}

// fillable is a real store whose disk can be said to be full.
type fillable struct {
	*store.Local
	full atomic.Bool
}

func (f *fillable) Commit(ctx context.Context, b words.Batch) (words.Revision, error) {
	if f.full.Load() {
		return 0, words.ErrFull
	}
	return f.Local.Commit(ctx, b)
}

// effect is a capability that notes what it did to the world.
type effect struct{ w *world }

func (k effect) Classify(_ context.Context, c *host.Call) (host.Class, error) {
	var in struct{ Path string }
	if err := json.Unmarshal(c.Request, &in); err != nil {
		return host.Class{}, &abi.Error{Code: abi.CodeInvalid, Message: err.Error()}
	}
	return host.Class{Action: "fileWrite", Kind: host.Effect, Recovery: abi.RecoverOnce, State: in.Path, Resource: policy.Entity{
		UID: policy.UID{Type: "File", ID: in.Path}, Attrs: map[string]any{"path": in.Path, "inside": true, "readOnly": false},
	}}, nil
}

func (k effect) Perform(_ context.Context, c *host.Call) (host.Output, error) {
	k.w.mu.Lock()
	defer k.w.mu.Unlock()
	k.w.effects = append(k.w.effects, c.Class.State.(string))
	return host.Output{Derived: c.Class.State != "web"}, nil // what comes from the web is untrusted
}

func (w *world) start() {
	w.t.Helper()
	ctx := context.Background()
	s, err := store.Open(ctx, store.Options{Dir: w.dir, Edge: true, MinFree: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	w.store = &fillable{Local: s}
	keys, err := journal.NewKeys(w.store, bytes.Repeat([]byte{1}, 32))
	if err != nil {
		w.t.Fatal(err)
	}
	var service *session.Service
	w.journals = journal.New(w.store, keys, journal.Options{Now: w.now, Committed: func(tenant, id string, es []host.Entry) { service.Committed(tenant, id, es) }})
	set, err := cedar.Compile(map[string][]byte{"all.cedar": []byte(`@id("all") permit (principal, action, resource);`)})
	if err != nil {
		w.t.Fatal(err)
	}
	caps := map[string]host.Capability{"effect": effect{w}}
	log := slog.New(slog.DiscardHandler)
	service = session.New(session.Options{
		Store: w.store, Journals: journals{w.journals}, Runner: w, Agents: w, Now: w.now, Log: log, Limits: w.limits,
		Prefixes: journal.Prefixes,
		Memory:   func() int64 { return w.memory },
		Door:     door{gate.New(gate.Options{Capabilities: caps, Policy: cedar.New(set), Now: w.now, Log: log})},
	})
	maps.Copy(caps, service.Capabilities())
	w.service = service
	if err := service.Resume(ctx); err != nil {
		w.t.Fatal(err)
	}
}

// kill ends the host without letting anything finish.
func (w *world) kill() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = w.service.Close(ctx)
	_ = w.store.Close()
}

func (w *world) restart(g guest) {
	w.kill()
	w.mu.Lock()
	w.guest = g
	w.mu.Unlock()
	w.start()
}

func (w *world) invoke(in host.Invocation) host.Turn {
	w.t.Helper()
	turn, err := w.service.Invoke(w.t.Context(), w.fill(in))
	if err != nil {
		w.t.Fatal(err)
	}
	return turn
}

func (w *world) fill(in host.Invocation) host.Invocation {
	in.Caller, in.Agent = caller, "a"
	if in.Event.Type == "" {
		in.Event.Type = abi.EventMessage
	}
	return in
}

func (w *world) await(turn host.Turn) host.Turn {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	out, err := w.service.Await(ctx, caller, turn.Session, turn.Number)
	if err != nil {
		w.t.Fatalf("turn %d: %v (%+v)", turn.Number, err, out)
	}
	return out
}

func say(text string) (abi.Reply, error) {
	return abi.Reply{Status: abi.StatusDone, Content: []abi.Content{abi.Text(text)}}, nil
}

func ask(ctx context.Context, g session.Guest, name, request string) (abi.Result, error) {
	b, err := g.Call(ctx, name, []byte(request))
	if err != nil {
		return abi.Result{}, err
	}
	var r abi.Result
	return r, json.Unmarshal(b, &r)
}

func echo(_ context.Context, _ session.Guest, e abi.Event) (abi.Reply, error) {
	return say(fmt.Sprintf("%d:%s", e.Turn, abi.TextOf(e.Content)))
}

func asError(e *abi.Error) error {
	if e == nil {
		return nil
	}
	return e
}

func message(text string) host.Invocation {
	return host.Invocation{Event: abi.Event{Content: []abi.Content{abi.Text(text)}}}
}
