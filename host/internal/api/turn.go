package api

import (
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// WaitsFor says in words what is missing to the turn's end, nothing when it is
// over for good.
func WaitsFor(t host.Turn) []string {
	switch {
	case len(t.Waiting) > 0:
		out := make([]string, len(t.Waiting))
		for i, w := range t.Waiting {
			out[i] = event(w)
		}
		return out
	case t.Status == host.TurnQueued:
		return []string{"its start"}
	case t.Status == host.TurnRunning:
		return []string{"the agent"}
	case t.Status == host.TurnWaiting:
		return []string{"the next event"}
	}
	return nil
}

// event describes an event in a few words: type, name and when a timer is due, or a
// question expires.
func event(w abi.Wait) string {
	s := string(w.Type)
	if w.Name != "" {
		s += fmt.Sprintf(" %q", w.Name)
	}
	switch {
	case !w.At.IsZero() && w.Type == abi.EventApproval:
		return s + " until " + w.At.UTC().Format(time.RFC3339)
	case !w.At.IsZero():
		return s + " at " + w.At.UTC().Format(time.RFC3339)
	case w.After > 0:
		return s + " after " + w.After.String()
	}
	return s
}

// idempotencyKey is the form of a key: visible ASCII.
var idempotencyKey = regexp.MustCompile(`^[\x21-\x7e]{1,255}$`)

// IdempotencyKey returns the header of that name, "" when there is none.
func IdempotencyKey(h http.Header) (string, error) {
	values := h.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 || !idempotencyKey.MatchString(values[0]) {
		return "", Invalid("Idempotency-Key", "the Idempotency-Key is not 1 to 255 visible ASCII characters; use a UUID")
	}
	return values[0], nil
}
