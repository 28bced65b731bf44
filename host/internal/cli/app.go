package cli

import (
	"context"
	"io"
	"io/fs"
	"log/slog"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
)

// App is the assembled host. Errors are shown to people as they are.
type App interface {
	// Serve runs a host until ctx ends, and then lets turns under way end. While it
	// answers, server.json in the data folder holds its URL as url and its process as
	// pid.
	Serve(ctx context.Context, cfg *config.Config, o ServeOptions) error
	// Open opens the store of a host that does not run. The caller closes the Service.
	Open(ctx context.Context, cfg *config.Config) (Service, error)
	// CreateKey makes an API key for the user of this machine, in the store of a host
	// that does not run. The data folder is made when it is not there.
	CreateKey(ctx context.Context, cfg *config.Config, name string) (token string, err error)
	// CheckPolicies compiles and validates the policies in a folder. The error has a
	// line for each problem.
	CheckPolicies(dir string) (PolicySet, error)
	// Suggest writes the narrowest policies that would have allowed what was denied
	// under the policies in dir.
	Suggest(dir string, denied []host.DecisionRecord) (Suggestion, error)
	// ProbeModel finds out whether a model answers. It may cost a token.
	ProbeModel(ctx context.Context, cfg *config.Config, name string) error
	// Starter holds the policies that a new project begins with.
	Starter() fs.FS
	// Builtins names the plugins that are part of this binary.
	Builtins() []string
	// Builtin returns the module of one of them.
	Builtin(name string) ([]byte, error)
}

// ServeOptions say who wants to know of a host what.
type ServeOptions struct {
	Log *slog.Logger
	// Ready is called once the host accepts requests, with the URL to reach it at.
	Ready func(url string)
	// Activity is called with each call that was decided, and again when it is over;
	// one at a time, and it must not block. It may be nil.
	Activity func(Activity)
}

// Activity is a call that is on its way through the gate of a host.
type Activity struct {
	Time    time.Time
	Session string
	Agent   string
	Call    host.CallView
	Over    bool   // the call has its result
	Hint    string // for a denial: what would allow the call
}

// Service is what commands ask of the host's state. Errors are *host.Error where
// the host refused.
type Service interface {
	Sessions(ctx context.Context, f host.SessionFilter) ([]host.Session, error)
	Session(ctx context.Context, id string) (host.Session, error)
	Journal(ctx context.Context, id string, from uint64, limit int) ([]host.Record, error)
	Cancel(ctx context.Context, id string) (host.Session, error)
	Install(ctx context.Context, name string, wasm []byte) (digest string, err error)
	Decisions(ctx context.Context, deniedOnly bool, limit int) ([]host.DecisionRecord, error)
	io.Closer
}

// PolicySet describes policies that were found good.
type PolicySet struct {
	Policies int
	Digest   string
}

// Suggestion is Cedar text to add to the policies, and in Notes what no permit
// would solve.
type Suggestion struct {
	Policies string
	Notes    []string
}
