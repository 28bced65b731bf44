// Package migrate lets an agent take over sessions from another version of
// itself, or from any other module.
//
// A module that imports it exports migrate, and the host uses that unless it is
// told otherwise. Without it a session is upgraded by running all its turns
// again with the new module, which must do what the old one did.
package migrate

import (
	"encoding/json"
	"fmt"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
	"github.com/vespiary/vespiary/sdk/go/internal/guest"
)

// State makes f take over a session. It is given the new state of the agent that
// vespiary.AgentOf registers, which must be of the same type, and what the old
// module saved (see package save); that is the zero Saved where it saved nothing.
// A Saved of json.RawMessage is given the JSON as it is. f runs once, before the
// first event and without a Context: no host call can be made, and the session's
// working memory and files are as they were. An error, or a panic, leaves the
// session with the old module. State panics where it was called before.
//
//	var _ = migrate.State((*counter).takeOver)
func State[S, Saved any](f func(s *S, from abi.Migration, saved Saved) error) vespiary.Registered {
	guest.Plugin.SetMigrate(func(state any, m abi.Migration) error {
		s, ok := state.(*S)
		if !ok {
			return fmt.Errorf("migrate: the agent's state is %T, not %T; register the agent with vespiary.AgentOf and the type that migrate.State has", state, s)
		}
		var saved Saved
		if len(m.State) > 0 {
			if err := json.Unmarshal(m.State, &saved); err != nil {
				return fmt.Errorf("migrate: the state that %s saved is no %T: %w", m.From, saved, err)
			}
		}
		if err := f(s, m, saved); err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		return nil
	})
	return vespiary.Registered{}
}
