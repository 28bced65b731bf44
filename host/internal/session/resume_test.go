package session_test

import (
	"testing"
	"time"
)

// TestSessionsTakenUpLeaveTheMemory has a host take up a turn that another one left, end it,
// and let go of the session when nothing more comes.
func TestSessionsTakenUpLeaveTheMemory(t *testing.T) {
	w := newWorld(t, writing("crash"))
	turn := w.invoke(message("hi"))
	until(t, "the effect", func() bool { return len(w.done()) == 1 })
	w.agent.Idle = 20 * time.Millisecond
	w.restart(writing("crash"))
	until(t, "the end", func() bool { return w.status(turn.Session).Ended == 1 })
	until(t, "leaving the memory", func() bool { return w.living() == 0 })
}
