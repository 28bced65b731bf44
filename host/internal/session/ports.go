package session

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// Log writes the journal of one session.
type Log interface {
	Append(ctx context.Context, e host.Entry, body any, payload []byte, ops ...store.Op) (host.Entry, error)
	Commit(ctx context.Context) error
	Flush()
	Waiting() int
	// AppendNow adds an entry durably, or adds nothing.
	AppendNow(ctx context.Context, e host.Entry, body any, payload []byte, ops ...store.Op) (host.Entry, error)
	Hash(request []byte) string
	Epoch() uint32
	Close()
}

// Journals finds and reads journals.
type Journals interface {
	// Create begins a journal; it is durable after the log's first Commit.
	Create(ctx context.Context, o host.Open, ops ...store.Op) (Log, error)
	// Acquire takes a session over from an earlier writer.
	Acquire(ctx context.Context, tenant, session string) (Log, error)
	Read(ctx context.Context, tenant, session string, from uint64) iter.Seq2[host.Entry, error]
	Payload(ctx context.Context, tenant string, e host.Entry) ([]byte, error)
	// Erase destroys a session's key, and with it all that was said in it.
	Erase(ctx context.Context, tenant, session string) error
	// Wrap encrypts a value under a session's key, for keeping it beside the journal.
	Wrap(ctx context.Context, run *host.Run, data []byte) ([]byte, error)
	Unwrap(ctx context.Context, run *host.Run, wrapped []byte) ([]byte, error)
}

// Guest is an activation's side of the gate.
type Guest interface {
	Call(ctx context.Context, name string, request []byte) ([]byte, error)
	Clock() time.Time
	Sleep(ctx context.Context, d time.Duration)
	// Reply asks whether the caller may have the turn's reply.
	Reply(ctx context.Context, reply []byte) error
	// Finish waits for the calls that the guest left under way.
	Finish(ctx context.Context) error
	// Drain waits until no call is under way, once the context of the calls has ended.
	Drain()
}

// Passage is one turn's way through the gate.
type Passage interface {
	Guest(run *host.Run, begun time.Time) Guest
	Label() abi.Label
	Used() (abi.Usage, int64)
	// Finish checks that every recorded call was made again.
	Finish() error
}

// PassageSpec is what a Passage begins with.
type PassageSpec struct {
	Session string
	Log     Log
	Past    []host.Entry
	Payload func(ctx context.Context, e host.Entry) ([]byte, error)
	Budget  host.Budget
	Label   abi.Label
}

// Door begins passages.
type Door interface {
	Begin(spec PassageSpec) (Passage, error)
}

// Activation is what a guest is run with.
type Activation struct {
	Module string // digest
	Guest  Guest
	Random io.Reader
	Log    func(level slog.Level, msg string)
}

// Runner instantiates a module, calls one of its exports and closes it.
type Runner interface {
	Run(ctx context.Context, a Activation, export string, input []byte) ([]byte, error)
}

// Agents finds agents by name. What it returns does not change.
type Agents interface {
	Agent(name string) (*host.Agent, bool)
	// Plugin returns the name and the needs of a module.
	Plugin(ctx context.Context, digest string) (name string, needs []string, err error)
}

// Observer is told of turns.
type Observer interface {
	StartTurn(ctx context.Context, s host.Session, turn int, trace string) (context.Context, func(host.TurnStatus, abi.Usage, error))
	Trace(ctx context.Context) string
}
