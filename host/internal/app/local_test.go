package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/host/internal/cli"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/policy"
)

// offline is all that a store offers without a host.
type offline interface {
	cli.Service
	cli.TimeMachine
	cli.Audit
	cli.Tasks
	cli.Keyring
}

// opened opens the store of a folder whose host does not run.
func opened(t *testing.T, cfg *config.Config) offline {
	t.Helper()
	s, err := app.App{}.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s.(offline)
}

// worked is a folder whose host had a turn and stopped.
func worked(t *testing.T, yaml string) (cfg *config.Config, session string) {
	t.Helper()
	dir := newFolder(t, yaml)
	s := serve(t, dir)
	turn := s.invoke("librarian", "What is a vespiary?", "")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	return configured(t, dir), turn.Session
}

// commands does one of everything that there is for the user of the machine.
func commands(ctx context.Context, s offline, session, task, decision, key string, module []byte) map[string]error {
	out := map[string]error{}
	note := func(name string, err error) { out[name] = err }
	_, err := s.Sessions(ctx, host.SessionFilter{})
	note("Sessions.List", err)
	_, err = s.Session(ctx, session)
	note("Sessions.Get", err)
	_, err = s.Journal(ctx, session, 1, 10)
	note("Sessions.Journal", err)
	_, err = s.Cancel(ctx, session)
	note("Sessions.Cancel", err)
	_, err = s.Install(ctx, "again", module)
	note("Admin.Install", err)
	_, err = s.Decisions(ctx, false, 10)
	note("Admin.Decisions", err)
	_, err = s.Simulate(ctx, nil, time.Time{})
	note("Policies.Simulate", err)
	_, err = s.Explain(ctx, decision)
	note("Policies.Explain", err)
	_, err = s.Tightest(ctx, "librarian", time.Time{})
	note("Policies.Tightest", err)
	_, _, err = s.SearchAudit(ctx, host.AuditFilter{})
	note("Audit.Search", err)
	_, err = s.AuditRecord(ctx, decision)
	note("Audit.Record", err)
	note("Audit.Export", s.ExportAudit(ctx, host.AuditFilter{}, "jsonl", &bytes.Buffer{}))
	_, err = s.Checkpoint(ctx)
	note("Audit.Checkpoint", err)
	_, err = s.VerifyAudit(ctx, "")
	note("Audit.Verify", err)
	_, err = s.Tasks(ctx, host.TaskFilter{})
	note("Tasks.Tasks", err)
	_, err = s.Task(ctx, task)
	note("Tasks.Task", err)
	_, err = s.EndTask(ctx, task, host.TaskCancelled, nil)
	note("Tasks.EndTask", err)
	_, err = s.Keys(ctx)
	note("Keys.List", err)
	_, err = s.RevokeKey(ctx, key)
	note("Keys.Revoke", err)
	return out
}

// TestCommandsAreDecidedAndOnRecord: what is done without a host, too.
func TestCommandsAreDecidedAndOnRecord(t *testing.T) {
	dir := newFolder(t, librarian+"  helper: {plugin: external}\n")
	s := serve(t, dir)
	turn := s.invoke("librarian", "What is a vespiary?", "")
	var opening struct{ Task host.Task }
	if status, b := s.do(http.MethodPost, "/v1/tasks", map[string]any{"agent": "helper", "grants": []policy.Grant{}}); status >= 300 || json.Unmarshal(b, &opening) != nil {
		t.Fatalf("open a task: %d %s", status, b)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	cfg := configured(t, dir)
	module, err := app.App{}.Builtin("basic")
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := app.App{}.CreateKey(t.Context(), cfg, host.APIKeySpec{Name: "spare"})
	if err != nil {
		t.Fatal(err)
	}
	o := opened(t, cfg)
	page, _, err := o.SearchAudit(t.Context(), host.AuditFilter{Session: turn.Session, Kind: policy.RecordDecision})
	if err != nil || len(page) == 0 {
		t.Fatalf("%d records, %v", len(page), err)
	}
	done := commands(t.Context(), o, turn.Session, opening.Task.ID, page[len(page)-1].ID, key.ID, module)
	for name, err := range done {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	wantRecorded(t, cfg, done, true)

	put(t, filepath.Join(dir, "policies/none.cedar"), `@id("not-from-here") forbid (principal is User, action, resource) when { context.via == "local" };`)
	o = opened(t, cfg)
	refused := commands(t.Context(), o, turn.Session, opening.Task.ID, page[0].ID, key.ID, module)
	for name, err := range refused {
		listed := name == "Sessions.List" || name == "Admin.Decisions" || name == "Tasks.Tasks" // and nothing is in it
		if code := host.CodeOf(err); (err == nil) != listed || !listed && code != host.ErrForbidden && code != host.ErrNotFound {
			t.Errorf("%s, forbidden: %v", name, err)
		}
	}
	if list, err := o.Sessions(t.Context(), host.SessionFilter{}); err != nil || len(list) != 0 {
		t.Errorf("%+v %v", list, err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "policies/none.cedar")); err != nil {
		t.Fatal(err)
	}
	wantRecorded(t, cfg, refused, false)
}

// wantRecorded looks for decisions about calls by the user of this machine.
func wantRecorded(t *testing.T, cfg *config.Config, calls map[string]error, allowed bool) {
	t.Helper()
	o := opened(t, cfg)
	defer o.Close() //nolint:errcheck // of a test
	var b bytes.Buffer
	if err := o.ExportAudit(t.Context(), host.AuditFilter{User: app.LocalUser, Kind: policy.RecordDecision}, "jsonl", &b); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for line := range strings.Lines(b.String()) {
		var r policy.Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if r.Key == "" && r.Decision != nil && r.Decision.Allowed == allowed {
			got[r.Call] = true
		}
	}
	for name := range calls {
		if !got[name] {
			t.Errorf("%s: no decision is on record that is allowed=%v", name, allowed)
		}
	}
}

// TestKeysOfTheMachineAreOnRecord, though no policy is asked, and none may be there.
func TestKeysOfTheMachineAreOnRecord(t *testing.T) {
	dir := newFolder(t, librarian)
	cfg := configured(t, dir)
	broken := filepath.Join(dir, "policies/broken.cedar")
	put(t, broken, "permit")
	k, token, err := app.App{Version: "test"}.CreateKey(t.Context(), cfg, host.APIKeySpec{Name: "spare", User: "user1", Scopes: []string{"read"}})
	if err != nil || token == "" || k.User != "user1" || !slices.Equal(k.Scopes, []string{"read"}) {
		t.Fatalf("%+v %v", k, err)
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	o := opened(t, cfg)
	page, _, err := o.SearchAudit(t.Context(), host.AuditFilter{Action: "createKey"})
	if err != nil || len(page) != 1 {
		t.Fatalf("%+v %v", page, err)
	}
	r := page[0]
	if !r.Decision.Allowed || r.Call != "Keys.Create" || r.Who[len(r.Who)-1].User != app.LocalUser {
		t.Errorf("%+v", r)
	}
	if e, err := o.Explain(t.Context(), r.ID); err != nil || !strings.Contains(e.Text, "files of this host") {
		t.Errorf("%+v %v", e, err)
	}
	all, err := o.Keys(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v %v", all, err)
	}
	if diff := cmp.Diff(k, all[0]); diff != "" {
		t.Errorf("the key (-made +kept):\n%s", diff)
	}
	revoked, err := o.RevokeKey(t.Context(), k.ID)
	if err != nil || revoked.Revoked.IsZero() {
		t.Errorf("%+v %v", revoked, err)
	}
	if err := o.Close(); err != nil {
		t.Error(err)
	}
}

// TestOperators: the user of the machine is one, unless the configuration says who is in
// which group.
func TestOperators(t *testing.T) {
	const byGroup = `@id("operators-see-sessions") permit (principal in Group::"operators", action == Action::"readSession", resource);
@id("owners-do-not") forbid (principal, action == Action::"readSession", resource) unless { principal in Group::"operators" };`
	cfg, _ := worked(t, librarian)
	put(t, filepath.Join(cfg.Policies, "groups.cedar"), byGroup)
	for groups, want := range map[string]int{"": 1, "groups: {operators: [local]}\n": 1, "groups: {operators: [user1]}\n": 0, "groups: {}\n": 0} {
		put(t, cfg.File, librarian+groups)
		o := opened(t, configured(t, filepath.Dir(cfg.File)))
		list, err := o.Sessions(t.Context(), host.SessionFilter{})
		if err != nil || len(list) != want {
			t.Errorf("%q: %d sessions, want %d: %v", groups, len(list), want, err)
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestAStoreThatWasPutBackIsFound, by a checkpoint that was kept elsewhere.
func TestAStoreThatWasPutBackIsFound(t *testing.T) {
	cfg, _ := worked(t, librarian)
	old := filepath.Join(t.TempDir(), "store")
	if err := os.CopyFS(old, os.DirFS(filepath.Join(cfg.Data, "store"))); err != nil {
		t.Fatal(err)
	}
	o := opened(t, cfg)
	if _, err := o.Keys(t.Context()); err != nil { // one more record
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = opened(t, cfg)
	kept, err := o.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	check, err := o.VerifyAudit(t.Context(), kept)
	if err != nil || !check.OK || check.Records == 0 {
		t.Errorf("%+v %v", check, err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(cfg.Data, "store")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(cfg.Data, "store"), os.DirFS(old)); err != nil {
		t.Fatal(err)
	}
	o = opened(t, cfg)
	defer o.Close() //nolint:errcheck // of a test
	check, err = o.VerifyAudit(t.Context(), kept)
	if err != nil || check.OK || !strings.Contains(strings.Join(check.Problems, "\n"), "put back") {
		t.Errorf("%+v %v", check, err)
	}
	if _, err := o.VerifyAudit(t.Context(), "not a checkpoint"); err == nil {
		t.Error("something else was taken for a checkpoint")
	}
}

// TestWhatWasReadIsOnRecordAfterClose: it is taken down later than it is read.
func TestWhatWasReadIsOnRecordAfterClose(t *testing.T) {
	cfg, session := worked(t, librarian)
	o := opened(t, cfg)
	if _, err := o.Journal(t.Context(), session, 1, 1); err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = opened(t, cfg)
	defer o.Close() //nolint:errcheck // of a test
	page, _, err := o.SearchAudit(t.Context(), host.AuditFilter{Session: session, Action: "readSession"})
	if err != nil || len(page) == 0 || page[0].Call != "Sessions.Journal" {
		t.Fatalf("%+v %v", page, err)
	}
	check, err := o.VerifyAudit(t.Context(), "")
	if err != nil || !check.OK || check.Sequenced != check.Records {
		t.Errorf("%+v %v", check, err)
	}
}
