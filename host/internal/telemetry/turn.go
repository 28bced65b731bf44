package telemetry

import (
	"context"
	"crypto/rand"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// Trace returns the W3C trace id, 32 hexadecimal digits, of what happens under ctx.
// Where nothing is traced it returns a new one, for the turn that is about to start.
func (t *Telemetry) Trace(ctx context.Context) string {
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		return sc.TraceID().String()
	}
	return newTraceID().String()
}

// StartTurn begins the span of a turn, in the trace of that id, and links it to the
// session's turn before. The returned function ends it.
func (t *Telemetry) StartTurn(ctx context.Context, s host.Session, turn int, traceID string) (context.Context, func(host.TurnStatus, abi.Usage, error)) {
	begun := t.now()
	t.metrics.running.Inc()
	opts := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindInternal),
		trace.WithAttributes(
			keyOperation.String(operationAgent), keyAgentName.String(s.Agent), keyAgentVersion.String(s.Module),
			keyConversation.String(s.ID), keyTurn.Int(turn),
		),
	}
	if before, ok := t.lastOf(s.ID); ok {
		opts = append(opts, trace.WithLinks(trace.Link{SpanContext: before}))
	}
	ctx, span := t.tracer.Start(inTrace(ctx, traceID), operationAgent+" "+s.Agent, opts...)
	t.remember(s.ID, span.SpanContext())
	return ctx, func(status host.TurnStatus, u abi.Usage, err error) {
		t.metrics.turn(s.Agent, status, t.now().Sub(begun))
		span.SetAttributes(usage(u)...)
		span.SetAttributes(keyStatus.String(string(status)))
		if kind := turnError(status, err); kind != "" {
			fail(span, kind)
		}
		span.End()
	}
}

func newTraceID() (id trace.TraceID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// inTrace makes the next span the root of the trace with that id: a span context
// without a span's id names a trace and no parent in it.
func inTrace(ctx context.Context, traceID string) context.Context {
	id, err := trace.TraceIDFromHex(traceID)
	if err != nil || trace.SpanContextFromContext(ctx).HasTraceID() {
		return ctx
	}
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: id}))
}

// turnError names why a turn did not go well, "" when it did.
func turnError(status host.TurnStatus, err error) string {
	e, isResult := errors.AsType[*abi.Error](err)
	switch {
	case isResult:
		return string(e.Code)
	case errors.Is(err, host.ErrStopping):
		return "stopping" // it goes on later
	case errors.Is(err, host.ErrDiverged):
		return "diverged"
	case err != nil:
		return string(abi.CodeInternal)
	case status == host.TurnFailed || status == host.TurnCancelled:
		return string(status)
	}
	return ""
}

func fail(span trace.Span, kind string) {
	span.SetAttributes(keyErrorType.String(kind))
	span.SetStatus(codes.Error, kind)
}

// usage is what was consumed, as far as it was anything.
func usage(u abi.Usage) []attribute.KeyValue {
	var out []attribute.KeyValue
	for _, a := range []struct {
		key attribute.Key
		n   int64
	}{{keyInput, u.InputTokens}, {keyOutput, u.OutputTokens}, {keyCacheRead, u.CacheReadTokens}, {keyCost, u.CostMicros}} {
		if a.n != 0 {
			out = append(out, a.key.Int64(a.n))
		}
	}
	return out
}

// maxSessions is how many sessions' newest turns are remembered for links.
const maxSessions = 10_000

func (t *Telemetry) lastOf(session string) (trace.SpanContext, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sc, ok := t.last[session]
	return sc, ok
}

func (t *Telemetry) remember(session string, sc trace.SpanContext) {
	if !sc.IsValid() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.last[session]; !known && len(t.last) >= maxSessions {
		for other := range t.last {
			delete(t.last, other)
			break
		}
	}
	t.last[session] = sc
}
