package app_test

import (
	"encoding/json"
	"strings"
	"testing"
	"net/http"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/app"
)

func TestRVLarge(t *testing.T) {
	dir := policed(t, base+"agents: {scout: {plugin: external, tools: [files]}}\n", map[string]string{"people.cedar": allowPeople, "runs.cedar": allowRuns})
	l := goLive(t, dir, app.Options{})
	for _, n := range []int{100_000, 700_000, 900_000, 2_000_000} {
		task, agent := l.openTask("scout", map[string]any{"purpose": "x"})
		b, _ := json.Marshal(map[string]any{"name": "files_write", "arguments": map[string]any{"path": "a.txt", "text": strings.Repeat("x", n)}})
		status, out := agent.do(http.MethodPost, "/v1/tasks/"+task.ID+"/calls", map[string]any{"id": "1", "name": abi.CallToolCall, "request": json.RawMessage(b)})
		t.Logf("%d: %d %.300s", n, status, out)
		status, out = agent.do(http.MethodPost, "/v1/tasks/"+task.ID+"/calls", map[string]any{"id": "2", "name": abi.CallToolList, "request": json.RawMessage("{}")})
		t.Logf("then: %d %.200s", status, out)
	}
	status, out := l.do(http.MethodPost, "/v1/tasks", map[string]any{"agent": "scout", "grants": []any{}, "purpose": strings.Repeat("p", 1_000_000)})
	t.Logf("purpose: %d %.300s", status, out)
	var g []any
	for range 8000 { g = append(g, map[string]any{"actions": []string{"fileRead"}, "resources": []any{map[string]any{"type":"File","id": strings.Repeat("q", 60)}}}) }
	status, out = l.do(http.MethodPost, "/v1/tasks", map[string]any{"agent": "scout", "grants": g})
	t.Logf("grants: %d %.300s", status, out)
}
