package telemetry

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

func scrape(t *testing.T, tel *Telemetry) string {
	t.Helper()
	w := httptest.NewRecorder()
	tel.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("scrape: %d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestMetrics(t *testing.T) {
	tel := newTelemetry(t, Options{})
	tel.Watch(Sources{
		Sessions: func(context.Context) (map[host.SessionStatus]int, error) {
			return map[host.SessionStatus]int{host.SessionIdle: 3, host.SessionRunning: 1}, nil
		},
		Store: func() StoreStats {
			return StoreStats{Commits: 9, Conflicts: 1, Refused: 2, Bytes: 300, Syncs: 4, FreeBytes: 5e6}
		},
	})
	ctx, endTurn := tel.StartTurn(t.Context(), session, 1, "") // the clock moves a second at each reading
	for _, code := range []abi.Code{"", "", abi.CodeTimeout, "made_up"} {
		_, end := tel.StartCall(ctx, chatCall())
		end(code, abi.Usage{InputTokens: 100, OutputTokens: 10, CacheReadTokens: 50, CostMicros: 250_000})
	}
	agentCall := chatCall() // another agent's tokens are that one's
	agentCall.Name = abi.CallAgentCall
	_, end := tel.StartCall(ctx, agentCall)
	end("", abi.Usage{InputTokens: 1000, CostMicros: 250_000})
	tel.Refused(abi.CallHTTPFetch, abi.CodeDenied)
	tel.Refused("call_of_a_guest", abi.CodeNotFound)
	tel.Replayed(abi.CallToolCall)
	tel.Replayed("anything")
	tel.Unknown(abi.CallHTTPFetch)
	tel.Appended(7)
	if got := scrape(t, tel); !strings.Contains(got, "vespiary_turns_running 1\n") {
		t.Error("the running turn is not counted")
	}
	endTurn(host.TurnDone, abi.Usage{}, nil)
	got := scrape(t, tel)
	for _, want := range []string{
		`vespiary_turns_total{agent="support",status="done"} 1`,
		`vespiary_turns_running 0`,
		`vespiary_turn_seconds_sum{agent="support"} 11`,
		`vespiary_calls_total{call="agent_call",outcome="ok"} 1`,
		`vespiary_calls_total{call="model_chat",outcome="ok"} 2`,
		`vespiary_calls_total{call="model_chat",outcome="timeout"} 1`,
		`vespiary_calls_total{call="model_chat",outcome="other"} 1`,
		`vespiary_calls_total{call="http_fetch",outcome="denied"} 1`,
		`vespiary_calls_total{call="other",outcome="not_found"} 1`,
		`vespiary_call_seconds_sum{call="model_chat"} 4`,
		`vespiary_call_seconds_count{call="model_chat"} 4`,
		`vespiary_tokens_total{agent="support",type="input"} 400`,
		`vespiary_tokens_total{agent="support",type="output"} 40`,
		`vespiary_tokens_total{agent="support",type="cache_read"} 200`,
		`vespiary_cost_usd_total{agent="support"} 1`,
		`vespiary_calls_replayed_total{call="tool_call"} 1`,
		`vespiary_calls_replayed_total{call="other"} 1`,
		`vespiary_calls_unknown_total{call="http_fetch"} 1`,
		`vespiary_journal_entries_total 7`,
		`vespiary_sessions{status="idle"} 3`,
		`vespiary_sessions{status="running"} 1`,
		`vespiary_store_commits_total 9`,
		`vespiary_store_conflicts_total 1`,
		`vespiary_store_refused_total 2`,
		`vespiary_store_written_bytes_total 300`,
		`vespiary_store_syncs_total 4`,
		`vespiary_store_free_bytes 5e+06`,
		`vespiary_build_info{version="1.2.3"} 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if !strings.Contains(got, "go_goroutines") {
		t.Error("the metrics lack those of the process")
	}
}

func TestMetricsOutliveAFailingSource(t *testing.T) {
	tel := newTelemetry(t, Options{})
	tel.Watch(Sources{Sessions: func(context.Context) (map[host.SessionStatus]int, error) {
		return nil, errors.New("the store is closed")
	}})
	tel.Appended(1)
	if got := scrape(t, tel); !strings.Contains(got, "vespiary_journal_entries_total 1\n") {
		t.Error("one failing source hides all metrics")
	}
}
