package access_test

import (
	"slices"
	"testing"

	"github.com/vespiary/vespiary/host"
)

// TestSignals: who may signal a session begins no turn with that, unless they may do so
// otherwise.
func TestSignals(t *testing.T) {
	const signals = `@id("s") permit (principal, action in [Action::"readSession", Action::"signalSession"], resource);`
	for name, tc := range map[string]struct {
		policies string
		scopes   []string
		awaited  bool
		decided  []string
	}{
		"all":                 {permitAll, nil, false, []string{"invokeAgent yes", "continueSession yes", "signalSession yes"}},
		"signals alone":       {signals, nil, true, []string{"signalSession yes"}},
		"a key for signals":   {permitAll, []string{"signalSession"}, true, []string{"signalSession yes"}},
		"not with that agent": {permitAll + `@id("f") forbid (principal, action == Action::"invokeAgent", resource);`, nil, true, []string{"signalSession yes"}},
		"an agent that hides": {permitAll + `@id("f") forbid (principal, action == Action::"readAgent", resource);`, nil, true, []string{"signalSession yes"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tc.policies)
			c := user1
			c.Scopes = tc.scopes
			if _, err := w.guard.Durable(durable{w}, sessions{w}).Signal(t.Context(), host.Signal{Caller: c, Session: "S1", Name: "go"}); err != nil {
				t.Fatal(err)
			}
			if w.awaited != tc.awaited || !slices.Equal(w.decided("Durable.Signal"), tc.decided) {
				t.Errorf("awaited %v, on record %v", w.awaited, w.decided("Durable.Signal"))
			}
		})
	}
}
