package openai_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/internal/api/apitest"
)

// TestOfficialClient runs OpenAI's own client for JavaScript against the dialect.
func TestOfficialClient(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		missing(t, "node is not installed")
	}
	if _, err := os.Stat("testdata/sdk/node_modules"); err != nil {
		missing(t, "the client is not installed; run npm ci in testdata/sdk")
	}
	s := start(t)
	cmd := exec.CommandContext(t.Context(), node, "sdk.mjs", s.URL, apitest.Key)
	cmd.Dir, cmd.Stderr = "testdata/sdk", os.Stderr
	b, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	want := map[string]any{
		"models": []any{"echo", "history"}, "model": "model",
		"create": "hello wasps stop 8", "session": true, "continued": "2",
		"stream": "hello wasps", "streamUsage": 8.0, "plainStream": "hello wasps",
		"suspended":    `Waiting for approval "hmac:a1" until 2030-01-02T04:04:05Z.`,
		"failed":       "APIError 424 agent_error budget_exceeded null",
		"failedStream": "APIError undefined agent_error budget_exceeded null",
		"noModel":      "NotFoundError 404 invalid_request_error model_not_found model",
		"tools":        "BadRequestError 400 invalid_request_error invalid tools",
		"wrongKey":     "AuthenticationError 401 invalid_request_error invalid_api_key null",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var failed int
	for _, in := range s.Sessions.Accepted() {
		if in.Agent == "fail" {
			failed++
		}
	}
	if failed != 2 {
		t.Errorf("a failed turn was repeated: %d turns of 2 requests", failed)
	}
}

// missing skips the test, unless all tests are required.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}
