package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Options are what Telemetry is made of. Now is required.
type Options struct {
	// OTLP is the URL of an OpenTelemetry collector that speaks OTLP over HTTP, such as
	// http://127.0.0.1:4318; spans go to its path /v1/traces. Empty sends none.
	OTLP    string
	Version string // of the host
	Content bool   // also send what was said to models and tools
	Now     func() time.Time
	Log     *slog.Logger // told of spans that could not be sent; nil discards
}

// Telemetry is told of turns and calls. It is safe for concurrent use.
type Telemetry struct {
	now     func() time.Time
	content bool
	traces  trace.TracerProvider
	tracer  trace.Tracer
	stop    func(context.Context) error
	metrics *metrics

	mu   sync.Mutex
	last map[string]trace.SpanContext // of each session's newest turn
}

const scope = "github.com/vespiary/vespiary"

// New returns Telemetry. It does not wait for the collector, which may come and go.
func New(ctx context.Context, opt Options) (*Telemetry, error) {
	t := &Telemetry{
		now: opt.Now, content: opt.Content, metrics: newMetrics(opt.Version),
		traces: noop.NewTracerProvider(),
		stop:   func(context.Context) error { return nil },
		last:   map[string]trace.SpanContext{},
	}
	if opt.OTLP == "" {
		t.tracer = t.traces.Tracer(scope)
		return t, nil
	}
	provider, err := newProvider(ctx, opt)
	if err != nil {
		return nil, err
	}
	t.traces, t.tracer = provider, provider.Tracer(scope, trace.WithInstrumentationVersion(opt.Version))
	t.stop = provider.Shutdown
	return t, nil
}

// Traces makes the tracers of other parts, whose spans go where Telemetry's go.
func (t *Telemetry) Traces() trace.TracerProvider { return t.traces }

// Shutdown sends the spans that wait to be sent, until ctx ends.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if err := t.stop(ctx); err != nil {
		return fmt.Errorf("telemetry: the last spans were not sent: %w", err)
	}
	return nil
}

func newProvider(ctx context.Context, opt Options) (*sdktrace.TracerProvider, error) {
	endpoint, err := tracesURL(opt.OTLP)
	if err != nil {
		return nil, err
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint))
	if err != nil {
		return nil, fmt.Errorf("telemetry: exporter to %s: %w", endpoint, err)
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "vespiary"), attribute.String("service.version", opt.Version),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("telemetry: OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	log := opt.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&logged{SpanExporter: exporter, log: log}),
		sdktrace.WithResource(about),
	), nil
}

// tracesURL is where a collector takes spans.
func tracesURL(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("telemetry: %q is not the URL of a collector; use one such as http://127.0.0.1:4318", base)
	}
	if !strings.HasSuffix(u.Path, "/v1/traces") {
		u = u.JoinPath("v1", "traces")
	}
	return u.String(), nil
}

// logged tells the log of spans that were not sent: the SDK would tell a handler that
// is shared by the whole process.
type logged struct {
	sdktrace.SpanExporter

	log *slog.Logger
}

// ExportSpans implements sdktrace.SpanExporter.
func (l *logged) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := l.SpanExporter.ExportSpans(ctx, spans); err != nil {
		l.log.WarnContext(ctx, "spans not sent to the collector", "spans", len(spans), "error", err)
	}
	return nil
}
