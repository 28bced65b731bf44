package rest_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/host/internal/api/apitest"
	"github.com/vespiary/vespiary/host/internal/api/rest"
)

// send makes a request with the key and reads the answer; the error is of its body.
func send(t *testing.T, method, url string, body io.Reader) (status int, text string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apitest.Key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// TestExportBreaksOff: what fails in the middle cannot be taken for a whole file.
func TestExportBreaksOff(t *testing.T) {
	s := start(t)
	resp, err := invoke(t.Context(), t, s.URL, "broken", "Prefer", "respond-async")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	status, text, err := send(t, http.MethodGet, s.URL+"/v1/sessions/S1/export", nil)
	if status != http.StatusOK || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d, %d bytes, %v; want a body that breaks off", status, len(text), err)
	}
}

// TestBackupFails: nothing was sent yet, so the answer says that it failed, and not why.
func TestBackupFails(t *testing.T) {
	s := apitest.Start(t, time.Now, func(s *apitest.Sessions) []api.Route {
		return rest.Routes(rest.Options{
			Sessions: s, Agents: apitest.Agents{}, Admin: apitest.Admin{}, Now: apitest.Now,
			Backup: apitest.Backup{Size: 10, Err: errors.New("a detail that clients must not see")},
		})
	})
	status, text, err := send(t, http.MethodPost, s.URL+"/v1/admin/backup", nil)
	if err != nil || status != http.StatusInternalServerError || strings.Contains(text, "detail that") {
		t.Errorf("%d %s, %v", status, text, err)
	}
	if status, text, err = send(t, http.MethodGet, s.URL+"/v1/unsettled", nil); status != http.StatusNotFound {
		t.Errorf("a host without durable sessions answers %d %s, %v", status, text, err)
	}
}

// TestImportLimit: an import may be larger than other bodies, and not larger than its
// own limit, of which the service cannot make another error.
func TestImportLimit(t *testing.T) {
	s := apitest.Start(t, time.Now, func(s *apitest.Sessions) []api.Route {
		return rest.Routes(rest.Options{Sessions: s, Agents: apitest.Agents{}, Admin: apitest.Admin{}, Durable: s, Now: apitest.Now, Import: 3 << 20})
	})
	file := func(size int) io.Reader { // whose length is not known before
		line := strings.Repeat("x", 1023) + "\n"
		return io.MultiReader(strings.NewReader("session of echo\n"), strings.NewReader(strings.Repeat(line, size>>10)), strings.NewReader("end\n"))
	}
	for size, want := range map[int]int{2 << 20: http.StatusCreated, 4 << 20: http.StatusRequestEntityTooLarge} {
		if status, text, err := send(t, http.MethodPost, s.URL+"/v1/sessions/import", file(size)); status != want {
			t.Errorf("%d bytes: %d %s, %v; want %d", size, status, text, err, want)
		}
	}
}

// FuzzDurable sends any body to all that take one.
func FuzzDurable(f *testing.F) {
	for _, seed := range []string{
		`{"name":"go","data":{}}`, `{"grant":true}`, `{"path":"1/1","outcome":"happened"}`, `{"at":1}`, `{"to":1}`,
		`{"agent":"echo","grants":[{"actions":["a"]}],"expires_in":1}`, `{"name":"tool_list","id":"1","request":{}}`, `{"state":"completed","content":"x"}`,
		`{"audience":"a"}`, `{"name":"k","scopes":["use"]}`, `{"files":[{"name":"a.cedar","text":"permit"}],"since":"2030-01-02T03:04:05Z"}`,
		`{"module":"m","model":"x","until":1}`, `{"mode":"replay"}`, `{"note":"n"}`, "session of echo\nend\n", "", "\xff", `{"at":1e30}`,
	} {
		f.Add([]byte(seed))
	}
	spec := apitest.LoadSpec(f, "openapi.json")
	f.Fuzz(func(t *testing.T, body []byte) {
		s := apitest.NewSessions()
		all := routes(s)
		apitest.Post(t, spec, all, "/v1/agents/approve/invocations", []byte(`{"content":"hi","type":"message"}`))
		apitest.Post(t, spec, all, "/v1/tasks", []byte(`{"agent":"echo"}`))
		for _, path := range []string{
			"tasks", "tasks/T1/calls", "tasks/T1/tokens", "tasks/T1/end", "keys", "policies/check", "policies/simulate",
			"sessions/S1/signals", "sessions/S1/settlements", "sessions/S1/fork", "sessions/S1/revert", "sessions/S1/replay",
			"sessions/S1/upgrade", "sessions/S1/resume", "sessions/import", "approvals/hmac:a1",
		} {
			apitest.Post(t, spec, all, "/v1/"+path, body)
		}
	})
}
