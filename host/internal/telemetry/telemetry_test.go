package telemetry

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// collector is an OTLP/HTTP receiver on loopback.
type collector struct {
	*httptest.Server

	mu       sync.Mutex
	spans    []*tracepb.Span
	resource map[string]any
	status   int
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{status: http.StatusOK}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var in collectorpb.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &in)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("collector got %s: %v", r.URL.Path, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, rs := range in.GetResourceSpans() {
			c.resource = attributes(rs.GetResource().GetAttributes())
			for _, ss := range rs.GetScopeSpans() {
				c.spans = append(c.spans, ss.GetSpans()...)
			}
		}
		w.WriteHeader(c.status)
	}))
	t.Cleanup(c.Close)
	return c
}

func attributes(in []*commonpb.KeyValue) map[string]any {
	out := map[string]any{}
	for _, kv := range in {
		switch v := kv.GetValue().GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			out[kv.GetKey()] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			out[kv.GetKey()] = v.IntValue
		}
	}
	return out
}

// span finds a span by name among those that arrived.
func (c *collector) span(t *testing.T, name string) *tracepb.Span {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for _, s := range c.spans {
		if s.GetName() == name {
			return s
		}
		names = append(names, s.GetName())
	}
	t.Fatalf("no span %q arrived; there are %q", name, names)
	return nil
}

// clock moves a second at each reading.
func clock() func() time.Time {
	var mu sync.Mutex
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Second)
		return now
	}
}

func newTelemetry(t *testing.T, opt Options) *Telemetry {
	t.Helper()
	opt.Now, opt.Version = clock(), "1.2.3"
	tel, err := New(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return tel
}

var session = host.Session{ID: "01S", Agent: "support", Module: "sha256:aa"}

func run() *host.Run {
	return &host.Run{ID: "01S/1", Session: "01S", Agent: &host.Agent{Name: "support"}}
}

func chatCall() *host.Call {
	return &host.Call{
		Run: run(), Path: "1/1", Name: abi.CallModelChat, Attempt: 1,
		Request: []byte(`{"messages":[{"role":"user","content":[{"type":"text","text":"hello"}]},{"role":"assistant","tool_calls":[{"id":"c1","name":"ping","arguments":{"n":1}}]},{"role":"tool","tool_call_id":"c1","content":[{"type":"text","text":"pong"}]}]}`),
		Class: host.Class{Action: "callModel", Resource: policy.Entity{
			UID: policy.UID{Type: "Model", ID: "main"}, Parents: []policy.UID{{Type: "Provider", ID: "openai"}},
			Attrs: map[string]any{"name": "gpt-5-mini"},
		}},
	}
}

func toolCall() *host.Call {
	return &host.Call{
		Run: run(), Path: "1/2", Name: abi.CallToolCall, Key: "01S.0.1/2", Attempt: 2,
		Request: []byte(`{"name":"hello","arguments":{"name":"Owner"}}`),
		Class:   host.Class{Action: "invokeReadTool", Resource: policy.Entity{UID: policy.UID{Type: "Tool", ID: "hello.hello"}}},
	}
}

func fetchCall() *host.Call {
	return &host.Call{
		Run: run(), Path: "1/2/1", Name: abi.CallHTTPFetch, Attempt: 1,
		Class: host.Class{Action: "httpGet", Resource: policy.Entity{
			UID: policy.UID{Type: "NetHost", ID: "example.com:443"}, Attrs: map[string]any{"host": "example.com", "port": int64(443)},
		}},
	}
}

func TestSpansOfATurn(t *testing.T) {
	c := newCollector(t)
	tel := newTelemetry(t, Options{OTLP: c.URL, Content: true})
	id := tel.Trace(t.Context())
	ctx, endTurn := tel.StartTurn(t.Context(), session, 1, id)
	if got := tel.Trace(ctx); got != id {
		t.Errorf("trace inside the turn is %s, want the recorded %s", got, id)
	}
	_, endChat := tel.StartCall(ctx, chatCall())
	endChat("", abi.Usage{InputTokens: 10, OutputTokens: 3, CostMicros: 7})
	toolCtx, endTool := tel.StartCall(ctx, toolCall())
	_, endFetch := tel.StartCall(toolCtx, fetchCall())
	endFetch(abi.CodeUnavailable, abi.Usage{})
	endTool("", abi.Usage{})
	tel.Replayed(abi.CallModelChat)
	endTurn(host.TurnDone, abi.Usage{InputTokens: 10, OutputTokens: 3, CostMicros: 7}, nil)
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(c.spans) != 4 {
		t.Errorf("%d spans arrived, want 4", len(c.spans))
	}
	for _, s := range c.spans {
		if got := hex.EncodeToString(s.GetTraceId()); got != id {
			t.Errorf("span %s is in trace %s, want %s", s.GetName(), got, id)
		}
	}
	turn, tool := c.span(t, "invoke_agent support"), c.span(t, "execute_tool hello.hello")
	if len(turn.GetParentSpanId()) != 0 {
		t.Errorf("the turn's span has a parent")
	}
	for child, parent := range map[string]*tracepb.Span{"chat gpt-5-mini": turn, "execute_tool hello.hello": turn, "call http_fetch": tool} {
		if got := c.span(t, child).GetParentSpanId(); !slices.Equal(got, parent.GetSpanId()) {
			t.Errorf("%s is not a child of %s", child, parent.GetName())
		}
	}
	for name, kind := range map[string]tracepb.Span_SpanKind{
		"invoke_agent support": tracepb.Span_SPAN_KIND_INTERNAL, "chat gpt-5-mini": tracepb.Span_SPAN_KIND_CLIENT,
		"execute_tool hello.hello": tracepb.Span_SPAN_KIND_INTERNAL, "call http_fetch": tracepb.Span_SPAN_KIND_CLIENT,
	} {
		if got := c.span(t, name).GetKind(); got != kind {
			t.Errorf("%s has kind %s, want %s", name, got, kind)
		}
	}
	if got := c.resource["service.name"]; got != "vespiary" || c.resource["service.version"] != "1.2.3" {
		t.Errorf("resource is %v", c.resource)
	}
}

func TestSpanAttributes(t *testing.T) {
	c := newCollector(t)
	tel := newTelemetry(t, Options{OTLP: c.URL, Content: true})
	ctx, endTurn := tel.StartTurn(t.Context(), session, 3, "")
	for _, call := range []*host.Call{chatCall(), toolCall(), fetchCall()} {
		_, end := tel.StartCall(ctx, call)
		end(map[string]abi.Code{abi.CallHTTPFetch: abi.CodeUnavailable}[call.Name], abi.Usage{InputTokens: 10, OutputTokens: 3, CacheReadTokens: 2, CostMicros: 7})
	}
	endTurn(host.TurnFailed, abi.Usage{InputTokens: 30}, nil)
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	usage := map[string]any{"gen_ai.usage.input_tokens": int64(10), "gen_ai.usage.output_tokens": int64(3), "gen_ai.usage.cache_read.input_tokens": int64(2), "vespiary.usage.cost_usd_micros": int64(7)}
	every := map[string]any{"gen_ai.conversation.id": "01S", "gen_ai.agent.name": "support", "vespiary.run": "01S/1"}
	for name, want := range map[string]map[string]any{
		"invoke_agent support": {
			"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "support", "gen_ai.agent.version": "sha256:aa",
			"gen_ai.conversation.id": "01S", "vespiary.turn": int64(3), "vespiary.turn.status": "failed",
			"gen_ai.usage.input_tokens": int64(30), "error.type": "failed",
		},
		"chat gpt-5-mini": merged(every, usage, map[string]any{
			"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5-mini", "gen_ai.provider.name": "openai",
			"vespiary.call.path": "1/1", "vespiary.call.action": "callModel", "vespiary.call.attempt": int64(1),
			"gen_ai.input.messages": `[{"role":"user","parts":[{"type":"text","content":"hello"}]},{"role":"assistant","parts":[{"type":"tool_call","id":"c1","name":"ping","arguments":{"n":1}}]},{"role":"tool","parts":[{"type":"tool_call_response","id":"c1","response":"pong"}]}]`,
		}),
		"execute_tool hello.hello": merged(every, usage, map[string]any{
			"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "hello.hello", "gen_ai.tool.call.id": "01S.0.1/2",
			"gen_ai.tool.type": "function", "gen_ai.tool.call.arguments": `{"name":"Owner"}`,
			"vespiary.call.path": "1/2", "vespiary.call.action": "invokeReadTool", "vespiary.call.attempt": int64(2),
		}),
		"call http_fetch": merged(every, usage, map[string]any{
			"server.address": "example.com", "server.port": int64(443), "error.type": "unavailable",
			"vespiary.call.path": "1/2/1", "vespiary.call.action": "httpGet", "vespiary.call.attempt": int64(1),
			"vespiary.call.resource": "NetHost::example.com:443",
		}),
	} {
		if diff := cmp.Diff(want, attributes(c.span(t, name).GetAttributes())); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func merged(parts ...map[string]any) map[string]any {
	out := map[string]any{}
	for _, m := range parts {
		maps.Copy(out, m)
	}
	return out
}

func TestContentStaysUnlessAsked(t *testing.T) {
	c := newCollector(t)
	tel := newTelemetry(t, Options{OTLP: c.URL})
	for _, call := range []*host.Call{chatCall(), toolCall()} {
		_, end := tel.StartCall(t.Context(), call)
		end("", abi.Usage{})
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(c.spans) != 2 {
		t.Fatalf("%d spans arrived, want 2", len(c.spans))
	}
	for _, s := range c.spans {
		if text := fmt.Sprint(attributes(s.GetAttributes())); strings.Contains(text, "hello\"") || strings.Contains(text, "Owner") || strings.Contains(text, "messages") {
			t.Errorf("span %s holds content: %s", s.GetName(), text)
		}
	}
}

func TestTurnsLinkToTheOneBefore(t *testing.T) {
	c := newCollector(t)
	tel := newTelemetry(t, Options{OTLP: c.URL})
	for turn := 1; turn <= 2; turn++ {
		_, end := tel.StartTurn(t.Context(), session, turn, tel.Trace(t.Context()))
		end(host.TurnDone, abi.Usage{}, nil)
	}
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, second := c.spans[0], c.spans[1]
	if len(first.GetLinks()) != 0 || len(second.GetLinks()) != 1 {
		t.Fatalf("links: %d and %d, want 0 and 1", len(first.GetLinks()), len(second.GetLinks()))
	}
	if !slices.Equal(second.GetLinks()[0].GetSpanId(), first.GetSpanId()) || slices.Equal(second.GetTraceId(), first.GetTraceId()) {
		t.Error("the second turn is not a trace of its own that links to the first")
	}
}

func TestTurnErrors(t *testing.T) {
	for _, test := range []struct {
		status host.TurnStatus
		err    error
		want   string
	}{
		{host.TurnDone, nil, ""},
		{host.TurnWaiting, nil, ""},
		{host.TurnFailed, nil, "failed"},
		{host.TurnCancelled, nil, "cancelled"},
		{host.TurnFailed, fmt.Errorf("x: %w", &abi.Error{Code: abi.CodeDenied}), "denied"},
		{host.TurnRunning, host.ErrStopping, "stopping"},
		{host.TurnFailed, fmt.Errorf("x: %w", host.ErrDiverged), "diverged"},
		{host.TurnFailed, errors.New("disk"), "internal"},
	} {
		if got := turnError(test.status, test.err); got != test.want {
			t.Errorf("%s, %v: got %q, want %q", test.status, test.err, got, test.want)
		}
	}
}

func TestWithoutCollector(t *testing.T) {
	tel := newTelemetry(t, Options{})
	id := tel.Trace(t.Context())
	if len(id) != 32 || id == strings.Repeat("0", 32) || id == tel.Trace(t.Context()) {
		t.Errorf("trace id %q is not a new W3C trace id", id)
	}
	ctx, end := tel.StartTurn(t.Context(), session, 1, id)
	ctx, endCall := tel.StartCall(ctx, toolCall())
	if got := tel.Trace(ctx); got != id {
		t.Errorf("trace in a call is %q, want %q", got, id)
	}
	endCall("", abi.Usage{})
	end(host.TurnDone, abi.Usage{}, nil)
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCollectorOutOfOrder(t *testing.T) {
	c := newCollector(t)
	c.status = http.StatusBadRequest
	var log strings.Builder
	tel := newTelemetry(t, Options{OTLP: c.URL, Log: slog.New(slog.NewTextHandler(&log, nil))})
	_, end := tel.StartTurn(t.Context(), session, 1, "")
	end(host.TurnDone, abi.Usage{}, nil)
	if err := tel.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "spans not sent") {
		t.Errorf("the log says nothing of spans that were lost: %q", log.String())
	}
}

func TestCollectorURL(t *testing.T) {
	for in, want := range map[string]string{
		"http://127.0.0.1:4318":           "http://127.0.0.1:4318/v1/traces",
		"https://otel.example.com/a/":     "https://otel.example.com/a/v1/traces",
		"http://127.0.0.1:4318/v1/traces": "http://127.0.0.1:4318/v1/traces",
		"127.0.0.1:4318":                  "",
		"grpc://127.0.0.1:4317":           "",
		"http://":                         "",
	} {
		got, err := tracesURL(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v; want %q", in, got, err, want)
		}
	}
	if _, err := New(t.Context(), Options{OTLP: "4318", Now: clock()}); err == nil {
		t.Error("a collector that is no URL is accepted")
	}
}

func TestMemoryOfTurnsIsBounded(t *testing.T) {
	c := newCollector(t)
	tel := newTelemetry(t, Options{OTLP: c.URL})
	ctx, end := tel.StartTurn(t.Context(), session, 1, "")
	end(host.TurnDone, abi.Usage{}, nil)
	_ = ctx
	sc, _ := tel.lastOf(session.ID)
	for i := range maxSessions + 10 {
		tel.remember(fmt.Sprint(i), sc)
	}
	if n := len(tel.last); n != maxSessions {
		t.Errorf("%d sessions are remembered, want %d", n, maxSessions)
	}
	if err := tel.Shutdown(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}
