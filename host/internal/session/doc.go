// Package session runs sessions: it accepts events, queues them, lets the agent
// handle one after the other, and goes on where an earlier host left off.
//
// Every active session has one actor, a goroutine that owns the session's journal.
// An accepted event is durable before its acceptance is told; a turn is a guest's
// call of handle, whose host calls pass the gate; what callers see of a turn is
// projected from the journal's durable entries, so a stream can be resumed at any
// event and shows nothing that a crash could take back.
package session
