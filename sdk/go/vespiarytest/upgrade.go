package vespiarytest

import (
	"encoding/json"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/sdk/go/internal/guest"
)

// Save returns what the plugin hands over to the next version of itself, as
// package save of the SDK registers it.
func (h *Host) Save() (json.RawMessage, error) {
	h.t.Helper()
	b, err := h.agent.Save((*answering)(h), nil)
	if err == nil && !json.Valid(b) {
		h.t.Errorf("what the plugin saved is not JSON: %s", b)
	}
	return b, err
}

// Migrate makes the plugin take over the session, as package migrate of the SDK
// registers it. As with the real host it begins anew for that; after an error
// the agent is as it was.
func (h *Host) Migrate(m abi.Migration) error {
	h.t.Helper()
	next := guest.Plugin.New()
	_, err := next.Migrate((*answering)(h), h.encode(m))
	if err == nil {
		h.agent = next
	}
	return err
}

// Reseed gives the plugin's package reseed a seed, as the real host does before
// a session's first event. It is the same for all Hosts of a process.
func (h *Host) Reseed(seed [32]byte) {
	h.t.Helper()
	if _, err := guest.Plugin.Reseed((*answering)(h), seed[:]); err != nil {
		h.t.Fatalf("the plugin failed: %v", err)
	}
}
