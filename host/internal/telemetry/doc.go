// Package telemetry tells the outside how the host is doing: spans of turns and calls
// to an OpenTelemetry collector, and metrics for Prometheus to read. It is told of
// events and decides nothing; the journal is the record, this is a view that may be
// lost.
//
// A turn is one trace, so that a session of many hours is not one trace of many hours.
// Its id is chosen before the turn's start is recorded, which keeps it, and a turn
// that another host takes up again goes on under the same id. Turns link to the turn
// before, as long as this host remembers it. Calls that the journal answers give no
// spans: they happened earlier, and were told of then.
package telemetry
