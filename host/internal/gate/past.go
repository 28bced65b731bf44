package gate

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// past is what earlier hosts recorded of one call path.
type past struct {
	intent  *host.Intent
	begun   time.Time // of the first intent
	outcome *host.Outcome
	entry   host.Entry // of the outcome
	reached bool
}

func (t *Turn) remember(e host.Entry) error {
	switch e.Kind {
	case host.EntryIntent:
		p := t.at(e.Path)
		if p.intent = new(host.Intent); p.begun.IsZero() {
			p.begun = e.Time
		}
		return json.Unmarshal(e.Body, p.intent)
	case host.EntryResult, host.EntryUnknown:
		p := t.at(e.Path)
		p.outcome, p.entry = new(host.Outcome), e
		if err := json.Unmarshal(e.Body, p.outcome); err != nil {
			return err
		}
		t.account(*p.outcome)
	}
	return nil
}

func (t *Turn) at(path string) *past {
	p := t.past[path]
	if p == nil {
		p = &past{}
		t.past[path] = p
	}
	return p
}

// recorded answers a call from the journal. ok is false for a call that has no
// result there; how it goes on is for recovery to say.
func (t *Turn) recorded(ctx context.Context, c *host.Call) (d Delivered, p *past, ok bool, err error) {
	if slices.Contains(t.opt.Anew, c.Name) {
		return d, nil, false, nil
	}
	p = t.past[c.Path]
	if t.opt.Lenient {
		p = t.alike(c, p)
	}
	if p == nil {
		return d, nil, false, nil
	}
	t.reach(p)
	if err := p.same(c); err != nil {
		return d, nil, false, err
	}
	if p.outcome == nil {
		return d, p, false, nil
	}
	result, err := t.opt.Payload(ctx, p.entry)
	if err != nil {
		return d, nil, false, fmt.Errorf("gate: recorded result of call %s: %w", c.Path, err)
	}
	t.gate.opt.Observer.Replayed(c.Name)
	return Delivered{Result: result, Time: p.entry.Time, Seq: p.entry.Seq}, p, true, nil
}

// alike finds the same call with a result, at its own path or else the first one
// elsewhere that nobody has asked for.
func (t *Turn) alike(c *host.Call, at *past) *past {
	if at != nil && at.outcome != nil && at.same(c) == nil {
		return at
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var first *past
	for _, p := range t.past {
		if !p.reached && p.outcome != nil && p.same(c) == nil && (first == nil || p.entry.Seq < first.entry.Seq) {
			first = p
		}
	}
	return first
}

func (t *Turn) reach(p *past) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p.reached = true
}

// same compares the call with what is recorded at its path.
func (p *past) same(c *host.Call) error {
	name, was := "", ""
	if p.intent != nil {
		name, was = p.intent.Name, p.intent.Hash
	}
	if p.outcome != nil {
		name, was = p.outcome.Name, p.outcome.Hash
	}
	if name == c.Name && was == c.Digest {
		return nil
	}
	return diverged(c, name, was)
}

func diverged(c *host.Call, name, was string) error {
	return fmt.Errorf("%w: at call %s the journal has %s (%.12s), the guest asks for %s (%.12s)", host.ErrDiverged, c.Path, name, was, c.Name, c.Digest)
}

// Finish checks that the guest made every call that its journal records.
func (t *Turn) Finish() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for path, p := range t.past {
		if !p.reached && !t.answered(path) {
			return fmt.Errorf("%w: it ended without call %s, which the journal has", host.ErrDiverged, path)
		}
	}
	return nil
}

// answered tells whether a call lies below one that the journal answered, or that failed
// now: what a tool did is not done again when its result is on record, nor when the tool
// is refused or ended before it got there.
func (t *Turn) answered(path string) bool {
	for i := strings.LastIndexByte(path, '/'); i > 0; i = strings.LastIndexByte(path[:i], '/') {
		if p := t.past[path[:i]]; p != nil && p.reached && p.outcome != nil || t.failed[path[:i]] {
			return true
		}
	}
	return false
}

// concluded notes how a call ended that the journal did not answer.
func (t *Turn) concluded(path string, o *host.Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o.Code != "" {
		t.failed[path] = true
	}
}

// recover says how a call goes on whose intent is on record and whose result is
// not: again, or not at all because nobody knows whether it happened.
func (t *Turn) recover(ctx context.Context, c *host.Call, p *past) (d Delivered, again bool, err error) {
	if p == nil || p.intent == nil {
		return d, true, nil
	}
	c.Begun = p.begun // of its first intent, also of one that was to be approved
	c.Audited = p.intent.Audit
	if !p.intent.Decision.Allowed {
		return d, true, nil
	}
	c.Attempt, c.Resume, c.Intent = p.intent.Attempt+1, p.intent.Child, p.intent
	c.Allowed = p.intent.Decision
	if p.intent.Recovery != abi.RecoverOnce {
		return d, true, nil
	}
	t.gate.opt.Observer.Unknown(c.Name)
	result := abi.Result{Error: &abi.Error{
		Code:    abi.CodeUnknownOutcome,
		Message: "the host crashed while " + c.Name + " was under way; it may have happened and is not repeated: check before trying again",
	}}
	ops, err := t.unknown(c)
	if err != nil {
		return d, false, err
	}
	d, _, err = t.record(ctx, c, host.EntryUnknown, result, host.Output{Derived: true, Ops: ops}, 0)
	return d, false, err
}
