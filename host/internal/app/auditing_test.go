package app

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

func (o *office) audits() audits { return audits{log: o.log, public: o.public, version: "1"} }

// fill makes records of several chains, sessions and kinds, and one of another tenant.
func (o *office) fill() []string {
	o.t.Helper()
	var ids []string
	for _, s := range []string{"S1", "S2"} {
		o.session(s)
		for _, f := range []string{"workspace/a", "workspace/b"} {
			ids = append(ids, o.decide(s, o.request("fileRead", fileEntity(f), nil)).ID)
		}
		ids = append(ids, o.decide(s, o.request("fileList", fileEntity("workspace/a"), nil)).ID)
	}
	r := o.write(policy.Record{Chain: "task-S1", Kind: policy.RecordOutcome, Session: "S1", Of: ids[0], Code: "ok"})
	o.write(policy.Record{Tenant: "other", Chain: "task-S1", Kind: policy.RecordTask, Code: "active"})
	return append(ids, r.ID)
}

func TestAuditSearch(t *testing.T) {
	o := newOffice(t)
	ids := o.fill()
	a := o.audits()
	for _, tc := range []struct {
		name   string
		filter host.AuditFilter
		want   []string // oldest first
	}{
		{"all", host.AuditFilter{}, ids},
		{"a session", host.AuditFilter{Session: "S2"}, ids[3:6]},
		{"a task", host.AuditFilter{Task: "task-S1"}, []string{ids[0], ids[1], ids[2], ids[6]}},
		{"denials", host.AuditFilter{Denied: true}, []string{ids[2], ids[5]}},
		{"an action of a user", host.AuditFilter{Action: "fileRead", User: "user1", Agent: "triage"}, []string{ids[0], ids[1], ids[3], ids[4]}},
		{"outcomes", host.AuditFilter{Kind: policy.RecordOutcome}, ids[6:]},
		{"nobody", host.AuditFilter{User: "user2"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			pages := 0
			f := tc.filter
			f.Limit = 2
			for {
				page, next, err := a.Search(t.Context(), user1, f)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range page {
					got = append(got, r.ID)
				}
				if pages++; next == "" {
					break
				}
				f.After = next
			}
			slices.Reverse(got)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if want := max(1, (len(tc.want)+1)/2); pages != want {
				t.Errorf("%d pages, want %d", pages, want)
			}
		})
	}
	if _, _, err := a.Search(t.Context(), user1, host.AuditFilter{After: "task-S9.1"}); host.CodeOf(err) != host.ErrInvalid {
		t.Errorf("after a record that is not there: %v", err)
	}
	for _, id := range []string{ids[0], "task-S1.99", "x", ""} {
		r, err := a.Record(t.Context(), user1, id)
		if id == ids[0] && (err != nil || r.ID != id) || id != ids[0] && host.CodeOf(err) != host.ErrNotFound {
			t.Errorf("record %q: %+v, %v", id, r.ID, err)
		}
	}
	if _, err := a.Record(t.Context(), host.Caller{Tenant: "other", User: "user1"}, ids[1]); host.CodeOf(err) != host.ErrNotFound {
		t.Errorf("a record of another tenant: %v", err)
	}
}

// TestPagesHoldSoMuch: a page of records with much evidence is shorter, and the next one
// goes on where it ended.
func TestPagesHoldSoMuch(t *testing.T) {
	o := newOffice(t)
	for range 2*maxPage>>19 + 2 {
		o.write(policy.Record{Chain: "task-S1", Kind: policy.RecordTask, Evidence: make([]byte, 1<<19)})
	}
	var f host.AuditFilter
	var sizes []int
	for {
		page, next, err := o.audits().Search(t.Context(), user1, f)
		if err != nil {
			t.Fatal(err)
		}
		if sizes = append(sizes, len(page)); next == "" {
			break
		}
		f.After = next
	}
	if diff := cmp.Diff([]int{17, 17}, sizes); diff != "" {
		t.Errorf("the sizes of the pages (-want +got):\n%s", diff)
	}
}

func TestAuditTail(t *testing.T) {
	o := newOffice(t)
	ids := o.fill()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	more := ""
	for r, err := range o.audits().Tail(ctx, user1, host.AuditFilter{After: ids[1], Session: "S2", Action: "fileRead"}) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, r.ID); len(got) == 2 { // what there was is out
			o.decide("S1", o.request("fileRead", fileEntity("workspace/c"), nil))
			o.decide("S2", o.request("fileList", fileEntity("workspace/c"), nil))
			more = o.decide("S2", o.request("fileRead", fileEntity("workspace/c"), nil)).ID
		}
		if r.ID == more {
			cancel()
		}
	}
	if diff := cmp.Diff([]string{ids[3], ids[4], more}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, err := range o.audits().Tail(t.Context(), user1, host.AuditFilter{After: "gone.1"}) {
		if host.CodeOf(err) != host.ErrInvalid {
			t.Errorf("after a record that is not there: %v", err)
		}
		return
	}
}

func TestAuditExport(t *testing.T) {
	o := newOffice(t)
	ids := o.fill()
	for format, records := range map[string]func(t *testing.T, b []byte) int{
		"jsonl": lineCount, "ocsf": lineCount,
		"cloudtrail": func(t *testing.T, b []byte) int {
			t.Helper()
			var file struct{ Records []json.RawMessage }
			if err := json.Unmarshal(b, &file); err != nil {
				t.Fatal(err)
			}
			return len(file.Records)
		},
	} {
		var b bytes.Buffer
		if err := o.audits().Export(t.Context(), user1, host.AuditFilter{Session: "S2"}, format, &b); err != nil {
			t.Fatal(err)
		}
		if got := records(t, b.Bytes()); got != 3 {
			t.Errorf("%s: %d records:\n%s", format, got, b.String())
		}
		if !strings.Contains(b.String(), ids[3]) || strings.Contains(b.String(), ids[0]) {
			t.Errorf("%s holds other records:\n%s", format, b.String())
		}
	}
	var b bytes.Buffer
	if err := o.audits().Export(t.Context(), user1, host.AuditFilter{}, "xml", &b); host.CodeOf(err) != host.ErrInvalid || b.Len() > 0 {
		t.Errorf("xml: %v, %d bytes", err, b.Len())
	}
}

func lineCount(t *testing.T, b []byte) int {
	t.Helper()
	n := 0
	for line := range bytes.Lines(b) {
		if !json.Valid(line) {
			t.Errorf("not JSON: %s", line)
		}
		n++
	}
	return n
}

func TestAuditVerify(t *testing.T) {
	o := newOffice(t)
	a := o.audits()
	a.kept = filepath.Join(t.TempDir(), "checkpoint")
	if _, err := a.Checkpoint(t.Context(), user1); host.CodeOf(err) != host.ErrNotFound {
		t.Errorf("before anything is signed: %v", err)
	}
	ids := o.fill()
	if err := o.log.Integrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	signed, err := a.Checkpoint(t.Context(), user1)
	if err != nil {
		t.Fatal(err)
	}
	good := func(name, checkpoint string) {
		t.Helper()
		got, err := a.Verify(t.Context(), user1, checkpoint)
		if err != nil {
			t.Fatal(err)
		}
		if want := (host.AuditCheck{OK: true, Records: uint64(len(ids)), Chains: 2, Sequenced: uint64(len(ids)), Checkpoint: signed}); !cmp.Equal(want, got) {
			t.Errorf("%s (-want +got):\n%s", name, cmp.Diff(want, got))
		}
	}
	good("without a file", "")
	if err := os.WriteFile(a.kept, []byte(signed), 0o600); err != nil {
		t.Fatal(err)
	}
	good("with its own checkpoint", "")
	good("with a given one", signed)
	if _, err := a.Verify(t.Context(), user1, "nonsense"); host.CodeOf(err) != host.ErrInvalid {
		t.Errorf("with nonsense: %v", err)
	}
	if err := os.WriteFile(a.kept, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := a.Verify(t.Context(), user1, "")
	if err != nil || got.OK || len(got.Problems) != 1 || !strings.Contains(got.Problems[0], a.kept) {
		t.Errorf("with a file that cannot be used: %+v, %v", got, err)
	}
}

// TestVerifyFindsRestoredStore: the store of now is one from before the checkpoint.
func TestVerifyFindsRestoredStore(t *testing.T) {
	ahead, o := newOffice(t), newOffice(t)
	ahead.fill()
	ahead.session("S3")
	ahead.decide("S3", ahead.request("fileRead", fileEntity("workspace/a"), nil))
	o.fill()
	for _, of := range []*office{ahead, o} {
		if err := of.log.Integrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	later, err := ahead.audits().Checkpoint(t.Context(), user1)
	if err != nil {
		t.Fatal(err)
	}
	got, err := o.audits().Verify(t.Context(), user1, later)
	if err != nil || got.OK || len(got.Problems) == 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// recent asks for decisions as the host does.
func (o *office) recent(f host.DecisionFilter, get func(context.Context, host.Caller, string) (host.Session, error)) []host.DecisionRecord {
	o.t.Helper()
	out, err := o.policies.Past.recent(o.t.Context(), user1, f, o.engine.Set(), get)
	if err != nil {
		o.t.Fatal(err)
	}
	return out
}

func TestRecentDecisions(t *testing.T) {
	o := newOffice(t)
	o.fill()
	o.write(policy.Record{ // what a person asked about a session is no call
		Chain: "people-1", Kind: policy.RecordDecision, Session: "S1", Action: "readSession", Decision: &policy.Decision{},
		Who: []policy.Actor{{User: "user1"}},
	})
	if err := o.journals.Erase(t.Context(), host.DefaultTenant, "S1"); err != nil {
		t.Fatal(err)
	}
	asked := map[string]int{}
	get := func(_ context.Context, c host.Caller, id string) (host.Session, error) {
		asked[id]++
		if id == "S1" {
			return host.Session{}, host.Errorf(host.ErrNotFound, "gone")
		}
		return host.Session{ID: id, Owner: c.User}, nil
	}
	seen := o.recent(host.DecisionFilter{Visible: func(s *host.Session) bool { return s.Owner == "user1" }}, get)
	if diff := cmp.Diff(map[string]int{"S1": 1, "S2": 1}, asked); diff != "" {
		t.Errorf("sessions looked up (-want +got):\n%s", diff)
	}
	var got []string
	for _, d := range seen {
		got = append(got, d.Session+" "+d.Call.Action+" "+d.Call.Detail)
		if d.Agent != "triage" || d.Turn != 1 || d.Call.Path != "1/1" || len(d.Recorded) == 0 || d.Time.IsZero() {
			t.Errorf("%+v", d)
		}
	}
	want := []string{"S2 fileList workspace/a", "S2 fileRead workspace/b", "S2 fileRead workspace/a"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("newest first (-want +got):\n%s", diff)
	}
	all := o.recent(host.DecisionFilter{Denied: true}, get)
	if len(all) != 2 || all[0].Session != "S2" || all[1].Session != "S1" || all[1].Recorded != nil {
		t.Errorf("denials of all sessions: %+v", all)
	}
	if one := o.recent(host.DecisionFilter{Limit: 1}, get); len(one) != 1 {
		t.Errorf("%d decisions, want one", len(one))
	}
}

func TestSelects(t *testing.T) {
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	r := policy.Record{
		Chain: "c", Time: at, Kind: policy.RecordDecision, Session: "s", Action: "a", Decision: &policy.Decision{},
		Who: []policy.Actor{{Agent: "g", Task: "t", User: "u"}},
	}
	for _, tc := range []struct {
		f    host.AuditFilter
		want bool
	}{
		{host.AuditFilter{}, true},
		{host.AuditFilter{Chain: "c", Session: "s", Action: "a", Agent: "g", Task: "t", User: "u", Kind: policy.RecordDecision, Denied: true}, true},
		{host.AuditFilter{Task: "c"}, true},
		{host.AuditFilter{Since: at}, true},
		{host.AuditFilter{Until: at}, false},
		{host.AuditFilter{Since: at.Add(1)}, false},
		{host.AuditFilter{Chain: "x"}, false},
		{host.AuditFilter{Session: "x"}, false},
		{host.AuditFilter{Action: "x"}, false},
		{host.AuditFilter{Agent: "x"}, false},
		{host.AuditFilter{Task: "x"}, false},
		{host.AuditFilter{User: "x"}, false},
		{host.AuditFilter{Kind: policy.RecordTask}, false},
	} {
		if got := queryOf("t", tc.f).Selects(&r); got != tc.want {
			t.Errorf("%+v: %v", tc.f, got)
		}
	}
	r.Decision = nil
	if queryOf("t", host.AuditFilter{Denied: true}).Selects(&r) {
		t.Error("a record without a decision is no denial")
	}
}
