//go:build race

package runtime_test

// How many turns a guest takes that is revived after each, in the same process
// and in one of its own. The race detector makes such a process take seconds.
const (
	revivedTurns = 10
	processTurns = 3
)
