//go:build soak

package crashtest

import (
	"os"
	"testing"
	"time"
)

// TestSoakCrash kills the host for as long as SOAK says, in rounds with folders of their
// own, so that both many sessions and long journals are killed. It is 10 minutes by default.
func TestSoakCrash(t *testing.T) {
	total := 10 * time.Minute
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		if total, err = time.ParseDuration(text); err != nil {
			t.Fatalf("SOAK: %v; use a duration such as 2h", err)
		}
	}
	for until := time.Now().Add(total); time.Now().Before(until) && !t.Failed(); {
		end := time.Now().Add(min(time.Until(until), 20*time.Minute))
		t.Run("round", func(t *testing.T) {
			crash(t, func(int) bool { return time.Now().Before(end) })
		})
	}
}
