package api_test

import (
	"context"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

type nopAuth struct{}

func (nopAuth) Authenticate(context.Context, string) (host.Caller, error) { return host.Caller{}, nil }

func TestTrace(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(trace.WithSyncer(spans))
	addr, stop := serve(t, api.Options{Routes: []api.Route{route("/a/{x}", ok)}, Traces: provider})
	req := request(t, "http://"+addr+"/a/1", nil)
	req.Header.Set("Traceparent", "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01")
	do(t, req)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	got := spans.GetSpans()
	if len(got) != 1 {
		t.Fatalf("%d spans", len(got))
	}
	if got[0].Name != "POST /a/{x}" || got[0].SpanContext.TraceID().String() != "0102030405060708090a0b0c0d0e0f10" {
		t.Errorf("span %q of trace %s", got[0].Name, got[0].SpanContext.TraceID())
	}
	if route := attribute.String("http.route", "/a/{x}"); !slices.Contains(got[0].Attributes, route) {
		t.Errorf("no %v among %v", route, got[0].Attributes)
	}
}
