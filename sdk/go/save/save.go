// Package save lets an agent hand its state over to the next version of itself.
//
// A module that imports it exports save. The host calls that when a session goes
// over to another module, and gives what it returns to the other's migrate (see
// package migrate). A session that stays with its module needs neither: its host
// keeps the memory of the guest.
package save

import (
	"encoding/json"
	"fmt"

	vespiary "github.com/vespiary/vespiary/sdk/go"
	"github.com/vespiary/vespiary/sdk/go/internal/guest"
)

// State makes f tell what the next version needs to know. It is given the state
// of the agent that vespiary.AgentOf registers, which must be of the same type,
// and what it returns is encoded as JSON. It runs between two turns, without a
// Context: no host call can be made. An error, or a panic, leaves the session
// with this module. State panics where it was called before.
//
//	var _ = save.State((*counter).saved)
func State[S, Saved any](f func(*S) (Saved, error)) vespiary.Registered {
	guest.Plugin.SetSave(func(state any) (json.RawMessage, error) {
		s, ok := state.(*S)
		if !ok {
			return nil, fmt.Errorf("save: the agent's state is %T, not %T; register the agent with vespiary.AgentOf and the type that save.State has", state, s)
		}
		saved, err := f(s)
		if err != nil {
			return nil, fmt.Errorf("save: %w", err)
		}
		b, err := json.Marshal(saved)
		if err != nil {
			return nil, fmt.Errorf("save: what the agent saved does not encode: %w", err)
		}
		return b, nil
	})
	return vespiary.Registered{}
}
