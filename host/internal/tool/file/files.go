package file

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/tool/request"
	"github.com/vespiary/vespiary/host/store"
)

// Blobs keeps contents, encrypted under the run's session.
type Blobs interface {
	// Seal names data and returns the ops that store it.
	Seal(ctx context.Context, run *host.Run, data []byte) (digest string, ops []store.Op, err error)
	// Open reads what Seal's ops stored.
	Open(ctx context.Context, run *host.Run, digest string) ([]byte, error)
}

// Options are what Files is made of. Store, Blobs and Now are required; a limit of 0
// means its default.
type Options struct {
	Store    store.Store
	Blobs    Blobs
	Now      func() time.Time
	Log      *slog.Logger
	MaxBytes int64 // of a session's workspace; 64 MiB
	MaxFiles int   // of a session's workspace; 10,000
	MaxFile  int64 // of one file of it; 16 MiB
}

// Files performs the file calls. It is safe for concurrent use.
type Files struct {
	opt   Options
	clock atomic.Uint64 // the greatest stamp given out or seen

	mu       sync.Mutex
	sessions map[string]*writer // of sessions that wrote; see forSession
}

// New returns Files.
func New(opt Options) *Files {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.MaxBytes == 0 {
		opt.MaxBytes = 64 << 20
	}
	if opt.MaxFiles == 0 {
		opt.MaxFiles = 10_000
	}
	if opt.MaxFile == 0 {
		opt.MaxFile = 16 << 20
	}
	return &Files{opt: opt, sessions: map[string]*writer{}}
}

// Capabilities returns file_read, file_write and file_list by name.
func (f *Files) Capabilities() map[string]host.Capability {
	return map[string]host.Capability{
		abi.CallFileRead:  read{f},
		abi.CallFileWrite: write{f},
		abi.CallFileList:  list{f},
	}
}

// Prefixes returns the key prefixes that hold a session's files, for whoever deletes
// it.
func Prefixes(tenant, session string) [][]byte { return [][]byte{workspaceKey(tenant, session)} }

// classOf is the class of a call about the place.
func classOf(p place, action string, kind host.Kind, recovery abi.Recovery, state any) host.Class {
	resource, around := p.resource()
	return host.Class{Action: action, Kind: kind, Recovery: recovery, Resource: resource, Entities: around, State: state}
}

// outside refuses to open what is outside, whatever policy said.
func outside(c *host.Call, p place) *abi.Error {
	return request.Failed(c, abi.CodeDenied, "%s is outside of the workspace and the agent's folders; use a relative path with / and without ..", p.shown())
}

func notFound(c *host.Call, p place) *abi.Error {
	return request.Failed(c, abi.CodeNotFound, "there is no %s; %s tells what there is", p.shown(), abi.CallFileList)
}

// output is the result v about the place. The workspace holds what the session held
// already; a mounted folder may hold anybody's words.
func output(p place, v any) (host.Output, error) {
	b, err := json.Marshal(v)
	if !p.mounted() {
		return host.Output{OK: b, Derived: true}, err
	}
	return host.Output{OK: b, Labels: abi.Labels{"": {Sources: []string{"folder:" + p.folder}}}}, err
}
