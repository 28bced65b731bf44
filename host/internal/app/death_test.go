package app_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/host/internal/project"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/audit"
)

const outside = base + "agents:\n  scout: {plugin: external, tools: [files], folders: [docs]}\n"

func wrote(path string) string { return fmt.Sprintf(`{"path":%q,"text":"x"}`, path) }

// dead demands that a token is worth nothing.
func (l *live) dead(what, id string) {
	l.t.Helper()
	for _, r := range [][2]string{{http.MethodPost, "/calls"}, {http.MethodGet, "/tools"}, {http.MethodGet, ""}, {http.MethodPost, "/end"}} {
		body := map[string]any{"name": abi.CallFileWrite, "request": map[string]string{"path": "late.txt", "text": "x"}}
		if r[1] == "/end" {
			body = map[string]any{"state": "completed"}
		}
		if got := l.status(r[0], "/v1/tasks/"+id+r[1], body); got != http.StatusUnauthorized {
			l.t.Errorf("%s: %s %s by its token: %d, want 401", what, r[0], r[1], got)
		}
	}
}

// TestTokensDieWithTheirTasks: however a task ends, and for whichever host comes after,
// also after one that was killed. One that did not end lives on.
func TestTokensDieWithTheirTasks(t *testing.T) {
	l := goLive(t, newFolder(t, outside), app.Options{})
	tokens := map[string]*live{}
	ids := map[string]string{}
	for _, end := range []string{"completed", "cancelled", "cancelled with its session", "expired", "open"} {
		spec := map[string]any{}
		if end == "expired" {
			spec["expires_in"] = 1
		}
		task, holder := l.openTask(spec)
		ids[end], tokens[end] = task.ID, holder
		if r := holder.call(task.ID, "first", abi.CallFileWrite, wrote("one.txt")); r.Error != nil {
			t.Fatal(r.Error)
		}
		switch end {
		case "completed":
			holder.want(http.StatusOK, http.MethodPost, "/v1/tasks/"+task.ID+"/end", map[string]any{"state": "completed"})
		case "cancelled":
			l.want(http.StatusOK, http.MethodDelete, "/v1/tasks/"+task.ID, nil)
		case "cancelled with its session":
			l.want(http.StatusOK, http.MethodPost, "/v1/sessions/"+task.Session+"/cancel", nil)
		case "expired":
			l.until("expiry", func() bool {
				return holder.status(http.MethodGet, "/v1/tasks/"+task.ID, nil) == http.StatusUnauthorized
			})
		}
	}
	still := func(h *served) {
		t.Helper()
		for end, holder := range tokens {
			s := *h
			s.key = holder.key
			now := &live{served: &s}
			if end != "open" {
				now.dead(end, ids[end])
			} else if r := now.call(ids[end], "first", abi.CallFileWrite, wrote("one.txt")); r.Error != nil {
				t.Errorf("the task that is open: %+v", r.Error)
			}
		}
	}
	still(l.served)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	second := child(t, l.dir, l.key)
	still(second)
	if status, b := second.do(http.MethodDelete, "/v1/tasks/"+ids["open"], nil); status != http.StatusOK {
		t.Fatalf("%d %s", status, b)
	}
	_ = second.stop() // kills it
	third := child(t, l.dir, l.key)
	s := *third
	s.key = tokens["open"].key
	(&live{served: &s}).dead("ended before the kill", ids["open"])
	wantWrites(t, third, ids)
}

// wantWrites demands that each task wrote once.
func wantWrites(t *testing.T, s *served, ids map[string]string) {
	t.Helper()
	for end, id := range ids {
		var page struct{ Records []policy.Record }
		s.post(http.MethodGet, "/v1/audit?kind=decision&action=fileWrite&chain="+id, nil, &page)
		if len(page.Records) != 1 || !page.Records[0].Decision.Allowed {
			t.Errorf("%s: %d decisions about writes are on record, want the first alone", end, len(page.Records))
		}
	}
}

// TestInstancesOfDeadTasksDoNothing has a guest act in a loop, whatever it is told, and ends
// its task: once that is said to be over, nothing of the session changes any more.
func TestInstancesOfDeadTasksDoNothing(t *testing.T) {
	dir := newFolder(t, base+"agents:\n  naughty: {plugin: ./naughty.wasm, budget: {calls: 1000000}}\n")
	if _, err := project.Build(t.Context(), "testdata/naughty", filepath.Join(dir, "naughty.wasm"), io.Discard); err != nil {
		t.Fatal(err)
	}
	l := goLive(t, dir, app.Options{})
	l.install("naughty", filepath.Join(dir, "naughty.wasm"))
	cancelled := l.begin("naughty", "call", "")
	l.until("some calls", func() bool {
		return len(l.records(audit.Query{Chain: cancelled.Task, Action: "memoryWrite", Limit: 20})) == 20
	})
	l.want(http.StatusOK, http.MethodDelete, "/v1/tasks/"+cancelled.Task, nil)
	l.still(cancelled, host.TaskCancelled, host.TurnCancelled)
	l.stopsAtOnce(cancelled)

	var expired host.Turn
	l.post(http.MethodPost, "/v1/agents/naughty/invocations", map[string]any{"content": "call", "task": map[string]any{"expires_in": 2}}, &expired)
	l.still(expired, host.TaskExpired, host.TurnFailed)
}

// stopsAtOnce demands that a cancelled guest, which goes on calling for as long as it may
// live after that, was allowed nothing but the call that was under way.
func (l *live) stopsAtOnce(turn host.Turn) {
	l.t.Helper()
	before, after, cancelled := 0, 0, false
	for from := uint64(1); from > 0; {
		var page struct {
			Records []host.Record
			Next    uint64
		}
		l.post(http.MethodGet, fmt.Sprintf("/v1/sessions/%s/journal?limit=1000&from=%d", turn.Session, from), nil, &page)
		for _, e := range page.Records {
			var in host.Intent
			switch {
			case e.Kind == host.EntryCancel:
				cancelled = true
			case e.Kind != host.EntryIntent || json.Unmarshal(e.Body, &in) != nil || !in.Decision.Allowed:
			case cancelled:
				after++
			default:
				before++
			}
		}
		from = page.Next
	}
	if !cancelled || before == 0 || after > 1 {
		l.t.Errorf("%d calls were allowed before it was cancelled, and %d after that (cancelled: %v)", before, after, cancelled)
	}
}

// still demands that a turn is over and nothing of its session moves.
func (l *live) still(turn host.Turn, task host.TaskState, status host.TurnStatus) {
	l.t.Helper()
	kept := func() map[string]string {
		all, err := l.host.Kept(l.t.Context())
		if err != nil {
			l.t.Fatal(err)
		}
		maps.DeleteFunc(all, func(key, _ string) bool { return !strings.Contains(key, turn.Session) })
		return all
	}
	before := kept()
	time.Sleep(200 * time.Millisecond) // in which it would make thousands of calls
	if diff := cmp.Diff(before, kept()); diff != "" {
		l.t.Errorf("the session of a task that is %s has changed (-at its end +later):\n%s", task, diff)
	}
	var is host.Turn
	l.post(http.MethodGet, "/v1/sessions/"+turn.Session+"/turns/1", nil, &is)
	records := l.records(audit.Query{Chain: turn.Task})
	last := records[len(records)-1]
	if is.Status != status || last.Kind != policy.RecordTask || last.Code != string(task) {
		l.t.Errorf("the turn is %s, and the last record %s %s; want %s, and that the task is %s", is.Status, last.Kind, last.Code, status, task)
	}
	for _, r := range records {
		if r.Kind == policy.RecordDecision && r.Decision.Allowed && r.Action == "memoryWrite" {
			return
		}
	}
	l.t.Error("it did nothing before either")
}
