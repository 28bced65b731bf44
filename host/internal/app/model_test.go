package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// TestAgentOverTheOpenAIProtocol lets a server of the protocol on loopback ask for a tool
// and then answer, both as a stream: from the HTTP API to the tool and back.
func TestAgentOverTheOpenAIProtocol(t *testing.T) {
	t.Setenv("TEST_MODEL_KEY", "sk-the-key")
	var asked atomic.Int32
	var second atomic.Value
	model := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer sk-the-key" {
			http.Error(w, `{"error":{"message":"no"}}`, http.StatusUnauthorized)
			return
		}
		var in struct {
			Messages []struct{ Role, Content string }
			Tools    []struct{ Function struct{ Name string } }
			Stream   bool
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || !in.Stream || len(in.Tools) == 0 {
			http.Error(w, `{"error":{"message":"not as expected"}}`, http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		chunk := func(delta, finish string) {
			_, _ = fmt.Fprintf(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":%s,\"finish_reason\":%s}]}\n\n", delta, finish)
		}
		if asked.Add(1) == 1 {
			chunk(`{"role":"assistant","tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"files_search","arguments":""}}]}`, "null")
			chunk(`{"tool_calls":[{"index":0,"function":{"arguments":"{\"query\":\"hornets\"}"}}]}`, "null")
			chunk(`{}`, `"tool_calls"`)
		} else {
			second.Store(in.Messages[len(in.Messages)-1].Content)
			chunk(`{"role":"assistant","content":"With "}`, "null")
			chunk(`{"content":"paper."}`, "null")
			chunk(`{}`, `"stop"`)
		}
		_, _ = fmt.Fprint(w, "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"model\":\"m-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":10,\"total_tokens\":110}}\n\ndata: [DONE]\n\n")
	}))
	defer model.Close()
	entry := `{provider: openai, model: m-1, base_url: "` + model.URL + `/v1", key: "${env:TEST_MODEL_KEY}", price: {input: 1.00, output: 10.00}}`
	s := serve(t, newFolder(t, strings.Replace(librarian, "{provider: offline}", entry, 1)))
	turn := s.invoke("librarian", "What do hornets build with?", "")
	if turn.Status != host.TurnDone || abi.TextOf(turn.Content) != "With paper." {
		t.Errorf("%+v %v", turn, turn.Error)
	}
	if got, _ := second.Load().(string); !strings.Contains(got, "Hornets build with paper.") {
		t.Errorf("the model was shown of the tool: %q", got)
	}
	// 200 tokens at a dollar and 20 at ten dollars a million.
	if want := (abi.Usage{InputTokens: 200, OutputTokens: 20, CostMicros: 400, Fuel: turn.Usage.Fuel}); turn.Usage != want || turn.Usage.Fuel == 0 {
		t.Errorf("used %+v, want %+v", turn.Usage, want)
	}
	if _, b := s.do(http.MethodGet, "/v1/sessions/"+turn.Session+"/journal", nil); strings.Contains(string(b), "sk-the-key") {
		t.Error("the key is in the journal")
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(s.log.String(), "sk-the-key") {
		t.Error("the key is in the log")
	}
}
