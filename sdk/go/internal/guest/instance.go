package guest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/vespiary/vespiary/abi"
)

// seedSize is how much randomness the export vespiary_reseed is given, in bytes.
const seedSize = 32

// Instance is an agent as one session has it: the plugin with the agent's state.
type Instance struct {
	plugin *Registry
	state  any
}

// New makes the plugin's instance for a session.
func (r *Registry) New() *Instance {
	i := &Instance{plugin: r}
	if r.agent != nil {
		i.state = r.agent.Begin()
	}
	return i
}

// Handle is the export of an agent: an abi.Event in, an abi.Reply out.
func (i *Instance) Handle(h Host, input []byte) ([]byte, error) {
	if i.plugin.agent == nil {
		return nil, errors.New("handle: this plugin registers no agent; call vespiary.Agent from a package variable or init")
	}
	var e abi.Event
	if err := json.Unmarshal(input, &e); err != nil {
		return nil, fmt.Errorf("handle: the event does not decode: %w", err)
	}
	return json.Marshal(i.plugin.agent.Handle(i.state, h, e))
}

// SetSave makes f what the export save runs. A second one panics.
func (r *Registry) SetSave(f func(state any) (json.RawMessage, error)) {
	if r.save != nil {
		panic("vespiary: a plugin saves its state in one way, and one is registered already")
	}
	r.save = f
}

// Save is an optional export of an agent: its state out, in JSON.
func (i *Instance) Save(Host, []byte) (state []byte, err error) {
	if i.plugin.save == nil {
		return nil, errors.New("save: this plugin registers nothing that saves; call save.State from a package variable or init")
	}
	defer recovered("save", &err)
	return i.plugin.save(i.state)
}

// SetMigrate makes f what the export migrate runs. A second one panics.
func (r *Registry) SetMigrate(f func(state any, m abi.Migration) error) {
	if r.migrate != nil {
		panic("vespiary: a plugin takes over a session in one way, and one is registered already")
	}
	r.migrate = f
}

// Migrate is an optional export of an agent: an abi.Migration in, {} out.
func (i *Instance) Migrate(_ Host, input []byte) (out []byte, err error) {
	if i.plugin.migrate == nil {
		return nil, errors.New("migrate: this plugin registers nothing that takes over; call migrate.State from a package variable or init")
	}
	var m abi.Migration
	if err := json.Unmarshal(input, &m); err != nil {
		return nil, fmt.Errorf("migrate: the migration does not decode: %w", err)
	}
	defer recovered("migrate", &err)
	return []byte("{}"), i.plugin.migrate(i.state, m)
}

// AddReseed adds f to what the export vespiary_reseed runs.
func (r *Registry) AddReseed(f func(seed [seedSize]byte)) { r.reseed = append(r.reseed, f) }

// Reseed is an optional export: 32 random bytes in, nothing out. Each of the
// functions that were added gets a seed of its own.
func (r *Registry) Reseed(_ Host, input []byte) (out []byte, err error) {
	if len(input) != seedSize {
		return nil, fmt.Errorf("vespiary_reseed: the seed has %d bytes and must have %d", len(input), seedSize)
	}
	defer recovered("vespiary_reseed", &err)
	source := rand.NewChaCha8([seedSize]byte(input))
	for _, f := range r.reseed {
		var seed [seedSize]byte
		_, _ = source.Read(seed[:]) // it never fails
		f(seed)
	}
	return nil, nil
}

// recovered makes a panic of the plugin an error: a trap says less.
func recovered(export string, err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%s: the plugin panicked: %v", export, p)
	}
}
