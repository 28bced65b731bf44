package app_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/audit"
)

// write puts a policy file in its place, of the set with the digest that is given.
func (l *live) write(file, text, match string) (int, string) {
	l.t.Helper()
	r, err := http.NewRequestWithContext(l.t.Context(), http.MethodPut, l.url+"/v1/policies/"+file, strings.NewReader(text))
	if err != nil {
		l.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+l.key)
	if match != "" {
		r.Header.Set("If-Match", `"`+match+`"`)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func (l *live) set() host.PolicySet {
	l.t.Helper()
	var out host.PolicySet
	l.post(http.MethodGet, "/v1/policies", nil, &out)
	return out
}

// folder is what the files of policies hold.
func (l *live) folder() map[string]string {
	l.t.Helper()
	out := map[string]string{}
	names, err := filepath.Glob(filepath.Join(l.dir, "policies", "*"))
	if err != nil {
		l.t.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			l.t.Fatal(err)
		}
		out[filepath.Base(name)] = string(b)
	}
	return out
}

const noWrites = `@id("no-writes") forbid (principal is Run, action == Action::"fileWrite", resource);`

// TestPoliciesChangeWhole: what is not valid, and what was meant for another set, changes
// nothing; what is changes what a task that is under way may do next.
func TestPoliciesChangeWhole(t *testing.T) {
	l := goLive(t, newFolder(t, outside), app.Options{})
	task, agent := l.openTask(nil)
	may := func(want bool) {
		t.Helper()
		if r := agent.call(task.ID, "", abi.CallFileWrite, wrote("a.txt")); (r.Error == nil) != want {
			t.Errorf("it may write: %v, want %v: %+v", r.Error == nil, want, r.Error)
		}
	}
	may(true)
	first, folder := l.set(), l.folder()
	for _, broken := range []string{"\n\n@id(\"x\") forbid (principal, action == Action::\"fileReed\", resource);", "\n\npermit (", noWrites + "\n\n" + noWrites} {
		status, b := l.write("none.cedar", broken, first.Digest)
		if status != http.StatusBadRequest || !strings.Contains(b, "none.cedar:3") {
			t.Errorf("%q: %d %s", broken, status, b)
		}
	}
	if status, b := l.write("none.cedar", noWrites, "sha256:0"); status != http.StatusPreconditionFailed {
		t.Errorf("for another set: %d %s", status, b)
	}
	some := append(slices.Clone(first.Files), host.PolicyFile{Name: "a.cedar", Text: noWrites}, host.PolicyFile{Name: "b.cedar", Text: "permit"})
	l.want(http.StatusBadRequest, http.MethodPut, "/v1/policies", map[string]any{"files": some})
	if diff := cmp.Diff(folder, l.folder()); diff != "" || l.set().Digest != first.Digest {
		t.Errorf("something was changed (-want +got):\n%s", diff)
	}
	may(true)
	if status, b := l.write("none.cedar", noWrites, first.Digest); status != http.StatusOK {
		t.Fatalf("%d %s", status, b)
	}
	may(false)
	second := l.set()
	if status, _ := l.write("none.cedar", "// nothing\n", first.Digest); status != http.StatusPreconditionFailed {
		t.Errorf("for the set before: %d", status)
	}
	l.want(http.StatusOK, http.MethodDelete, "/v1/policies/none.cedar", nil)
	may(true)
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	l = goLive(t, l.dir, app.Options{})
	for _, set := range []host.PolicySet{first, second} {
		var kept host.PolicySet
		l.post(http.MethodGet, "/v1/policies/sets/"+set.Digest, nil, &kept)
		if set.Candidate = ""; !cmp.Equal(set, kept) {
			t.Errorf("the set of then (-was +kept):\n%s", cmp.Diff(set, kept))
		}
	}
	if l.set().Digest != first.Digest {
		t.Error("the next host decides by another set")
	}
}

// TestOneOfTwoChangesCounts: of changes that were meant for one set, one is made.
func TestOneOfTwoChangesCounts(t *testing.T) {
	l := goLive(t, newFolder(t, outside), app.Options{})
	was := l.set().Digest
	var mu sync.Mutex
	got := map[int]int{}
	var wg sync.WaitGroup
	for _, name := range []string{"a.cedar", "b.cedar", "c.cedar", "d.cedar"} {
		wg.Go(func() {
			status, _ := l.write(name, "// "+name+"\n"+strings.Replace(noWrites, "no-writes", name, 1), was)
			mu.Lock()
			defer mu.Unlock()
			got[status]++
		})
	}
	wg.Wait()
	if diff := cmp.Diff(map[int]int{http.StatusOK: 1, http.StatusPreconditionFailed: 3}, got); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
}

// TestThePastIsDecidedAgain: what was recorded is explained, simulated and made policies
// of, until its session is erased. The audit verifies all the same.
func TestThePastIsDecidedAgain(t *testing.T) {
	l := goLive(t, newFolder(t, librarian), app.Options{})
	turn := l.invoke("librarian", "What is a vespiary?", "")
	reads := l.records(audit.Query{Session: turn.Session, Action: "fileRead", Kind: policy.RecordDecision})
	if len(reads) == 0 {
		t.Fatal("it read nothing")
	}
	id := reads[0].ID
	explain := func(says string) {
		t.Helper()
		var e host.Explanation
		l.post(http.MethodGet, "/v1/decisions/"+id+"/explain", nil, &e)
		if !strings.Contains(e.Text, says) {
			t.Errorf("it is explained as:\n%s\nwant %q", e.Text, says)
		}
	}
	simulate := func() (out host.Simulation) {
		t.Helper()
		files := append(l.set().Files, host.PolicyFile{Name: "more.cedar", Text: strings.Replace(noWrites, "fileWrite", "fileRead", 1)})
		l.post(http.MethodPost, "/v1/policies/simulate", map[string]any{"files": files}, &out)
		return out
	}
	explain(`"agents-read-files"`)
	before := simulate()
	changed := map[string]bool{}
	for _, c := range before.Changes {
		changed[c.Record.ID] = c.Record.Decision.Allowed && !c.Is.Allowed
	}
	want := map[string]bool{}
	for _, r := range reads {
		want[r.ID] = true
	}
	if diff := cmp.Diff(want, changed); diff != "" {
		t.Errorf("what would be decided otherwise (-want +got):\n%s", diff)
	}
	var suggested host.Suggestion
	l.post(http.MethodGet, "/v1/agents/librarian/suggestion", nil, &suggested)
	for _, part := range []string{`Action::"fileRead"`, `Action::"callModel"`, `Agent::"librarian"`} {
		if !strings.Contains(suggested.Policies, part) {
			t.Errorf("suggested are:\n%s\nwant %s", suggested.Policies, part)
		}
	}
	l.want(http.StatusOK, http.MethodPost, "/v1/sessions/"+turn.Session+"/erase", nil)
	explain("was erased")
	if after := simulate(); after.Skipped < before.Decided-after.Decided || len(after.Changes) != 0 {
		t.Errorf("%d decisions are skipped, %d would change; before the erasure %d were decided", after.Skipped, len(after.Changes), before.Decided)
	}
	l.records(audit.Query{}) // which brings all into the tree
	var check host.AuditCheck
	if err := json.Unmarshal(l.want(http.StatusOK, http.MethodGet, "/v1/audit/verify", nil), &check); err != nil || !check.OK || check.Records == 0 {
		t.Errorf("%+v %v", check, err)
	}
	left := map[string]bool{}
	for _, r := range l.records(audit.Query{Session: turn.Session, Action: "fileRead"}) {
		left[r.ID] = true
	}
	if !maps.Equal(want, left) {
		t.Errorf("the records of the erased session are %v, want %v", left, want)
	}
}
