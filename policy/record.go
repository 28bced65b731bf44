package policy

import (
	"context"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/store"
)

// RecordKind is what a Record tells of.
type RecordKind string

// The kinds of records.
const (
	RecordDecision RecordKind = "decision" // something was asked for and decided
	RecordOutcome  RecordKind = "outcome"  // what came of what was allowed
	RecordTask     RecordKind = "task"     // a task was opened or is over
)

// Record is one line of the audit: who asked to do what with which, what was decided by
// which policies, and what came of it. It holds names, digests and labels, never what was
// said: the evidence is encrypted under the session's key and becomes unreadable when the
// session is erased, while the record still verifies.
//
// The caller names the chain, by any text without "/", such as the id of a task. ID, N, Prev
// and Hash are the log's: records of one chain count from 1, and each names the hash of the
// one before. So is Time where the caller leaves it out or it is not later than that of the
// record before.
type Record struct {
	ID    string     `json:"id"` // chain and number: "01J….12"
	Chain string     `json:"chain"`
	N     uint64     `json:"n"`
	Prev  string     `json:"prev,omitempty"` // "sha256:…"
	Hash  string     `json:"hash,omitempty"` // of the record without this field
	Time  time.Time  `json:"time"`
	Kind  RecordKind `json:"kind"`

	Tenant  string `json:"tenant"`
	Session string `json:"session,omitempty"`
	Turn    int    `json:"turn,omitempty"`
	Path    string `json:"path,omitempty"` // of the call
	// Who asks, and then whom they act for: the run first, the user last.
	Who    []Actor `json:"who,omitempty"`
	Key    string  `json:"key,omitempty"`    // id of the API key that a person or service used
	Remote string  `json:"remote,omitempty"` // address that the request came from

	Call     string   `json:"call,omitempty"` // the host call, or the method of the API
	Action   string   `json:"action,omitempty"`
	Resource UID      `json:"resource,omitzero"`
	Kinds    []string `json:"kinds,omitempty"` // observe, effect, egress, control
	Args     string   `json:"args,omitempty"`  // keyed digest of the arguments
	Model    string   `json:"model,omitempty"` // alias of the language model that the agent runs on

	Labels   *abi.Label `json:"labels,omitempty"` // of the context that chose the call; of an outcome, of the result
	Decision *Decision  `json:"decision,omitempty"`
	Approval string     `json:"approval,omitempty"` // id of the approval that let it pass
	// Evidence is the request as it was decided, encrypted. See AppendEvidence.
	Evidence []byte `json:"evidence,omitempty"`

	Of     string        `json:"of,omitempty"`     // of an outcome: id of the decision
	Code   string        `json:"code,omitempty"`   // of an outcome: "ok" or the error; of a task: its state
	Result string        `json:"result,omitempty"` // keyed digest of the result
	Took   time.Duration `json:"took_ns,omitempty"`
	Usage  *abi.Usage    `json:"usage,omitempty"`
	Note   string        `json:"note,omitempty"`
}

// Actor is one of those who act in a record.
type Actor struct {
	Run    string `json:"run,omitempty"`
	Agent  string `json:"agent,omitempty"`
	Module string `json:"module,omitempty"` // digest
	Task   string `json:"task,omitempty"`
	User   string `json:"user,omitempty"`
}

// Auditor takes records down. It is safe for concurrent use. A chain is either noted or
// written: a record that is written never gets ahead of one that was noted.
type Auditor interface {
	// Note gives r its place in its chain and passes the ops that write it to commit, which
	// must write them whole or not at all, in the order of its calls, and may keep them until
	// it writes more. While commit runs no other record of the chain is numbered. When it
	// fails the record does not exist, and commit must not write it later.
	Note(ctx context.Context, r *Record, commit func(ops ...store.Op) error) error
	// Write makes r durable before it returns.
	Write(ctx context.Context, r *Record) error
	// Later makes r durable soon: with the next Write of its chain or within a second. It
	// never blocks for long, and an error of the store is the log's to retry. Only when as
	// many records wait as the log keeps does it try to write r itself, and returns an error
	// if that fails: then r is not recorded, and what it tells of must not happen. r must
	// not be changed afterwards.
	Later(r *Record) error
}
