package access_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/access"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/cedar"
)

var noon = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)

// user1 owns what the services of a world hold.
var user1 = host.Caller{
	Tenant: "home", User: "user1", Key: "k1", Via: host.ViaKey, Remote: "192.0.2.7",
	Groups: []string{"staff"}, Claims: map[string][]string{"department": {"sales", "support"}}, Actors: []string{"mcp"},
}

const permitAll = `@id("all") permit (principal, action, resource);`

// world is a guard with a real policy engine, before services that only say that they
// were reached.
type world struct {
	t      *testing.T
	engine *cedar.Engine
	guard  *access.Guard

	mu      sync.Mutex
	now     time.Time
	log     []string // "write Sessions.Invoke", "inner Sessions.Invoke", "later …"
	records []policy.Record
	broken  error    // of the audit
	over    error    // of what the caller proved who they are with
	empty   bool     // the services hold nothing
	awaited bool     // the last signal was for what waits for it alone
	groups  []string // of callers, by the configuration of now
}

func newWorld(t *testing.T, policies string) *world {
	t.Helper()
	w := &world{t: t, engine: cedar.New(compiled(t, policies)), now: noon, groups: user1.Groups}
	var err error
	w.guard, err = access.New(access.Options{
		Policy: w.engine, Audit: w, Now: w.clock,
		Agents: func(name string) (*host.Agent, bool) {
			return &host.Agent{Name: name, Plugin: "builtin:loop", Module: "sha256:00", Roles: []string{"helper"}}, !w.empty
		},
		Groups: func(c host.Caller) []string {
			if c.Via != "" { // a caller
				return w.groups
			}
			return []string{"everybody", "team-" + c.User}
		},
		Still: func(context.Context, host.Caller) error { return w.over },
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func compiled(t *testing.T, policies string) *cedar.Set {
	t.Helper()
	set, err := cedar.Compile(map[string][]byte{"p.cedar": []byte(policies)})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) note(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, line)
}

func (w *world) take(how string, r *policy.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r.N = uint64(len(w.records)) + 1
	r.ID = fmt.Sprintf("%s.%d", r.Chain, r.N)
	w.records = append(w.records, *r)
	w.log = append(w.log, how+" "+r.Call)
	if r.Kind == policy.RecordDecision && r.Decision == nil {
		w.t.Errorf("a decision without one: %+v", r)
	}
	if r.Decision != nil && len(r.Decision.Errors) > 0 {
		w.t.Errorf("%s %s: the request does not fit the schema: %v", r.Call, r.Action, r.Decision.Errors)
	}
}

// Note implements policy.Auditor.
func (w *world) Note(context.Context, *policy.Record, func(...store.Op) error) error {
	return errors.New("not for people")
}

// Write implements policy.Auditor.
func (w *world) Write(_ context.Context, r *policy.Record) error {
	if w.broken != nil {
		return w.broken
	}
	w.take("write", r)
	return nil
}

// Later implements policy.Auditor.
func (w *world) Later(r *policy.Record) error {
	if w.broken != nil {
		return w.broken
	}
	w.take("later", r)
	return nil
}

// forget begins anew.
func (w *world) forget() { w.log, w.records = nil, nil }

// reached reports whether the log has a line, and where.
func (w *world) at(line string) int { return slices.Index(w.log, line) }

// decided are the decisions about a call: "readSession no".
func (w *world) decided(call string) []string {
	var out []string
	for _, r := range w.records {
		if r.Kind == policy.RecordDecision && (call == "" || r.Call == call) {
			out = append(out, r.Action+" "+map[bool]string{true: "yes", false: "no"}[r.Decision.Allowed])
		}
	}
	return out
}

// outcomes are the outcomes of a call: "ok".
func (w *world) outcomes(call string) []string {
	var out []string
	for _, r := range w.records {
		if r.Kind == policy.RecordOutcome && r.Call == call {
			out = append(out, r.Code)
		}
	}
	return out
}

func (w *world) reach(call string) { w.note("inner " + call) }

// there says that a thing is there, unless the world is empty.
func (w *world) there(kind, id string) error {
	if w.empty {
		return host.Errorf(host.ErrNotFound, "the service itself knows no %s %s", kind, id)
	}
	return nil
}

// services are the guarded ones, by the name that records give them.
func (w *world) services() map[string]any {
	g := w.guard
	return map[string]any{
		"Sessions": g.Sessions(sessions{w}), "Durable": g.Durable(durable{w}, sessions{w}),
		"Agents": g.Agents(agents{w}), "Admin": g.Admin(admin{w}, sessions{w}), "Backup": g.Backup(backup{w}),
		"Tasks": g.Tasks(tasks{w}), "Delegation": g.Delegation(delegation{w}, tasks{w}),
		"Keys": g.Keys(keys{w}), "Policies": g.Policies(policies{w}), "Audit": g.Audit(audit{w}),
	}
}

func contains(list []string, part string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, part) })
}
