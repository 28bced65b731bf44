package session

import (
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/session/snapshot"
	"github.com/vespiary/vespiary/host/store"
)

// Recorder is what a passage records in.
type Recorder interface {
	Append(ctx context.Context, e host.Entry, body any, payload []byte, ops ...store.Op) (host.Entry, error)
	Commit(ctx context.Context) error
	Flush()
	Waiting() int
	Hash(request []byte) string
	Epoch() uint32
}

// Log writes the journal of one session.
type Log interface {
	Recorder
	// AppendNow adds an entry durably, or adds nothing.
	AppendNow(ctx context.Context, e host.Entry, body any, payload []byte, ops ...store.Op) (host.Entry, error)
	// Revert hides the session's own entries after to, with ops.
	Revert(ctx context.Context, to uint64, ops ...store.Op) error
	Close()
}

// Journals finds and reads journals.
type Journals interface {
	// Create begins a journal; it is durable after the log's first Commit.
	Create(ctx context.Context, o host.Open, ops ...store.Op) (Log, error)
	// Fork begins a journal that shares its parent's entries up to o.At.
	Fork(ctx context.Context, o host.Open, ops ...store.Op) (Log, error)
	// Hasher returns the function that names a session's requests.
	Hasher(ctx context.Context, tenant, session string) (func(request []byte) string, error)
	// Acquire takes a session over from an earlier writer.
	Acquire(ctx context.Context, tenant, session string) (Log, error)
	Read(ctx context.Context, tenant, session string, from uint64) iter.Seq2[host.Entry, error]
	Payload(ctx context.Context, tenant string, e host.Entry) ([]byte, error)
	// Export writes a session as one file, and Verify checks a journal's chain.
	Export(ctx context.Context, tenant, session string, w io.Writer) error
	Verify(ctx context.Context, tenant, session string) (host.Verified, error)
	Import(ctx context.Context, tenant string, r io.Reader, o ImportSpec) error
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
	// At performs a call under a name of its own instead of the next number. It may be used
	// beside others.
	At(ctx context.Context, id, name string, request []byte) ([]byte, error)
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
	// Others returns what of that other agents used, in tasks of their own.
	Others() abi.Usage
	// Finish checks that every recorded call was made again.
	Finish() error
	// Landed gives a token when a call has ended that a dropped guest waits for.
	Landed() <-chan struct{}
	// OnlyWaits tells how many calls are under way, and whether they do nothing but wait.
	OnlyWaits() (calls int, only bool)
	// Leave ends the calls that only wait; false when a call has landed meanwhile.
	Leave() bool
	// Drain waits until no call is under way.
	Drain()
}

// Mode is what becomes of a call that is not on record.
type Mode int

// The modes of a passage.
const (
	Live     Mode = iota // it is decided, recorded and performed
	Record               // it ends the turn with host.ErrJournalEnds
	Rehearse             // it is decided, and refused instead of performed
)

// PassageSpec is what a Passage begins with.
type PassageSpec struct {
	Mode    Mode
	Session string
	Log     Recorder
	Past    []host.Entry
	Payload func(ctx context.Context, e host.Entry) ([]byte, error)
	Budget  host.Budget
	Label   abi.Label
	Tasks   Tasks
	Words   []string // texts of the event that its user wrote
	// What follows is for Live alone.
	Patience  time.Duration   // how long a blocked guest stays in memory
	From      Passage         // the suspended one that this one goes on from
	Life      context.Context //nolint:containedctx // of the turn: it outlives the context of any one call
	Approvals Approvals
	Unknown   func(c *host.Call) ([]store.Op, error)
	// And this for Rehearse: the names of calls to perform whatever is on record.
	Anew []string
}

// Tasks tells what tasks are worth at this moment.
type Tasks interface {
	Standing(ctx context.Context, tenant, session, task string) (*host.Standing, error)
}

// Approvals asks people about calls.
type Approvals interface {
	Ask(ctx context.Context, question host.Approval) (host.Approval, error)
}

// Door begins passages.
type Door interface {
	Begin(spec PassageSpec) (Passage, error)
}

// Calls is the world of a guest.
type Calls interface {
	Call(ctx context.Context, name string, request []byte) ([]byte, error)
	Clock() time.Time
	Sleep(ctx context.Context, d time.Duration)
}

// Fuel is the account that guests draw from. Draw books what was used since the last Draw
// and returns how much may be used before the next; an error ends the guest.
type Fuel interface {
	Draw(used int64) (int64, error)
}

// World is what an instance is made with.
type World struct {
	Module string // digest
	Calls  Calls
	Random io.Reader
	Fuel   Fuel
	Memory uint64 // most bytes of linear memory; 0: the host's limit
	Log    func(level slog.Level, msg string)
	Image  *host.Image // nil: a fresh instance
}

// Instance is a guest that keeps its state between calls. It is for one caller at a time.
type Instance interface {
	Call(ctx context.Context, export string, input []byte) ([]byte, error)
	// Exports tells whether the module has a function of this name to call.
	Exports(name string) bool
	// Image returns the state between two calls, an error that is ErrNoImage where the module
	// cannot have one.
	Image(ctx context.Context) (*host.Image, error)
	// Fuel is what all calls have used.
	Fuel() int64
	Close()
}

// Runner makes instances. An error that is ErrImage means that World.Image is of no use.
type Runner interface {
	Start(ctx context.Context, w World) (Instance, error)
}

// What a Runner reports of images.
var (
	ErrNoImage = errors.New("session: this module has no images")
	ErrImage   = errors.New("session: the image was made by another host or module")
)

// Images keeps the images of sessions.
type Images interface {
	// Put stores pages and returns the ops that make the snapshot the newest.
	Put(ctx context.Context, tenant, session string, t snapshot.Taken) (snapshot.Stored, error)
	// Newest returns the newest snapshot up to an entry, nil for none.
	Newest(ctx context.Context, tenant, session string, upTo uint64) (*snapshot.Taken, error)
	Prune(ctx context.Context, tenant, session string, keep int) error
	// Drop forgets the snapshots after an entry.
	Drop(ctx context.Context, tenant, session string, after uint64) error
}

// Notices tells people outside. Ops are committed with what they tell of.
type Notices interface {
	Ops(n host.Notice) ([]store.Op, error)
	Wake()
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
