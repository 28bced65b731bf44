package host

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/vespiary/vespiary/policy"
)

// APIKey is a key as people see it: everything but the secret. Zero times mean never.
type APIKey struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Tenant  string    `json:"tenant"`
	User    string    `json:"user"`
	Scopes  []string  `json:"scopes,omitempty"` // as Caller.Scopes
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"`
	Revoked time.Time `json:"revoked,omitzero"`
}

// APIKeySpec says what a new key is. User "" is the caller.
type APIKeySpec struct {
	Name    string
	User    string
	Scopes  []string
	Expires time.Time // zero: never
}

// PolicyFile is one file of a policy set. Name has no folder: "agents.cedar".
type PolicyFile struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// PolicySet is a set of policies with the files that it was compiled from, by name.
type PolicySet struct {
	Digest    string       `json:"digest"`
	Candidate string       `json:"candidate,omitempty"` // digest of the set that is evaluated beside it
	Policies  int          `json:"policies"`
	Files     []PolicyFile `json:"files"`
}

// PolicyChange is a change of the policies' files, all or nothing.
type PolicyChange struct {
	Match  string       // digest of the set that it must find; empty: any
	All    bool         // Write are all files: the others are removed
	Write  []PolicyFile // new or changed
	Remove []string     // names; one that is not there is ErrNotFound
}

// PolicyProblem is one fault in a policy file.
type PolicyProblem struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`   // from 1; 0 if the file as a whole is at fault
	Policy string `json:"policy,omitempty"` // its @id, if it has one
	What   string `json:"what"`             // what is wrong
	Fix    string `json:"fix"`              // what to do about it
}

// PolicyProblems is the error of a change that is not valid, as the Cause of an Error
// with ErrInvalid.
type PolicyProblems []PolicyProblem

// Error tells the first problem, and how many there are.
func (p PolicyProblems) Error() string {
	if len(p) == 0 {
		return "the policies are not valid"
	}
	text := fmt.Sprintf("%s: %s; %s", p[0].place(), p[0].What, p[0].Fix)
	if more := len(p) - 1; more > 0 {
		text += fmt.Sprintf(" (and %d more)", more)
	}
	return text
}

func (p *PolicyProblem) place() string {
	if p.Line > 0 {
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return p.File
}

// PolicyCheck is what Check finds out about files: the set that they make, or why they
// make none.
type PolicyCheck struct {
	Digest   string          `json:"digest,omitempty"`
	Policies int             `json:"policies"`
	Problems []PolicyProblem `json:"problems"`
}

// Simulation tells what would have been decided under other policies.
type Simulation struct {
	Set     string            `json:"set"`     // digest of the other policies
	Decided int               `json:"decided"` // records that were decided again
	Skipped int               `json:"skipped"` // records whose evidence is not there any more
	Changes []SimulatedChange `json:"changes"` // oldest first, at most 1,000
	More    int               `json:"more,omitempty"`
}

// SimulatedChange is one record that would have been decided otherwise.
type SimulatedChange struct {
	Record policy.Record   `json:"record"`
	Is     policy.Decision `json:"is"` // what it would be
}

// Suggestion is policy text that permits what was asked for, or was done.
type Suggestion struct {
	Policies string   `json:"policies"`        // Cedar text to add to a file; "" if nothing is to be added
	Notes    []string `json:"notes,omitempty"` // what it does not solve, and why
}

// Explanation says why a decision is what it is. Text is in sentences, one a line; Detail
// is the same in the policy engine's own form.
type Explanation struct {
	Record policy.Record   `json:"record"`
	Text   string          `json:"text"`
	Detail json.RawMessage `json:"detail,omitempty"`
}

// Reach is what an agent could do here today: what its module imports and its binding
// gives, as far as policy lets it.
type Reach struct {
	Agent     string    `json:"agent"`
	Module    string    `json:"module"`
	Set       string    `json:"set"` // digest of the policies
	Abilities []Ability `json:"abilities"`
}

// Ability is one kind of call.
type Ability struct {
	Call   string `json:"call"`   // import name
	Action string `json:"action"` // of the policies' schema
	Answer string `json:"answer"` // AbleYes, AbleSome, AbleAsk or AbleNo
	Text   string `json:"text"`   // a sentence
}

// Answers to whether an agent is able to do something.
const (
	AbleYes  = "yes"
	AbleSome = "some" // with some resources, or under conditions
	AbleAsk  = "ask"  // once a person has approved it
	AbleNo   = "no"
)

// DecisionFilter selects decisions, newest first. Limit 0 is without limit.
type DecisionFilter struct {
	Denied bool // only denials
	Limit  int
	// Visible, when set, tells of which sessions the caller may see decisions.
	Visible func(*Session) bool
}

// ImportOptions say what becomes of an imported session.
type ImportOptions struct {
	Agent string // empty: the one that the file names
	// Allow, when set, is asked once about the agent that it turns out to be, before
	// anything is kept. Its error ends the import.
	Allow func(agent string) error
}

// AuditFilter selects records of the audit, newest first. Empty fields select all. After
// is the cursor of the page before; Limit 0 means 100, and is no limit of an export.
type AuditFilter struct {
	Since   time.Time // at or after
	Until   time.Time // before
	Chain   string
	Session string
	Task    string // that anybody in the record acts in
	Agent   string // that anybody in the record is
	User    string // that anybody in the record is
	Action  string
	Kind    policy.RecordKind
	Call    string // host call, or method of the API
	Denied  bool   // only denials
	Allowed bool   // only what was allowed
	Differs bool   // only what the candidate set decides otherwise
	After   string
	Limit   int
}

// AuditCheck is the result of verifying the audit.
type AuditCheck struct {
	OK         bool     `json:"ok"`
	Records    uint64   `json:"records"`
	Chains     uint64   `json:"chains"`
	Sequenced  uint64   `json:"sequenced"`            // records that a checkpoint covers
	Checkpoint string   `json:"checkpoint,omitempty"` // the newest, a signed note (C2SP tlog-checkpoint)
	Problems   []string `json:"problems,omitempty"`   // what was found, at most 1,000
}
