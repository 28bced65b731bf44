package cli

import (
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"log/slog"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/policy"
)

// App is the assembled host. Errors are shown to people as they are.
type App interface {
	Files
	Policies

	// Serve runs a host until ctx ends, and then lets turns under way end. While it
	// answers, server.json in the data folder holds its URL as url and its process as
	// pid.
	Serve(ctx context.Context, cfg *config.Config, o ServeOptions) error
	// Open opens the store of a host that does not run. The caller closes the Service.
	Open(ctx context.Context, cfg *config.Config) (Service, error)
	// CreateKey makes an API key in the store of a host that does not run. Without a user
	// in spec it is for the user of this machine. The data folder is made when it is not
	// there.
	CreateKey(ctx context.Context, cfg *config.Config, spec host.APIKeySpec) (k host.APIKey, token string, err error)
	// Now is the time by which spans such as "the last seven days" are counted.
	Now() time.Time
	// ProbeModel finds out whether a model answers. It may cost a token.
	ProbeModel(ctx context.Context, cfg *config.Config, name string) error
	// AuditKey makes a key to sign checkpoints of the audit with, and what they are checked
	// with.
	AuditKey(name string) (private, public string, err error)
	// Starter holds the policies that a new project begins with.
	Starter() fs.FS
	// Builtins names the plugins that are part of this binary.
	Builtins() []string
	// Builtin returns the module of one of them.
	Builtin(name string) ([]byte, error)
}

// Policies is what an App does with policies that are in files, for which no host needs to
// run. The files are one set; those of subfolders have their path as name. The configuration
// says which tools there are, which have actions of their own, and which ready-made policies
// count besides; nil is a host without tools.
type Policies interface {
	// CheckPolicies compiles and validates policies. Candidate of what it returns is the set
	// that the configuration has evaluated beside them. The error has a line for each problem.
	CheckPolicies(ctx context.Context, cfg *config.Config, files []host.PolicyFile) (host.PolicySet, error)
	// TestPolicies decides the cases of files by policies, in their order. Policies that are
	// not valid, and a file that cannot be read, are errors with a line for each problem.
	TestPolicies(ctx context.Context, cfg *config.Config, files []host.PolicyFile, cases []CaseFile) ([]CaseResult, error)
	// PolicySchema is what policies can talk about, as a Cedar schema.
	PolicySchema(ctx context.Context, cfg *config.Config) (string, error)
	// Suggest writes the narrowest policies that would have allowed what was denied.
	Suggest(ctx context.Context, cfg *config.Config, files []host.PolicyFile, denied []host.DecisionRecord) (host.Suggestion, error)
	// Reach says what an agent of the configuration could do under its policies.
	Reach(ctx context.Context, cfg *config.Config, agent string) (host.Reach, error)
}

// CaseFile is a file of policy cases, in YAML.
type CaseFile struct {
	Name string // for people
	Text []byte
}

// CaseResult is how a case came out.
type CaseResult struct {
	File     string          `json:"file"`
	Name     string          `json:"name"`
	Passed   bool            `json:"passed"`
	Why      []string        `json:"why,omitempty"` // of one that failed: what was expected, and an explanation
	Decision policy.Decision `json:"decision"`
}

// Files is what an App does with files, for which no host needs to run.
type Files interface {
	// VerifyExport reads all of a session that was exported to a file.
	VerifyExport(ctx context.Context, r io.Reader) (Exported, error)
	// Backup copies the store of a host that does not run.
	Backup(ctx context.Context, cfg *config.Config, w io.Writer) error
	// VerifyBackup reads all of a backup.
	VerifyBackup(ctx context.Context, r io.Reader) (Backed, error)
	// Restore makes the store of a backup in the data folder, which must not have one.
	Restore(ctx context.Context, cfg *config.Config, r io.Reader) (Backed, error)
	// Image tells how instances of a module begin. A module that no host loads is an
	// error.
	Image(ctx context.Context, module []byte) (Image, error)
}

// Exported says what a file with a session holds.
type Exported struct {
	Session string `json:"session"`
	Agent   string `json:"agent"`
	Module  string `json:"module"`
	Entries uint64 `json:"entries"`
	Turns   int    `json:"turns"`
	Digest  string `json:"digest"` // sha256:… that a session imported from it names as its parent
}

// Backed says what a backup holds.
type Backed struct {
	Created time.Time `json:"created,omitzero"`
	Keys    int64     `json:"keys"`
	Bytes   int64     `json:"bytes"`
	Digest  string    `json:"digest"` // sha256:… of the file
}

// Image says whether guests of a module begin as copies of one that was initialised
// once, and can be put away as what differs from it.
type Image struct {
	NoImage  []string `json:"no_image,omitempty"` // why they do not
	Reseeds  bool     `json:"reseeds"`            // it exports vespiary_reseed
	Prepared int      `json:"prepared"`           // version of the preparation that decided it
}

// ServeOptions say who wants to know of a host what.
type ServeOptions struct {
	Log *slog.Logger
	// Ready is called once the host accepts requests, with the URL to reach it at.
	Ready func(url string)
	// Activity is called with each call that was decided, and again when it is over, and
	// with what turns stop for; one at a time, and it must not block. It may be nil.
	Activity func(Activity)
}

// Activity is something that a session of a host does: it makes the Call, or, where one
// of them is set, it asks for an Approval, has its answer, or its turn waits.
type Activity struct {
	Time       time.Time
	Session    string
	Agent      string
	Call       host.CallView
	Over       bool   // the call has its result
	Hint       string // for a denial: what would allow the call
	Approval   *host.Approval
	Suspension *host.Suspension
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

// Durable is what a Service also offers that reaches sessions as they are on record.
type Durable interface {
	Signal(ctx context.Context, id, name string, data json.RawMessage) (host.Turn, error)
	Unpark(ctx context.Context, id, note string) (host.Session, error)
	Erase(ctx context.Context, id string) (host.Session, error)

	Approvals(ctx context.Context, f host.ApprovalFilter) ([]host.Approval, error)
	Approval(ctx context.Context, id string) (host.Approval, error)
	Answer(ctx context.Context, id string, a host.Answer) (host.Approval, error)
	Unsettled(ctx context.Context) ([]host.Unsettled, error)
	// Settle records what became of a call; the Service knows by whom.
	Settle(ctx context.Context, id string, s host.Settlement) (host.Unsettled, error)

	Fork(ctx context.Context, id string, at uint64) (host.Session, error)
	Revert(ctx context.Context, id string, to uint64) (host.Session, error)
	Replay(ctx context.Context, id string, o host.ReplayOptions) (host.Replayed, error)
	Diff(ctx context.Context, a, b string) (host.Comparison, error)
	Upgrade(ctx context.Context, id string, o host.UpgradeOptions) (host.Upgraded, error)

	Export(ctx context.Context, id string, w io.Writer) error
	Import(ctx context.Context, agent string, r io.Reader) (host.Session, error)
	Verify(ctx context.Context, id string) (host.Verified, error)
}

// What else a Service may offer, also of a host that does not run. Methods of the same name
// do what those of the host's API do, for the user of this machine.
type (
	// TimeMachine decides again what was decided.
	TimeMachine interface {
		Simulate(ctx context.Context, files []host.PolicyFile, since time.Time) (host.Simulation, error)
		Explain(ctx context.Context, decision string) (host.Explanation, error)
		// Tightest writes the policies that an agent needs for what it was allowed since then,
		// and no others.
		Tightest(ctx context.Context, agent string, since time.Time) (host.Suggestion, error)
	}

	// Audit reads and checks the records of what was asked, decided and done.
	Audit interface {
		SearchAudit(ctx context.Context, f host.AuditFilter) (page []policy.Record, next string, err error)
		AuditRecord(ctx context.Context, id string) (policy.Record, error)
		ExportAudit(ctx context.Context, f host.AuditFilter, format string, w io.Writer) error
		// Checkpoint is the newest one, a signed note (C2SP tlog-checkpoint).
		Checkpoint(ctx context.Context) (string, error)
		// VerifyAudit checks everything; with a checkpoint that was kept elsewhere, also that
		// the audit still begins with what it was signed over.
		VerifyAudit(ctx context.Context, checkpoint string) (host.AuditCheck, error)
	}

	// Tasks are the units of authority.
	Tasks interface {
		Tasks(ctx context.Context, f host.TaskFilter) ([]host.Task, error)
		Task(ctx context.Context, id string) (host.Task, error)
		EndTask(ctx context.Context, id string, state host.TaskState, result []abi.Content) (host.Task, error)
	}

	// Keyring holds the API keys.
	Keyring interface {
		Keys(ctx context.Context) ([]host.APIKey, error)
		RevokeKey(ctx context.Context, id string) (host.APIKey, error)
	}
)
