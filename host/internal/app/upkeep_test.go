package app_test

import (
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/audit"
)

// cutChange leaves in the folder of policies what a host leaves that is killed while it
// changes them: half of what was wanted, and how it was before.
func cutChange(t *testing.T, dir string) {
	t.Helper()
	policies := filepath.Join(dir, "policies")
	writes, err := os.ReadFile(filepath.Join(policies, "writes.cedar"))
	if err != nil {
		t.Fatal(err)
	}
	was, want := base64.StdEncoding.EncodeToString(writes), base64.StdEncoding.EncodeToString([]byte(allowRuns))
	put(t, filepath.Join(policies, ".change"), `{"writes.cedar":{"was":"`+was+`","want":null},"other.cedar":{"was":null,"want":"`+want+`"}}`)
	put(t, filepath.Join(policies, "other.cedar"), allowRuns)
}

// TestCutChangesAreUndone: neither a host that starts nor one that reloads decides by half
// of a change.
func TestCutChangesAreUndone(t *testing.T) {
	dir := newFolder(t, librarian)
	cutChange(t, dir)
	l := goLive(t, dir, app.Options{})
	half := filepath.Join(dir, "policies/other.cedar")
	for _, when := range []string{"start", "reload"} {
		if _, err := os.Stat(half); err == nil {
			t.Errorf("after the %s: %s is there", when, half)
		}
		if b := l.want(http.StatusOK, http.MethodGet, "/v1/policies", nil); strings.Contains(string(b), "other.cedar") {
			t.Errorf("after the %s it decides by half of a change: %s", when, b)
		}
		cutChange(t, dir)
		l.want(http.StatusNoContent, http.MethodPost, "/v1/reload", nil)
	}
}

// TestReloadKeepsWhatIsFixed: what a host signs with and is known by is taken in when it
// starts; a reload says so instead of leaving it out.
func TestReloadKeepsWhatIsFixed(t *testing.T) {
	dir := newFolder(t, librarian)
	l := goLive(t, dir, app.Options{})
	for key, more := range map[string]string{
		"audit":             "audit: {checkpoint: elsewhere}\n",
		"identity.audience": "identity: {audience: \"https://a.example.com\"}\n",
	} {
		put(t, filepath.Join(dir, config.FileName), librarian+more)
		if b := l.want(http.StatusBadRequest, http.MethodPost, "/v1/reload", nil); !strings.Contains(string(b), key+",") {
			t.Errorf("%s: %s", key, b)
		}
	}
}

// TestGroupsEnd: a run that began for somebody in a group of the configuration loses it
// with them, also where they came with a token, whose own groups stay.
func TestGroupsEnd(t *testing.T) {
	i := newIssuer(t)
	yaml := func(writers string) string {
		return base + "agents: {scout: {plugin: external}}\ngroups: {operators: [local], writers: [" + writers + "]}\n" +
			"identity: {issuers: {corp: {issuer: \"" + i.URL + "\", audience: vespiary, groups: roles}}}\n"
	}
	dir := policed(t, yaml("user1@corp"), map[string]string{"people.cedar": allowPeople, "runs.cedar": `
@id("writers") permit (principal is Run, action == Action::"fileWrite", resource) when { principal.user in Group::"writers" };
@id("readers") permit (principal is Run, action == Action::"fileRead", resource) when { principal.user in Group::"readers@corp" };`})
	l := goLive(t, dir, app.Options{})
	task, agent := l.as(i.token(t, "user1", l.clock.now(), map[string]any{"roles": []string{"readers"}})).openTask(nil)
	if r := agent.call(task.ID, "1", abi.CallFileWrite, wrote("a.txt")); r.Error != nil {
		t.Fatalf("in the group: %v", r.Error)
	}
	if err := l.stop(); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, config.FileName), yaml(""))
	agent = goLive(t, dir, app.Options{}).as(agent.key)
	if r := agent.call(task.ID, "2", abi.CallFileWrite, wrote("b.txt")); r.Error == nil || r.Error.Code != abi.CodeDenied {
		t.Errorf("in the group no more: %+v", r)
	}
	if r := agent.call(task.ID, "3", abi.CallFileRead, `{"path":"a.txt"}`); r.Error != nil {
		t.Errorf("the token's own group: %v", r.Error)
	}
}

// TestStartsThatAreRefused says why.
func TestStartsThatAreRefused(t *testing.T) {
	mute := strings.Replace(base, "tools:\n", "tools:\n  mute: {plugin: ./mute.wasm}\n", 1)
	for name, tc := range map[string]struct{ file, text, why string }{
		"a tool that says nothing of itself":              {"", "", ""},
		"policies about it":                               {"mute.cedar", `@id("m") forbid (principal, action == Action::"mute.speak", resource);`, "tool mute: it cannot be asked"},
		"policies where nobody could tell whose they are": {"builtin/own.cedar", allowRuns, "builtin/own.cedar lies where"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newFolder(t, mute)
			put(t, filepath.Join(dir, "mute.wasm"), "\x00asm\x01\x00\x00\x00")
			if tc.file != "" {
				put(t, filepath.Join(dir, "policies", tc.file), tc.text)
			}
			h, err := app.Open(t.Context(), configured(t, dir), app.Options{})
			if err == nil {
				err = h.Close(t.Context())
			}
			if (err == nil) != (tc.why == "") || err != nil && !strings.Contains(err.Error(), tc.why) {
				t.Errorf("%v, want %q", err, tc.why)
			}
		})
	}
}

// TestLargeArguments: what is too large to be put down with a decision does not keep the
// call from being made and recorded, and its task goes on.
func TestLargeArguments(t *testing.T) {
	dir := policed(t, base+"agents: {scout: {plugin: external, tools: [files]}}\n", map[string]string{"people.cedar": allowPeople, "runs.cedar": allowRuns})
	l := goLive(t, dir, app.Options{})
	task, agent := l.openTask(nil)
	for _, size := range []int{400_000, 2_000_000} {
		arguments := `{"name":"files_write","arguments":{"path":"a.txt","text":"` + strings.Repeat("x", size) + `"}}`
		if r := agent.call(task.ID, "", abi.CallToolCall, arguments); r.Error != nil {
			t.Errorf("%d bytes: %v", size, r.Error)
		}
	}
	records := l.records(audit.Query{Chain: task.ID, Action: "files.files_write", Kind: policy.RecordDecision})
	if len(records) != 2 || len(records[0].Evidence) < 400_000 || records[1].Evidence != nil {
		t.Errorf("%d decisions are on record, or not with what they were made from", len(records))
	}
}
