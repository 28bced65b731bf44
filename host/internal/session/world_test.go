package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
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
	"github.com/vespiary/vespiary/host/internal/session/snapshot"
	"github.com/vespiary/vespiary/host/internal/store"
	words "github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/cedar"
)

// guest is an agent written as a Go function instead of a module: everything else
// here is real.
type guest func(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error)

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

	patience time.Duration
	life     time.Duration // of a question
	notices  notices

	mu      sync.Mutex
	guest   guest
	others  map[string]guest       // by module
	alive   int                    // instances
	agents  map[string]*host.Agent // beside a
	started int
	effects []string
	agent   *host.Agent
	gone    bool              // the agent is no longer configured
	words   []string          // of the passage that began last
	forge   func(*host.Entry) // changes what is imported
	imaged  string            // the only module with images, empty for all
}

var caller = host.Caller{Tenant: "t", User: "owner"}

func newWorld(t *testing.T, g guest) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), now: time.Now, guest: g, agent: &host.Agent{Name: "a", Module: "sha256:0", Plugin: "p"}}
	w.start()
	t.Cleanup(w.kill)
	return w
}

type journals struct {
	*journal.Journals
	w *world
}

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

func (j journals) Fork(ctx context.Context, o host.Open, ops ...words.Op) (session.Log, error) {
	l, err := j.Journals.Fork(ctx, o, ops...)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (j journals) Import(ctx context.Context, tenant string, r io.Reader, o session.ImportSpec) error {
	_, err := j.Journals.Import(ctx, tenant, r, journal.ImportOptions{
		Session: o.Session, Owner: o.Owner, Entry: func(e *host.Entry, payload []byte) error {
			if j.w.forge != nil {
				j.w.forge(e)
			}
			return o.Entry(e, payload)
		},
		Ops: func(s journal.Summary) ([]words.Op, error) { return o.Ops(s.Root) },
	})
	return err
}

type door struct {
	*gate.Gate
	w *world
}

func (d door) Begin(s session.PassageSpec) (session.Passage, error) {
	d.w.mu.Lock()
	d.w.words = s.Words
	d.w.mu.Unlock()
	o := gate.TurnOptions{
		Session: s.Session, Journal: s.Log, Past: s.Past, Payload: s.Payload, Budget: s.Budget, Label: s.Label, Tasks: s.Tasks, Words: s.Words,
		Patience: s.Patience, Life: s.Life, Unknown: s.Unknown, Lenient: s.Mode == session.Rehearse, Anew: s.Anew,
		Mode: map[session.Mode]gate.Mode{session.Record: gate.Replay, session.Rehearse: gate.Dry}[s.Mode],
	}
	if s.Approvals != nil {
		o.Approvals = s.Approvals
	}
	if p, ok := s.From.(passage); ok {
		o.From = p.Turn
	}
	turn, err := d.Gate.Begin(o)
	return passage{turn}, err
}

type passage struct{ *gate.Turn }

func (p passage) Guest(run *host.Run, begun time.Time) session.Guest {
	return p.Turn.Guest(run, begun)
}

// instance is a guest whose memory is a map.
type instance struct {
	w     *world
	g     guest
	world session.World
	state map[string]string
	fuel  int64
}

type stateKey struct{}

// memoryOf is the memory of the guest that ctx runs.
func memoryOf(ctx context.Context) map[string]string {
	m, _ := ctx.Value(stateKey{}).(map[string]string)
	return m
}

// Start implements session.Runner.
func (w *world) Start(_ context.Context, in session.World) (session.Instance, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alive++
	w.started++
	i := &instance{w: w, g: w.others[in.Module], world: in, state: map[string]string{}}
	if in.Image != nil {
		for k, v := range in.Image.Vars {
			i.state[k] = string(v)
		}
	}
	return i, nil
}

// Call implements session.Instance.
func (i *instance) Call(ctx context.Context, export string, input []byte) ([]byte, error) {
	ctx = context.WithValue(ctx, stateKey{}, i.state)
	switch export {
	case "save":
		return json.Marshal(i.state)
	case "migrate":
		var m abi.Migration
		if err := json.Unmarshal(input, &m); err != nil {
			return nil, err
		}
		if len(m.State) == 0 {
			return []byte("{}"), nil
		}
		return []byte("{}"), json.Unmarshal(m.State, &i.state)
	}
	var e abi.Event
	if err := json.Unmarshal(input, &e); err != nil || export != "handle" {
		return nil, fmt.Errorf("%s: %w", export, err)
	}
	i.fuel += 1000
	if _, err := i.world.Fuel.Draw(1000); err != nil {
		return nil, err
	}
	g := i.g
	if g == nil {
		i.w.mu.Lock()
		g = i.w.guest
		i.w.mu.Unlock()
	}
	r, err := g(ctx, i.world.Calls, e)
	if err != nil {
		return nil, err
	}
	return json.Marshal(r)
}

func (i *instance) Exports(name string) bool {
	return name == "handle" || i.world.Module == "sha256:2" && (name == "save" || name == "migrate") || name == "save"
}

func (i *instance) Image(context.Context) (*host.Image, error) {
	if i.w.imaged != "" && i.w.imaged != i.world.Module {
		return nil, session.ErrNoImage
	}
	m := &host.Image{Base: "sha256:base", Size: 65536, Vars: map[string][]byte{}}
	for k, v := range i.state {
		m.Vars[k] = []byte(v)
	}
	return m, nil
}

func (i *instance) Fuel() int64 { return i.fuel }

func (i *instance) Close() {
	i.w.mu.Lock()
	defer i.w.mu.Unlock()
	i.w.alive--
}

// notices is a Notices that notes what it is told.
type notices struct {
	mu   sync.Mutex
	seen []host.Notice
}

func (n *notices) Ops(x host.Notice) ([]words.Op, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.seen = append(n.seen, x)
	return []words.Op{{Key: []byte("notice/" + x.ID), Value: []byte(x.Type)}}, nil
}

func (n *notices) Wake() {}

func (n *notices) types() []host.NoticeType {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []host.NoticeType
	for _, x := range n.seen {
		out = append(out, x.Type)
	}
	return out
}

// Agent and Plugin implement session.Agents.
func (w *world) Agent(name string) (*host.Agent, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if other := w.agents[name]; other != nil {
		return other, true
	}
	return w.agent, name == "a" && !w.gone
}

func (w *world) Plugin(context.Context, string) (string, []string, error) {
	return "p", []string{"effect", "emit", "await", "memory_session", "model_chat", "tool", "agent_call"}, nil
}

// fillable is a real store whose disk can be said to be full.
type fillable struct {
	*store.Local
	full   atomic.Bool
	refuse atomic.Pointer[func(words.Batch) error]
}

func (f *fillable) Commit(ctx context.Context, b words.Batch) (words.Revision, error) {
	if f.full.Load() {
		return 0, words.ErrFull
	}
	if refuse := f.refuse.Load(); refuse != nil {
		if err := (*refuse)(b); err != nil {
			return 0, err
		}
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

func (k effect) Perform(ctx context.Context, c *host.Call) (host.Output, error) {
	if c.Class.State == "crash" { // it happens, and the host never gets to know
		k.w.mu.Lock()
		k.w.effects = append(k.w.effects, "crash")
		k.w.mu.Unlock()
		<-ctx.Done()
		return host.Output{}, ctx.Err()
	}
	k.w.mu.Lock()
	defer k.w.mu.Unlock()
	k.w.effects = append(k.w.effects, c.Class.State.(string))
	if c.Class.State == "secret" {
		return host.Output{Labels: abi.Labels{"": {Integrity: abi.Trusted, Readers: []string{"user4"}}}}, nil
	}
	return host.Output{Derived: c.Class.State != "web"}, nil // what comes from the web is untrusted
}

// chat is a capability that answers with the name of the model that it was asked for.
type chat struct{}

func (chat) Classify(_ context.Context, c *host.Call) (host.Class, error) {
	var in struct{ Model string }
	err := json.Unmarshal(c.Request, &in)
	return host.Class{Action: "callModel", Kind: host.Egress, Recovery: abi.RecoverRetry, State: in.Model, Resource: policy.Entity{
		UID: policy.UID{Type: "Model", ID: in.Model}, Attrs: map[string]any{"name": in.Model},
	}}, err
}

func (chat) Perform(_ context.Context, c *host.Call) (host.Output, error) {
	b, err := json.Marshal(c.Class.State)
	u := abi.Usage{InputTokens: 7}
	if c.Class.State == "dear" {
		u.CostMicros = 10
	}
	return host.Output{OK: b, Usage: u}, err
}

// tool is a capability whose calls activate a guest.
type tool struct{ w *world }

func (k tool) Classify(ctx context.Context, c *host.Call) (host.Class, error) {
	class, err := effect(k).Classify(ctx, c)
	class.Kind, class.Recovery = host.Control, host.RecoverNested
	class.Child = &host.Child{Module: "sha256:tool", Plugin: "tool", Needs: []string{"effect", "await"}}
	return class, err
}

func (k tool) Perform(ctx context.Context, c *host.Call) (host.Output, error) {
	out, err := k.w.service.Activate(ctx, c, *c.Class.Child, "handle", []byte("{}"))
	return host.Output{OK: out, Derived: true}, err
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
	set, err := cedar.Compile(map[string][]byte{"all.cedar": []byte(`@id("all") permit (principal, action, resource);
@id("ask") @needs_approval("asking") forbid (principal, action == Action::"fileWrite", resource)
when { resource.path like "ask*" } unless { context has approval && context.approval.digest == context.argsDigest };`)})
	if err != nil {
		w.t.Fatal(err)
	}
	caps := map[string]host.Capability{"effect": effect{w}, "tool": tool{w}, abi.CallModelChat: chat{}}
	log := slog.New(slog.DiscardHandler)
	service = session.New(session.Options{
		Store: w.store, Journals: journals{w.journals, w}, Runner: w, Agents: w, Now: w.now, Log: log, Limits: w.limits,
		Prefixes: prefixes, Private: snapshot.Prefixes, Grants: grants{set},
		Images: snapshot.New(w.store, w.journals), Notices: &w.notices, Patience: w.patience, ApprovalLife: w.life,
		Memory: func() int64 { return w.memory },
		Door:   door{gate.New(gate.Options{Capabilities: caps, Policy: cedar.New(set), Now: w.now, Log: log}), w},
	})
	maps.Copy(caps, service.Capabilities())
	w.service = service
	if err := service.Resume(ctx); err != nil {
		w.t.Fatal(err)
	}
}

// grants checks grants by a set.
type grants struct{ set *cedar.Set }

func (g grants) CheckGrants(list []policy.Grant) error { return g.set.CheckGrants(list) }
func (g grants) Attenuates(parent, child []policy.Grant) error {
	return g.set.Attenuates(parent, child)
}

func prefixes(tenant, id string) [][]byte {
	return append(journal.Prefixes(tenant, id), snapshot.Prefixes(tenant, id)...)
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

func ask(ctx context.Context, g session.Calls, name, request string) (abi.Result, error) {
	b, err := g.Call(ctx, name, []byte(request))
	if err != nil {
		return abi.Result{}, err
	}
	var r abi.Result
	return r, json.Unmarshal(b, &r)
}

func echo(_ context.Context, _ session.Calls, e abi.Event) (abi.Reply, error) {
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
