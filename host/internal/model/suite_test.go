package model_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/model"
)

const key = "test-key-8c1f5d"

// providers makes every provider the suite runs on.
var providers = map[string]func(t *testing.T) model.Provider{
	"openai": func(t *testing.T) model.Provider {
		t.Helper()
		s := httptest.NewServer(openAI(t))
		t.Cleanup(s.Close)
		return provider(t, model.Settings{Provider: model.OpenAI, Model: "fake", BaseURL: s.URL, Key: model.NewSecret(key)})
	},
	"anthropic": func(t *testing.T) model.Provider {
		t.Helper()
		s := httptest.NewServer(anthropic(t))
		t.Cleanup(s.Close)
		return provider(t, model.Settings{Provider: model.Anthropic, Model: "fake", BaseURL: s.URL, Key: model.NewSecret(key)})
	},
	"offline": func(t *testing.T) model.Provider {
		t.Helper()
		return provider(t, model.Settings{Provider: model.Offline})
	},
}

func provider(t *testing.T, s model.Settings) model.Provider {
	t.Helper()
	s.Price = model.Price{Input: 1, Output: 10, CacheRead: 0.1}
	p, err := model.New(s, model.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func user(text string) abi.Message {
	return abi.Message{Role: abi.RoleUser, Content: []abi.Content{abi.Text(text)}}
}

// clock has a name that providers do not accept as it is.
var clock = abi.Tool{
	Name: "clock.now", Description: "The current time.",
	InputSchema: json.RawMessage(`{"type":"object","properties":{"zone":{"type":"string","default":"UTC"}}}`),
}

func TestSuite(t *testing.T) {
	for name, make := range providers {
		t.Run(name, func(t *testing.T) {
			for _, c := range []struct {
				name string
				run  func(*testing.T, string, model.Provider)
			}{
				{"chat", suiteChat},
				{"tool round trip", suiteTools},
				{"a stream equals the whole", suiteStream},
				{"delta stops", suiteStop},
				{"cancel", suiteCancel},
				{"deadline", suiteDeadline},
				{"concurrent", suiteConcurrent},
			} {
				t.Run(c.name, func(t *testing.T) { c.run(t, name, make(t)) })
			}
		})
	}
}

func suiteChat(t *testing.T, name string, p model.Provider) {
	t.Helper()
	got, err := p.Chat(t.Context(), model.Request{Messages: []abi.Message{
		{Role: abi.RoleSystem, Content: []abi.Content{abi.Text("Be brief.")}}, user("Hello"),
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Finish != abi.FinishStop || got.Provider != name || got.Model == "" || got.Message.Role != abi.RoleAssistant {
		t.Errorf("got %+v", got)
	}
	if len(got.Message.ToolCalls) != 0 || abi.TextOf(got.Message.Content) == "" {
		t.Errorf("got message %+v", got.Message)
	}
	u := got.Usage
	if u.InputTokens <= 0 || u.OutputTokens <= 0 || u.CostMicros < u.OutputTokens*10 {
		t.Errorf("got usage %+v", u)
	}
}

func suiteTools(t *testing.T, _ string, p model.Provider) {
	t.Helper()
	r := model.Request{Messages: []abi.Message{user("What time is it?")}, Tools: []abi.Tool{clock}}
	got, err := p.Chat(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Finish != abi.FinishTools || len(got.Message.ToolCalls) != 1 {
		t.Fatalf("got %+v", got)
	}
	call := got.Message.ToolCalls[0]
	var args map[string]any
	if err := json.Unmarshal(call.Arguments, &args); err != nil || call.Name != clock.Name || call.ID == "" {
		t.Errorf("got call %+v: %v", call, err)
	}
	r.Messages = append(r.Messages, got.Message, abi.Message{
		Role: abi.RoleTool, ToolCallID: call.ID, Content: []abi.Content{abi.Text("half past nine")},
	})
	if got, err = p.Chat(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	if got.Finish != abi.FinishStop || !strings.Contains(abi.TextOf(got.Message.Content), "half past nine") {
		t.Errorf("got %+v", got)
	}
}

func suiteStream(t *testing.T, _ string, p model.Provider) {
	t.Helper()
	for _, tools := range [][]abi.Tool{nil, {clock}} {
		r := model.Request{Messages: []abi.Message{user("What time is it?")}, Tools: tools}
		whole, err := p.Chat(t.Context(), r, nil)
		if err != nil {
			t.Fatal(err)
		}
		var deltas []string
		streamed, err := p.Chat(t.Context(), r, func(text string) error {
			deltas = append(deltas, text)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(whole, streamed); diff != "" {
			t.Errorf("(-whole +streamed):\n%s", diff)
		}
		if got := strings.Join(deltas, ""); got != abi.TextOf(whole.Message.Content) || tools == nil && len(deltas) < 2 {
			t.Errorf("%d deltas are %q", len(deltas), got)
		}
	}
}

func suiteStop(t *testing.T, _ string, p model.Provider) {
	t.Helper()
	stop, calls := errors.New("enough"), 0
	_, err := p.Chat(t.Context(), model.Request{Messages: []abi.Message{user("Hello")}}, func(string) error {
		calls++
		return stop
	})
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%d calls: %v", calls, err)
	}
}

func suiteCancel(t *testing.T, _ string, p model.Provider) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := p.Chat(ctx, model.Request{Messages: []abi.Message{user("Please hang")}}, func(string) error {
		cancel()
		return nil
	})
	if !errors.Is(err, &abi.Error{Code: abi.CodeCancelled}) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func suiteDeadline(t *testing.T, _ string, p model.Provider) {
	t.Helper()
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	_, err := p.Chat(ctx, model.Request{Messages: []abi.Message{user("Hello")}}, nil)
	if !errors.Is(err, &abi.Error{Code: abi.CodeTimeout}) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func suiteConcurrent(t *testing.T, _ string, p model.Provider) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			var text strings.Builder
			question := fmt.Sprintf("Hello %d", i)
			got, err := p.Chat(t.Context(), model.Request{Messages: []abi.Message{user(question)}}, func(s string) error {
				text.WriteString(s)
				return nil
			})
			if err != nil || text.String() != abi.TextOf(got.Message.Content) {
				t.Errorf("%q, %v", text.String(), err)
			}
		})
	}
	wg.Wait()
}
