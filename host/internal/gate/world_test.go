package gate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/gate"
	"github.com/vespiary/vespiary/host/internal/journal"
	"github.com/vespiary/vespiary/host/internal/store"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/cedar"
)

// world is a real journal in a real store behind a real policy, in front of
// capabilities that note what was performed.
type world struct {
	t         testing.TB
	store     *store.Local
	journals  *journal.Journals
	log       *journal.Log
	gate      *gate.Gate
	policy    *cedar.Engine
	seen      observed
	mu        sync.Mutex
	performed []string
	caps      map[string]host.Capability
}

const policies = `
@id("reads") permit (principal, action == Action::"fileRead", resource);
@id("writes") permit (principal, action == Action::"fileWrite", resource) unless { resource.path == "locked" };
@id("locked") forbid (principal, action == Action::"fileWrite", resource) when { resource.path == "locked" };
@id("ask") @needs_approval("asking") forbid (principal, action == Action::"fileWrite", resource)
  when { resource.path == "ask" } unless { context has approval && context.approval.digest == context.argsDigest };
@id("speaks") permit (principal, action in [Action::"emit", Action::"reply"], resource);
@id("thinks") permit (principal, action == Action::"callModel", resource);
@id("shallow") forbid (principal, action == Action::"fileRead", resource) when { principal.depth > 0 && resource.path == "private" };
`

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{t: tb}
	s, err := store.Open(context.Background(), store.Options{Dir: tb.TempDir(), Edge: true, MinFree: 1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	keys, err := journal.NewKeys(s, bytes.Repeat([]byte{1}, 32))
	if err != nil {
		tb.Fatal(err)
	}
	w.store, w.journals = s, journal.New(s, keys, journal.Options{Now: time.Now})
	w.log, err = w.journals.Create(tb.Context(), host.Open{Session: host.Session{ID: "s", Tenant: "t", Owner: "owner"}})
	if err != nil {
		tb.Fatal(err)
	}
	set, err := cedar.Compile(map[string][]byte{"test.cedar": []byte(policies)})
	if err != nil {
		tb.Fatal(err)
	}
	w.caps = map[string]host.Capability{
		"read":       &capability{w: w, action: "fileRead", kind: host.Observe, recovery: abi.RecoverRead},
		"write":      &capability{w: w, action: "fileWrite", kind: host.Effect, recovery: abi.RecoverOnce},
		"keyed":      &capability{w: w, action: "fileWrite", kind: host.Effect, recovery: abi.RecoverKeyed},
		"think":      &capability{w: w, action: "callModel", kind: host.Egress, recovery: abi.RecoverRetry, tokens: 100},
		abi.CallEmit: session{"emit"},
		"reply":      session{"reply"},
	}
	w.policy = cedar.New(set)
	w.gate = gate.New(gate.Options{Capabilities: w.caps, Policy: w.policy, Observer: &w.seen, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	return w
}

// observed counts what an observer is told.
type observed struct{ started, ended, refused, replayed, unknown atomic.Int32 }

func (o *observed) StartCall(ctx context.Context, _ *host.Call) (context.Context, func(abi.Code, abi.Usage)) {
	o.started.Add(1)
	return ctx, func(abi.Code, abi.Usage) { o.ended.Add(1) }
}
func (o *observed) Refused(string, abi.Code) { o.refused.Add(1) }
func (o *observed) Replayed(string)          { o.replayed.Add(1) }
func (o *observed) Unknown(string)           { o.unknown.Add(1) }

func (o *observed) String() string {
	return fmt.Sprintf("%d started, %d ended, %d refused, %d replayed, %d unknown", o.started.Load(), o.ended.Load(), o.refused.Load(), o.replayed.Load(), o.unknown.Load())
}

// capability notes each performance and answers with the request's path.
type capability struct {
	w        *world
	action   string
	kind     host.Kind
	recovery abi.Recovery
	tokens   int64
	perform  func(ctx context.Context, c *host.Call) (host.Output, error)
}

func (k *capability) Classify(_ context.Context, c *host.Call) (host.Class, error) {
	var in struct{ Path string }
	if err := json.Unmarshal(c.Request, &in); err != nil {
		return host.Class{}, &abi.Error{Code: abi.CodeInvalid, Message: "not JSON"}
	}
	class := host.Class{Action: k.action, Kind: k.kind, Recovery: k.recovery, State: in.Path, Tokens: k.tokens}
	switch k.action {
	case "callModel":
		class.Resource = policy.Entity{UID: policy.UID{Type: "Model", ID: "m"}, Attrs: map[string]any{"name": "m"}}
	default:
		class.Resource = policy.Entity{
			UID:   policy.UID{Type: "File", ID: in.Path},
			Attrs: map[string]any{"path": in.Path, "inside": true, "readOnly": false},
		}
	}
	return class, nil
}

func (k *capability) Perform(ctx context.Context, c *host.Call) (host.Output, error) {
	k.w.mu.Lock()
	k.w.performed = append(k.w.performed, fmt.Sprintf("%s %s %v #%d", c.Name, c.Path, c.Class.State, c.Attempt))
	k.w.mu.Unlock()
	if k.perform != nil {
		return k.perform(ctx, c)
	}
	ok, _ := json.Marshal(c.Class.State)
	return host.Output{OK: ok, Usage: abi.Usage{InputTokens: k.tokens}}, nil
}

type session struct{ action string }

func (s session) Classify(_ context.Context, c *host.Call) (host.Class, error) {
	return host.Class{Action: s.action, Kind: host.Egress, Recovery: abi.RecoverTxn, Resource: policy.Entity{
		UID: policy.UID{Type: "Session", ID: c.Run.Session}, Attrs: map[string]any{
			"owner": policy.UID{Type: "User", ID: c.Run.Owner}, "agent": policy.UID{Type: "Agent", ID: c.Run.Agent.Name},
		},
	}}, nil
}

func (session) Perform(context.Context, *host.Call) (host.Output, error) {
	return host.Output{Derived: true}, nil
}

func run(parent *host.Run, path string) *host.Run {
	agent := policy.UID{Type: "Agent", ID: "a"}
	task := policy.UID{Type: "Task", ID: "k"}
	user := policy.UID{Type: "User", ID: "owner"}
	module := policy.UID{Type: "Module", ID: "sha256:0"}
	r := &host.Run{
		ID: "s/" + path, Session: "s", Task: "k", Tenant: "t", User: "owner", Owner: "owner", Agent: &host.Agent{Name: "a"},
		Module: "sha256:0", Plugin: "p", Needs: []string{"read", "write", "keyed", "think", "emit"}, Turn: 1, Path: path, Parent: parent,
	}
	entity := policy.Entity{UID: policy.UID{Type: "Run", ID: r.ID}, Parents: []policy.UID{agent, task}, Attrs: map[string]any{
		"agent": agent, "task": task, "module": module, "user": user, "depth": int64(0),
	}}
	known := []policy.Entity{
		{UID: agent, Attrs: map[string]any{"module": module, "external": false}},
		{UID: task, Attrs: map[string]any{"state": "active", "user": user, "restricted": false, "grants": []string{}}},
		{UID: user, Attrs: map[string]any{"name": "owner"}},
		{UID: module, Attrs: map[string]any{"name": "p", "version": ""}},
	}
	if parent != nil {
		r.Depth = parent.Depth + 1
		entity.Attrs["depth"] = int64(r.Depth)
		entity.Attrs["parent"] = policy.UID{Type: "Run", ID: parent.ID}
		entity.Parents = append(entity.Parents, policy.UID{Type: "Run", ID: parent.ID})
		known = parent.Known.Entities
	}
	r.Known = &policy.Known{Entities: append(slices.Clone(known), entity)}
	return r
}

// begin starts the passage of turn 1 with what the journal has of it.
func (w *world) begin(opt gate.TurnOptions) (*gate.Turn, *gate.Guest) {
	w.t.Helper()
	for e, err := range w.journals.Read(context.Background(), "t", "s", 1) {
		if host.CodeOf(err) == host.ErrNotFound {
			break
		}
		if err != nil {
			w.t.Fatal(err)
		}
		if e.Kind != host.EntryOpen {
			opt.Past = append(opt.Past, e)
		}
	}
	opt.Session, opt.Journal = "s", w.log
	opt.Payload = func(ctx context.Context, e host.Entry) ([]byte, error) { return w.journals.Payload(ctx, "t", e) }
	if opt.Label.Sources == nil {
		opt.Label = abi.Label{Integrity: abi.Trusted, Readers: []string{"owner"}, Sources: []string{"user:owner"}}
	}
	turn, err := w.gate.Begin(opt)
	if err != nil {
		w.t.Fatal(err)
	}
	return turn, turn.Guest(run(nil, "1"), time.Unix(1, 0))
}

// crash loses what was not committed and takes the session over.
func (w *world) crash() {
	w.t.Helper()
	var err error
	if w.log, err = w.journals.Acquire(context.Background(), "t", "s"); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) commit() {
	w.t.Helper()
	if err := w.log.Commit(context.Background()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) took() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.performed
	w.performed = nil
	return out
}

func call(tb testing.TB, g *gate.Guest, name, request string) abi.Result {
	tb.Helper()
	b, err := g.Call(context.Background(), name, []byte(request))
	if err != nil {
		tb.Fatal(err)
	}
	var r abi.Result
	if err := json.Unmarshal(b, &r); err != nil {
		tb.Fatal(err)
	}
	return r
}

func code(r abi.Result) abi.Code {
	if r.Error == nil {
		return ""
	}
	return r.Error.Code
}

var (
	discard = slog.New(slog.DiscardHandler)
	now     = time.Now
)

// call makes a call and returns its result as text.
func (w *world) call(g *gate.Guest, name, request string) string {
	w.t.Helper()
	out, err := g.Call(w.t.Context(), name, []byte(request))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(out)
}
