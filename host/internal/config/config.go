package config

import (
	"encoding/json"
	"time"

	"github.com/vespiary/vespiary/host/internal/config/strict"
)

// FileName is the name of the configuration in a project's folder.
const FileName = "vespiary.yaml"

// Config is a host's configuration. Paths in it are absolute, or relative to the
// working folder where the name it was read from is. It is not to be changed.
type Config struct {
	File string `yaml:"-"` // as it was named to Load or Parse

	Version   int               `yaml:"version,required"`
	Listen    string            `yaml:"listen"`    // host:port; 127.0.0.1:7070 when absent
	Data      string            `yaml:"data"`      // folder; ./data when absent
	Policies  string            `yaml:"policies"`  // folder; ./policies when absent
	Candidate string            `yaml:"candidate"` // folder of policies that are tried and have no effect; none when absent
	Enforce   strict.List       `yaml:"enforce"`   // sets of ready-made policies to put into effect: flow
	Edge      bool              `yaml:"edge"`      // a small machine: less memory for caches and pools
	Hosts     []string          `yaml:"hosts"`     // names by which clients reach it, where a proxy stands in front
	TLS       *TLS              `yaml:"tls"`
	Models    map[string]Model  `yaml:"models"`
	Tools     map[string]Tool   `yaml:"tools"`
	Folders   map[string]Folder `yaml:"folders"`
	Agents    map[string]Agent  `yaml:"agents"`
	Identity  Identity          `yaml:"identity"`
	// Groups lists the users of each group. A user of an issuer or peer is NAME@ISSUER or
	// NAME@PEER; commands on this machine are the user local.
	// When absent, there is the group operators with that user.
	Groups    map[string][]string `yaml:"groups"`
	Audit     Audit               `yaml:"audit"`
	Approvals Approvals           `yaml:"approvals"`
	Webhooks  map[string]Webhook  `yaml:"webhooks"`
	Limits    Limits              `yaml:"limits"`
	HTTP      HTTP                `yaml:"http"`
	Telemetry Telemetry           `yaml:"telemetry"`
	Metrics   Metrics             `yaml:"metrics"`
}

// TLS names the PEM files of a certificate chain and its key.
type TLS struct {
	Cert string `yaml:"cert,required"`
	Key  string `yaml:"key,required"`
}

// Model is a language model under a name. Provider is openai (and all that speak
// its protocol at BaseURL), anthropic, or offline, which answers by rules and
// needs no network.
type Model struct {
	Provider  string            `yaml:"provider,required"`
	Model     string            `yaml:"model"` // the provider's name for it
	BaseURL   string            `yaml:"base_url"`
	Key       Secret            `yaml:"key"`
	Headers   map[string]Secret `yaml:"headers"` // added to every request
	Price     *Price            `yaml:"price"`
	MaxTokens int               `yaml:"max_tokens"` // of an answer, where the request says nothing; 0: the provider's own
	Timeout   time.Duration     `yaml:"timeout"`    // of one request; 0: the host's own
	Latency   time.Duration     `yaml:"latency"`    // offline only: how long an answer takes
}

// Price is in US dollars per million tokens. CacheRead and CacheWrite are the
// prices of input that the provider reads from and writes to its cache; 0 means
// as Input.
type Price struct {
	Input      float64 `yaml:"input,required"`
	Output     float64 `yaml:"output,required"`
	CacheRead  float64 `yaml:"cache_read"`
	CacheWrite float64 `yaml:"cache_write"`
}

// Tool is a source of tools under a name: a plugin, or a remote MCP server.
type Tool struct {
	Plugin string `yaml:"plugin"` // see Agent.Plugin
	MCP    string `yaml:"mcp"`    // URL
	Token  Secret `yaml:"token"`  // of the MCP server
	Engine string `yaml:"engine"` // native (the default) or extism, for plugins that need Extism's own SDK
}

// Folder is a folder of this machine that agents see under a name, read-only.
type Folder struct {
	Path     string `yaml:"path,required"`
	ReadOnly *bool  `yaml:"readonly"`
}

// PluginExternal is the plugin of an agent that is a program elsewhere, which calls with
// the token of a task. It runs nothing, so it has neither Options nor MaxSteps.
const PluginExternal = "external"

// Agent is an agent under a name. Plugin is builtin:NAME, the path of a .wasm
// file, a name of the registry, a digest sha256:…, or PluginExternal.
type Agent struct {
	Plugin       string          `yaml:"plugin,required"`
	Description  string          `yaml:"description"`
	Model        string          `yaml:"model"`
	Instructions Instructions    `yaml:"instructions"`
	Tools        []string        `yaml:"tools"`   // "source" or "source.tool"
	Folders      []string        `yaml:"folders"` // names of Config.Folders
	Roles        []string        `yaml:"roles"`   // groups that policies may name
	Options      json.RawMessage `yaml:"options"` // the plugin's own settings; nil or JSON
	MaxSteps     int             `yaml:"max_steps"`
	Budget       Budget          `yaml:"budget"`
	Session      Session         `yaml:"session"`
}

// Budget limits one task, with all its turns. 0 means no limit, for Calls 10,000, and
// for Memory the host's own.
type Budget struct {
	USD    Money         `yaml:"usd"`
	Tokens int64         `yaml:"tokens"`
	Calls  int64         `yaml:"calls"`
	Time   time.Duration `yaml:"time"`   // from the acceptance of its event
	Fuel   int64         `yaml:"fuel"`   // of all guests: function entries and loop rounds, and bytes moved
	Memory Size          `yaml:"memory"` // linear memory of one guest
	Turn   TurnBudget    `yaml:"turn"`
}

// TurnBudget limits each turn of a task, which takes from the task's budget as well. 0
// means no limit beside that.
type TurnBudget struct {
	USD    Money         `yaml:"usd"`
	Tokens int64         `yaml:"tokens"`
	Calls  int64         `yaml:"calls"`
	Time   time.Duration `yaml:"time"` // while its guest runs
	Fuel   int64         `yaml:"fuel"`
}

// Session says how long sessions live. 0 leaves Idle to the host, sets Max no limit, and
// keeps a session for ever.
type Session struct {
	Idle   time.Duration `yaml:"idle"`   // until its instance leaves memory
	Max    time.Duration `yaml:"max"`    // since it began, until it takes no more events
	Retain time.Duration `yaml:"retain"` // after its last turn, until it is removed
}

// Approvals says how calls wait that a person must approve.
type Approvals struct {
	Expire time.Duration `yaml:"expire"` // how long a question waits for its answer; 24h when absent, never 0
}

// Webhook is an endpoint under a name that is told when a session needs somebody, by
// signed requests.
type Webhook struct {
	// URL is https, or for a private endpoint http. Where the URL is a secret in itself,
	// or part of it is, a reference stands for that.
	URL Secret `yaml:"url,required"`
	// Secrets sign: the current one first, then those that receivers may still have.
	// There is at least one, each whsec_ and base64.
	Secrets []Secret `yaml:"secrets"`
	Secret  Secret   `yaml:"secret"`  // another way to write a list of one; Load and Parse make it that
	On      []string `yaml:"on"`      // what it is told of: waiting, approval, failed, parked, unknown; nil: all
	Private bool     `yaml:"private"` // it may be on this machine or a private network
}

// Limits bound what the host takes on; beyond them new work is refused. 0 means
// the host's own bound for Requests, Body and Free, and no limit for Memory, Sessions
// and USDPerDay.
type Limits struct {
	Memory    Size          `yaml:"memory"`   // of all guests
	Sessions  int           `yaml:"sessions"` // that are not idle
	Requests  int           `yaml:"requests"` // per second and API key
	Body      Size          `yaml:"body"`     // of a request
	Free      Size          `yaml:"free"`     // space to keep on the data folder's disk
	USDPerDay Money         `yaml:"usd_per_day"`
	Patience  time.Duration `yaml:"patience"` // how long a blocked guest stays in memory; 10s when absent, never 0
}

// HTTP bounds the capability http_fetch beyond the policies.
type HTTP struct {
	AllowPrivate bool `yaml:"allow_private"` // addresses of this machine and of private networks
}

// Telemetry says where traces and metrics go. Content adds what was said to them.
type Telemetry struct {
	OTLP    string `yaml:"otlp"` // URL of an OTLP/HTTP collector
	Content bool   `yaml:"content"`
}

// Metrics says who may read /metrics: with Open anyone, otherwise holders of a key.
type Metrics struct {
	Open bool `yaml:"open"`
}
