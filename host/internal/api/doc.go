// Package api is the HTTP edge of the host: a server that authenticates, limits,
// logs and traces requests, and hands them to the routes that its sub-packages
// declare. Each of those is one dialect (rest, openai) and knows nothing of the
// server beyond this package:
//
//	listener -> trace -> request id -> log -> panics -> host guard -> admission -> key -> rate -> body -> Route.Serve
//
// A body is in memory before its route gets the request, except that of a Stream route,
// and an answer is written at once, except for a Stream of events and a Download.
//
// A route returns errors; the server maps their codes to HTTP once, in
// problem.go, and writes them as problem details (RFC 9457) or in the dialect
// that the route names.
package api
