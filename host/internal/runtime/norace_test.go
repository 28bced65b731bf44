//go:build !race

package runtime_test

// How many turns a guest takes that is revived after each, in the same process
// and in one of its own.
const (
	revivedTurns = 50
	processTurns = 200
)
