package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/journal"
	"github.com/vespiary/vespiary/host/internal/store"
	"github.com/vespiary/vespiary/host/internal/tool"
	words "github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/audit"
	"github.com/vespiary/vespiary/policy/cedar"
)

// office is all that policies and the audit are made of, over a store of its own.
type office struct {
	t        *testing.T
	store    *store.Local
	journals *journal.Journals
	log      *audit.Log
	public   string
	engine   *cedar.Engine
	policies policies
	dir      string // of the policies
	lock     sync.Mutex
	clock    time.Time
	refuse   error // what a reload fails with
	tools    []tool.Declared
}

var user1 = host.Caller{Tenant: host.DefaultTenant, User: "user1", Groups: []string{"staff"}}

var triage = &host.Agent{Name: "triage", Plugin: "loop", Module: "sha256:00", Tools: []string{"hello", "other.b"}, Roles: []string{"reader"}}

var baseFiles = map[string]string{
	"base.cedar": `@id("read") permit (principal in Agent::"triage", action == Action::"fileRead", resource);
@id("greet") permit (principal, action == Action::"hello.greet", resource) when { context.input.name != "user3" };
`,
	"team/more.cedar": `@id("ask") @needs_approval("writing needs a yes")
forbid (principal, action == Action::"fileWrite", resource)
unless { context has approval && context.approval.digest == context.argsDigest };
@id("write") permit (principal, action == Action::"fileWrite", resource);
`,
}

func newOffice(t *testing.T) *office {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: t.TempDir(), Edge: true, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	ring, err := journal.NewKeys(s, bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	o := &office{
		t: t, store: s, engine: cedar.New(nil), dir: folderOf(t, baseFiles), clock: time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC),
		tools: []tool.Declared{
			{Action: "hello.greet", ReadOnly: true, Schema: []byte(`{"type":"object","properties":{"name":{"type":"string"}},"required":["name"]}`)},
			{Action: "other.a"},
			{Action: "other.b"},
		},
	}
	o.journals = journal.New(s, ring, journal.Options{Now: o.now})
	key, err := audit.GenerateKey(strings.NewReader(strings.Repeat("k", 100)), "office")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := audit.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	o.public = signer.PublicKey()
	if o.log, err = audit.New(audit.Options{Store: s, Signer: signer, Now: o.now}); err != nil {
		t.Fatal(err)
	}
	o.policies = policies{policyOptions{
		Engine: o.engine, Kept: keptSets{s}, Past: past{o.log, o.journals, slog.New(slog.DiscardHandler)},
		Dir: func() string { return o.dir }, Compile: o.compile, Lock: &o.lock, Reload: o.reload,
		Able: func(context.Context, string) (able, error) { return o.able(), nil },
	}}
	if err := o.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	return o
}

// now moves on by a second whenever it is asked for.
func (o *office) now() time.Time {
	o.clock = o.clock.Add(time.Second)
	return o.clock
}

func (o *office) rules(files map[string][]byte) (rules, error) {
	return rulesOf(&config.Config{}, files, actionsOf(o.tools))
}

func (o *office) compile(_ context.Context, files map[string][]byte) (*cedar.Set, error) {
	r, err := o.rules(files)
	return r.active, err
}

// reload is that of a host: all or nothing.
func (o *office) reload(ctx context.Context) error {
	files, err := policyFiles(o.dir)
	if err != nil {
		return err
	}
	r, err := o.rules(files)
	if err = errors.Join(err, o.refuse); err != nil {
		return err
	}
	for _, set := range []*cedar.Set{r.active, r.candidate} {
		if err := o.policies.Kept.keep(ctx, set); err != nil {
			return err
		}
	}
	o.engine.Replace(r.active, r.candidate)
	return nil
}

func (o *office) able() able {
	return able{
		agent: triage, needs: []string{"model_chat", "tool_call", "file_read", "file_write", "http_fetch", "agent_call", "emit"}, tools: o.tools,
		models: map[string]config.Model{"main": {Provider: "offline", Model: "m"}}, agents: []*host.Agent{triage, {Name: "out", Module: host.ModuleExternal}},
	}
}

// session opens the journal of one, so that it has a key.
func (o *office) session(id string) {
	o.t.Helper()
	l, err := o.journals.Create(o.t.Context(), host.Open{Session: host.Session{ID: id, Tenant: host.DefaultTenant, Owner: "user1", Agent: "triage"}, Seed: make([]byte, 32)})
	if err != nil {
		o.t.Fatal(err)
	}
	if err := l.Commit(o.t.Context()); err != nil {
		o.t.Fatal(err)
	}
}

// request is a call of triage for user1.
func (o *office) request(action string, resource policy.Entity, more map[string]any) *policy.Request {
	run := imagined(user1, triage)
	context := map[string]any{
		"now": o.clock, "chain": []policy.UID{run.Principal}, "agents": []policy.UID{uid("Agent", "triage")}, "path": "1/1", "argsDigest": "d",
		"left": map[string]any{"tokens": int64(-1), "usdMicros": int64(-1), "calls": int64(-1)},
		"flow": map[string]any{
			"pc": int64(2), "control": int64(2), "data": int64(2), "isPublic": false, "readers": []string{"user1"}, "recipients": []string{},
			"named": false, "sources": []string{},
		},
	}
	maps.Copy(context, more)
	return &policy.Request{
		Principal: run.Principal, Action: uid("Action", action), Resource: resource.UID, Context: context, Known: run.Known,
		Entities: []policy.Entity{resource, {UID: uid("Folder", "workspace")}, {UID: uid("ToolSet", "hello")}},
	}
}

func fileEntity(name string) policy.Entity {
	return policy.Entity{
		UID: uid("File", name), Parents: []policy.UID{uid("Folder", "workspace")},
		Attrs: map[string]any{"path": name, "inside": true, "readOnly": false},
	}
}

var greet = policy.Entity{
	UID: uid("Tool", "hello.greet"), Parents: []policy.UID{uid("ToolSet", "hello")}, Attrs: map[string]any{"source": "hello", "readOnly": true},
}

func name(s string) map[string]any { return map[string]any{"input": map[string]any{"name": s}} }

// decide asks, and takes down what was decided in the session, sealed.
func (o *office) decide(session string, r *policy.Request) policy.Record {
	o.t.Helper()
	d := o.engine.Authorize(o.t.Context(), r)
	plain, err := policy.AppendEvidence(nil, r)
	if err != nil {
		o.t.Fatal(err)
	}
	sealed, err := o.journals.Wrap(o.t.Context(), &host.Run{Tenant: host.DefaultTenant, Session: session}, plain)
	if err != nil {
		o.t.Fatal(err)
	}
	return o.write(policy.Record{
		Chain: "task-" + session, Kind: policy.RecordDecision, Session: session, Turn: 1, Path: "1/1", Call: "call",
		Who:    []policy.Actor{{Run: "R", Agent: "triage", Task: "task-" + session, User: "user1"}, {User: "user1"}},
		Action: r.Action.ID, Resource: r.Resource, Decision: &d, Evidence: sealed,
	})
}

func (o *office) write(r policy.Record) policy.Record {
	o.t.Helper()
	if r.Tenant == "" {
		r.Tenant = host.DefaultTenant
	}
	if err := o.log.Write(o.t.Context(), &r); err != nil {
		o.t.Fatal(err)
	}
	return r
}

// change makes a change that must succeed.
func (o *office) change(c host.PolicyChange) host.PolicySet {
	o.t.Helper()
	set, err := o.policies.Change(o.t.Context(), user1, c)
	if err != nil {
		o.t.Fatal(err)
	}
	return set
}

func (o *office) active() host.PolicySet {
	o.t.Helper()
	set, err := o.policies.Active(o.t.Context(), user1)
	if err != nil {
		o.t.Fatal(err)
	}
	return set
}

func textsOf(files []host.PolicyFile) map[string]string {
	out := map[string]string{}
	for _, f := range files {
		out[f.Name] = f.Text
	}
	return out
}

func TestPoliciesChange(t *testing.T) {
	o := newOffice(t)
	first := o.active()
	if diff := cmp.Diff(baseFiles, textsOf(first.Files)); diff != "" || first.Policies != 4 || first.Candidate == "" {
		t.Fatalf("%+v (-want +got):\n%s", first, diff)
	}
	one := host.PolicyFile{Name: "new.cedar", Text: "@id(\"embed\") permit (principal, action == Action::\"embed\", resource);\n"}
	second := o.change(host.PolicyChange{Match: first.Digest, Write: []host.PolicyFile{one}, Remove: []string{"team/more.cedar"}})
	want := map[string]string{"base.cedar": baseFiles["base.cedar"], "new.cedar": one.Text}
	if diff := cmp.Diff(want, textsOf(second.Files)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, allIn(t, o.dir)); diff != "" {
		t.Errorf("folder (-want +got):\n%s", diff)
	}
	if second.Digest == first.Digest || o.engine.Set().Digest() != second.Digest || o.active().Digest != second.Digest {
		t.Errorf("decided by %s, changed from %s to %s", o.engine.Set().Digest(), first.Digest, second.Digest)
	}
	third := o.change(host.PolicyChange{Match: second.Digest, All: true, Write: []host.PolicyFile{one}})
	if diff := cmp.Diff(map[string]string{"new.cedar": one.Text}, allIn(t, o.dir)); diff != "" || third.Policies != 1 {
		t.Errorf("all files (-want +got):\n%s", diff)
	}
	for _, set := range []host.PolicySet{first, second, third} {
		kept, err := o.policies.Set(t.Context(), user1, set.Digest)
		if err != nil {
			t.Fatal(err)
		}
		set.Candidate = ""
		if diff := cmp.Diff(set, kept); diff != "" {
			t.Errorf("the set of then (-want +got):\n%s", diff)
		}
	}
	if again := o.change(host.PolicyChange{Match: third.Digest, Write: []host.PolicyFile{one}}); again.Digest != third.Digest {
		t.Errorf("a change of nothing made %s of %s", again.Digest, third.Digest)
	}
}

func TestPoliciesChangeRefuses(t *testing.T) {
	o := newOffice(t)
	good := host.PolicyFile{Name: "new.cedar", Text: `@id("n") permit (principal, action == Action::"embed", resource);`}
	for _, tc := range []struct {
		name   string
		change host.PolicyChange
		refuse error
		code   host.ErrorCode
		says   string
	}{
		{"another set", host.PolicyChange{Match: "sha256:0", Write: []host.PolicyFile{good}}, nil, host.ErrConflict, "by now"},
		{"remove what is not there", host.PolicyChange{Remove: []string{"gone.cedar"}}, nil, host.ErrNotFound, "gone.cedar"},
		{"write and remove", host.PolicyChange{Write: []host.PolicyFile{{Name: "base.cedar"}}, Remove: []string{"base.cedar"}}, nil, host.ErrInvalid, "choose one"},
		{"out of the folder", host.PolicyChange{Write: []host.PolicyFile{{Name: "../x.cedar"}}}, nil, host.ErrInvalid, "cannot be the name"},
		{"a ready-made file", host.PolicyChange{Write: []host.PolicyFile{{Name: "builtin/flow.cedar"}}}, nil, host.ErrInvalid, "cannot be the name"},
		{"no policies", host.PolicyChange{Write: []host.PolicyFile{{Name: "x.txt"}}}, nil, host.ErrInvalid, "cannot be the name"},
		{"twice", host.PolicyChange{Write: []host.PolicyFile{good, good}}, nil, host.ErrInvalid, "twice"},
		{"not valid", host.PolicyChange{Write: []host.PolicyFile{{Name: "new.cedar", Text: "permit (principal, action, resource);\n\n@id(\"x\") forbid (principal, action == Action::\"fileReed\", resource);"}}}, nil, host.ErrInvalid, "nothing was changed"},
		{"the host cannot reload", host.PolicyChange{Write: []host.PolicyFile{good}, Remove: []string{"team/more.cedar"}}, errors.New("no model"), host.ErrInternal, "no model"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			was := o.engine.Set()
			o.refuse = tc.refuse
			defer func() { o.refuse = nil }()
			_, err := o.policies.Change(t.Context(), user1, tc.change)
			if host.CodeOf(err) != tc.code || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v (%s), want %s: %s", err, host.CodeOf(err), tc.code, tc.says)
			}
			if diff := cmp.Diff(baseFiles, allIn(t, o.dir)); diff != "" || o.engine.Set() != was {
				t.Errorf("it was changed (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPolicyProblems: each says where it is, what is wrong and what to do.
func TestPolicyProblems(t *testing.T) {
	o := newOffice(t)
	files := []host.PolicyFile{
		{Name: "a.cedar", Text: "permit (principal, action, resource);\n\n@id(\"x\")\nforbid (principal, action == Action::\"fileReed\", resource);"},
		{Name: "b.cedar", Text: "@id(\"greeting\") permit (principal, action == Action::\"hello.greet\", resource) when { context.input.nam == \"user3\" };"},
	}
	_, err := o.policies.Change(t.Context(), user1, host.PolicyChange{Write: files})
	problems, ok := errors.AsType[host.PolicyProblems](err)
	if !ok {
		t.Fatalf("no problems: %v", err)
	}
	check, err := o.policies.Check(t.Context(), user1, files)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]host.PolicyProblem(problems), check.Problems); diff != "" {
		t.Errorf("change and check differ:\n%s", diff)
	}
	places := map[string]bool{}
	for _, p := range problems {
		places[fmt.Sprintf("%s:%d %s", p.File, p.Line, p.Policy)] = true
		if p.What == "" || p.Fix == "" {
			t.Errorf("%+v", p)
		}
	}
	if diff := cmp.Diff(map[string]bool{"a.cedar:1 ": true, "a.cedar:3 x": true, "b.cedar:1 greeting": true}, places); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	good, err := o.policies.Check(t.Context(), user1, o.active().Files)
	if err != nil || good.Digest != o.active().Digest || good.Policies != 4 || good.Problems == nil || len(good.Problems) > 0 {
		t.Errorf("the files of now: %+v, %v", good, err)
	}
	schema, err := o.policies.Schema(t.Context(), user1)
	if err != nil || !strings.Contains(schema, `"hello.greet"`) {
		t.Errorf("the schema does not have the tool: %v", err)
	}
}

// TestPoliciesChangedByHand: what nobody has loaded is not put into effect unseen.
func TestPoliciesChangedByHand(t *testing.T) {
	o := newOffice(t)
	seen := o.active()
	if err := os.WriteFile(filepath.Join(o.dir, "hand.cedar"), []byte(`@id("all") permit (principal, action, resource);`), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := o.policies.Change(t.Context(), user1, host.PolicyChange{Match: seen.Digest, Remove: []string{"team/more.cedar"}})
	if host.CodeOf(err) != host.ErrConflict || !strings.Contains(err.Error(), "reload it") {
		t.Errorf("%v", err)
	}
	if err := o.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.change(host.PolicyChange{Match: o.active().Digest, Remove: []string{"hand.cedar"}})
	if got := o.active().Digest; got != seen.Digest {
		t.Errorf("%s after both, want %s", got, seen.Digest)
	}
}

// TestPoliciesChangeAfterCrash: what a host left is undone before more is changed.
func TestPoliciesChangeAfterCrash(t *testing.T) {
	o := newOffice(t)
	was, err := policyFiles(o.dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := changeFiles(o.dir, was, map[string][]byte{"x.cedar": []byte(`@id("x") permit (principal, action, resource);`)}); err != nil {
		t.Fatal(err)
	}
	set := o.change(host.PolicyChange{Match: o.active().Digest, Write: []host.PolicyFile{{Name: "e.cedar"}}})
	want := maps.Clone(baseFiles)
	want["e.cedar"] = ""
	if diff := cmp.Diff(want, textsOf(set.Files)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestPoliciesChangeWithoutCaller: a caller who goes away does not leave half of a change.
func TestPoliciesChangeWithoutCaller(t *testing.T) {
	o := newOffice(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.policies.Change(ctx, user1, host.PolicyChange{Remove: []string{"team/more.cedar"}}); err != nil {
		t.Fatal(err)
	}
	if got := textsOf(o.active().Files); len(got) != 1 || len(allIn(t, o.dir)) != 1 {
		t.Errorf("files %v", got)
	}
}

func TestKeptSets(t *testing.T) {
	o := newOffice(t)
	kept := o.policies.Kept
	for _, digest := range []string{"", "sha256:0", "../x", "sha256:" + strings.Repeat("0", 64)} {
		if _, err := o.policies.Set(t.Context(), user1, digest); host.CodeOf(err) != host.ErrNotFound {
			t.Errorf("%q: %v", digest, err)
		}
	}
	// A set that takes several parts, also compressed: text that repeats nothing.
	files := map[string][]byte{}
	for n := range 22 {
		var text strings.Builder
		fmt.Fprintf(&text, "@id(\"%d\") @note(\"", n)
		for i := range 900 {
			fmt.Fprintf(&text, "%x", noise(1000*n+i))
		}
		text.WriteString("\") permit (principal, action == Action::\"embed\", resource);")
		files[fmt.Sprintf("%d.cedar", n)] = []byte(text.String())
	}
	big, err := cedar.Compile(files, actionsOf(o.tools)...)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := kept.keep(t.Context(), big); err != nil {
			t.Fatal(err)
		}
	}
	found, err := kept.find(t.Context(), big.Digest())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(big.Files(), found.Files); diff != "" {
		t.Error("other files were found")
	}
	if err := o.has(keptKey(big.Digest(), 1)); err != nil {
		t.Errorf("it has one part alone: %v", err)
	}
	if again, err := found.compile(big.Digest()); err != nil || again.Digest() != big.Digest() {
		t.Errorf("compiled again: %v", err)
	}
}

func noise(n int) [32]byte { return sha256.Sum256([]byte{byte(n), byte(n >> 8), byte(n >> 16)}) }

func (o *office) has(key []byte) error {
	return o.store.View(o.t.Context(), func(tx words.Tx) error {
		_, err := tx.Get(key)
		return err
	})
}
