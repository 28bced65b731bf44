package host

import (
	"time"

	"github.com/vespiary/vespiary/abi"
)

// DefaultTenant is the tenant of a host that serves one organisation.
const DefaultTenant = "default"

// Caller is an authenticated user or service.
type Caller struct {
	Tenant string `json:"tenant"`
	User   string `json:"user"`
	Name   string `json:"name,omitempty"`
	Key    string `json:"key,omitempty"` // id of the API key, never the key
	Via    string `json:"via,omitempty"` // how they proved who they are: ViaKey, ViaToken, ViaTask, ViaLocal
	// Groups and Claims are those that the host's configuration gives or takes over from a
	// token.
	Groups []string            `json:"groups,omitempty"`
	Claims map[string][]string `json:"claims,omitempty"`
	// Given are the groups that the token says: those of Groups that do not change with the
	// configuration.
	Given []string `json:"given,omitempty"`
	// Scopes limit the caller to actions of the API, by name or group; none: no limit but
	// the policies.
	Scopes []string `json:"scopes,omitempty"`
	Task   string   `json:"task,omitempty"` // whose token the caller holds
	// Actors act for the user, the nearest first, as the token of another host says.
	Actors []string  `json:"actors,omitempty"`
	Remote string    `json:"-"` // address of the connection
	Until  time.Time `json:"-"` // when what they came with expires; zero: never, or it is asked about
}

// How a caller proved who they are.
const (
	ViaKey   = "key"
	ViaToken = "token"
	ViaTask  = "task"
	ViaLocal = "local" // a command on the host's own machine
)

// Agent is a binding: a plugin with a model, instructions, tools and a budget,
// under a name. It is immutable; a reload makes new ones.
type Agent struct {
	Name        string
	Description string
	Plugin      string // as the configuration names it
	Module      string // digest of the plugin, "sha256:…", or ModuleExternal
	Binding     abi.Binding
	Tools       []string          // selectors: "source" or "source.tool"
	Folders     map[string]string // mounted read-only: name to an absolute path of this machine
	Roles       []string          // groups of agents that policies may name
	Budget      Budget            // of each task
	Turn        Budget            // of each turn, beside the task's
	Idle        time.Duration     // how long a session without work stays ready; 0: the host's own
	MaxAge      time.Duration     // of a session; 0: none. Then it takes no more events and its turn ends
	Retain      time.Duration     // how long a session that ended or idles is kept; 0 keeps it
}

// Budget limits what one task may use. 0 means no limit.
type Budget struct {
	Tokens     int64         `json:"tokens,omitempty"`
	CostMicros int64         `json:"usd_micros,omitempty"` // millionths of a US dollar
	Calls      int64         `json:"calls,omitempty"`
	Time       time.Duration `json:"time_ns,omitempty"` // of a task from the acceptance of its event, of a turn while its guest runs
	Fuel       int64         `json:"fuel,omitempty"`    // of all guests: function entries and loop rounds, and bytes moved
	Memory     uint64        `json:"memory,omitempty"`  // bytes of linear memory of one guest
}

// ModuleExternal stands for the module of an agent that is a program elsewhere.
const ModuleExternal = "external"
