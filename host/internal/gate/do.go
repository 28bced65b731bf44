package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// Do is the door. It answers one call of run at path: from the journal, or by
// labelling, authorising, recording, performing and recording again. A refusal or
// failure of the call is a result; an error means that the turn cannot go on.
func (t *Turn) Do(ctx context.Context, run *host.Run, path, name string, request []byte) (d Delivered, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = t.panicked(ctx, path, name, p)
		}
		if err != nil { // also for a tool's caller, who must not take it for the tool's result
			err = &Fatal{Err: err}
		}
	}()
	return t.do(ctx, run, path, name, request)
}

func (t *Turn) panicked(ctx context.Context, path, name string, p any) error {
	t.gate.opt.Log.ErrorContext(ctx, "panic in a call", "call", name, "path", path, "panic", p, "stack", string(debug.Stack()))
	return fmt.Errorf("gate: call %s (%s) panicked: %v", path, name, p)
}

// safely runs what a call does beside its guest.
func (t *Turn) safely(ctx context.Context, c *host.Call, f *flight, do body) (d Delivered, o *host.Outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			d, o, err = Delivered{}, nil, t.panicked(ctx, c.Path, c.Name, p)
		}
	}()
	return do(ctx, f)
}

func (t *Turn) do(ctx context.Context, run *host.Run, path, name string, request []byte) (Delivered, error) {
	c := t.call(run, path, name, request)
	d, p, ok, err := t.recorded(ctx, c)
	if ok || err != nil {
		return d, err
	}
	if f := t.air.shared.at(path); f != nil {
		if d, joined, err := t.joinAgain(ctx, f, c); joined {
			return d, err
		}
	}
	if err := t.ends(ctx); err != nil {
		return d, err
	}
	if d, again, err := t.recover(ctx, c, p); !again || err != nil {
		return d, err
	}
	limit, refusal := t.classify(ctx, c)
	if refusal == nil {
		if refusal = t.authorize(ctx, c); t.asks(c) {
			return t.ask(ctx, c, p, limit)
		}
	}
	if stop := stopped(ctx); stop != nil && refusal != nil { // it may be why
		return d, stop
	}
	if err := t.intend(ctx, c); err != nil {
		return d, err
	}
	if refusal != nil {
		return two(t.refuse(ctx, c, refusal))
	}
	return t.act(ctx, c, limit)
}

// stopped tells why a call is only left, for the next host or passage to make it: nil for one
// that goes on, or is cancelled.
func stopped(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, host.ErrStopping) || errors.Is(cause, host.ErrSuspended) {
		return cause
	}
	return nil
}

// ends tells why a call that the journal does not answer is not made any more.
func (t *Turn) ends(ctx context.Context) error {
	switch {
	case t.opt.Mode == Replay:
		return host.ErrJournalEnds
	case errors.Is(context.Cause(ctx), host.ErrStopping):
		return host.ErrStopping
	case t.air.sleeping():
		return host.ErrSuspended
	}
	if runaway := t.runaway(); runaway != nil {
		return runaway
	}
	return nil
}

// act does what was decided: beside the guest, where that may take long.
func (t *Turn) act(ctx context.Context, c *host.Call, limit time.Duration) (Delivered, error) {
	if !t.slow(c) {
		return two(t.perform(ctx, c, limit))
	}
	return t.launch(ctx, c, c.Class.Waits, func(ctx context.Context, _ *flight) (Delivered, *host.Outcome, error) {
		return t.perform(ctx, c, limit)
	})
}

func two(d Delivered, _ *host.Outcome, err error) (Delivered, error) { return d, err }

// slow tells whether a call depends on something that takes its own time.
func (t *Turn) slow(c *host.Call) bool {
	if t.opt.Patience <= 0 {
		return false
	}
	return c.Class.Waits || c.Class.Child != nil ||
		c.Class.Recovery != abi.RecoverTxn && c.Class.Kind.Has(host.Effect|host.Egress)
}

func (t *Turn) call(run *host.Run, path, name string, request []byte) *host.Call {
	if len(bytes.TrimSpace(request)) == 0 {
		request = []byte("{}")
	}
	key := t.opt.Session + "." + strconv.FormatUint(uint64(t.opt.Journal.Epoch()), 10) + "." + path
	return &host.Call{Run: run, Path: path, Name: name, Request: request, Digest: t.opt.Journal.Hash(request), Key: key, Attempt: 1}
}

// intend records decision and intent, durably when the call will act on the world.
func (t *Turn) intend(ctx context.Context, c *host.Call) error {
	if c.Class.Action == "" { // it was refused before it could be classified
		return nil
	}
	var e host.Entry
	r := t.decided(ctx, c, c.Class, c.Allowed, c.Asked)
	err := t.note(ctx, r, func(ops ...store.Op) (err error) {
		e, err = t.opt.Journal.Append(ctx, host.Entry{Kind: host.EntryIntent, Turn: c.Run.Turn, Path: c.Path}, t.intent(c, r.ID), c.Request, ops...)
		return err
	})
	c.Audited = r.ID
	if c.Begun.IsZero() {
		c.Begun = e.Time
	}
	if err != nil || !c.Allowed.Allowed || !c.Class.Durable && !c.Class.Kind.Has(host.Effect|host.Egress) {
		return err
	}
	return t.opt.Journal.Commit(ctx)
}

func (t *Turn) intent(c *host.Call, audit string) host.Intent {
	d := c.Allowed
	d.Candidate = nil // the audit has it
	return host.Intent{
		Name: c.Name, Hash: c.Digest, Key: c.Key, Attempt: c.Attempt,
		Action: c.Class.Action, Resource: c.Class.Resource.UID, Detail: c.Class.Resource.UID.ID,
		Kind: c.Class.Kind, Recovery: recoveryOf(c),
		Run: c.Run.ID, Module: c.Run.Module, Decision: d, Flow: t.Label(), Child: c.Class.Child,
		Audit: audit, Approval: approvedBy(c),
	}
}

func recoveryOf(c *host.Call) abi.Recovery {
	if c.Class.Recovery == "" {
		return abi.RecoverOnce
	}
	return c.Class.Recovery
}

func (t *Turn) refuse(ctx context.Context, c *host.Call, refusal *abi.Error) (Delivered, *host.Outcome, error) {
	t.gate.opt.Observer.Refused(c.Name, refusal.Code)
	d, o, err := t.record(ctx, c, host.EntryResult, abi.Result{Error: refusal}, host.Output{Derived: true, Refused: true}, 0)
	t.opt.Journal.Flush()
	return d, o, err
}

// defaultLimit bounds a call that names no limit of its own.
const defaultLimit = 10 * time.Minute

func (t *Turn) perform(ctx context.Context, c *host.Call, limit time.Duration) (Delivered, *host.Outcome, error) {
	defer t.release(c)
	if t.rehearses(c) {
		return t.refuse(ctx, c, &abi.Error{Code: abi.CodeUnavailable, Message: c.Name + " is allowed, and is not performed in a rehearsal"})
	}
	callCtx, cancel := within(ctx, c, t.rest(c, limit))
	defer cancel()
	c.Emit, c.Settle = t.emitter(c), t.settle
	callCtx, done := t.gate.opt.Observer.StartCall(callCtx, c)
	begun := t.gate.opt.Now()
	t.gate.opt.Fault(FaultIntent, c)
	out, err := t.gate.opt.Capabilities[c.Name].Perform(callCtx, c)
	t.gate.opt.Fault(FaultEffect, c)
	took := t.gate.opt.Now().Sub(begun)
	out.Usage.Fuel += c.Fuel
	failure, fatal := t.failure(callCtx, c, err)
	done(codeOf(failure), out.Usage)
	if fatal != nil {
		return Delivered{}, nil, fatal
	}
	result := abi.Result{OK: out.OK, Labels: out.Labels, Error: failure}
	if failure != nil {
		result.OK, result.Labels, out.Ops = nil, nil, nil
	}
	if codeOf(failure) == abi.CodeUnknownOutcome {
		if out.Ops, err = t.unknown(c); err != nil {
			return Delivered{}, nil, err
		}
	}
	d, o, err := t.record(ctx, c, host.EntryResult, result, out, took)
	t.gate.opt.Fault(FaultResult, c)
	if c.Class.Recovery == abi.RecoverRetry {
		t.opt.Journal.Flush() // what was paid for should not wait for the next commit
	}
	return d, o, err
}

// unknown returns what is written together with an outcome that nobody knows.
func (t *Turn) unknown(c *host.Call) ([]store.Op, error) {
	if t.opt.Unknown == nil {
		return nil, nil
	}
	return t.opt.Unknown(c)
}

// rehearses tells whether the call is only decided.
func (t *Turn) rehearses(c *host.Call) bool {
	if c.Name == CallReply || slices.Contains(t.opt.Anew, c.Name) {
		return false
	}
	return t.opt.Mode == Dry || t.opt.Mode == Shadow && c.Class.Kind.Has(host.Effect|host.Egress)
}

// within bounds a call's time by the limit that the guest named, or else by the
// default, unless the call has none.
func within(ctx context.Context, c *host.Call, limit time.Duration) (context.Context, context.CancelFunc) {
	switch {
	case limit > 0:
		return context.WithTimeout(ctx, limit)
	case c.Class.Unlimited:
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, defaultLimit)
}

// rest is what is left of a call's limit: one that only waits goes on waiting when it is
// made again.
func (t *Turn) rest(c *host.Call, limit time.Duration) time.Duration {
	if limit <= 0 || !c.Class.Waits {
		return limit
	}
	return max(limit-t.gate.opt.Now().Sub(c.Begun), 1)
}

func codeOf(e *abi.Error) abi.Code {
	if e == nil {
		return ""
	}
	return e.Code
}

// record appends the call's end and accounts for it.
func (t *Turn) record(ctx context.Context, c *host.Call, kind host.EntryKind, r abi.Result, out host.Output, took time.Duration) (Delivered, *host.Outcome, error) {
	if r.Error == nil && len(r.OK) == 0 {
		r.OK = json.RawMessage("{}")
	}
	o := host.Outcome{Name: c.Name, Hash: c.Digest, Code: codeOf(r.Error), Usage: out.Usage, Took: took, Label: t.labelOf(r, out), Consumes: out.Consumes, Refused: out.Refused, Calls: out.Calls}
	b, err := json.Marshal(r)
	if err != nil {
		r = abi.Result{Error: &abi.Error{Code: abi.CodeInternal, Message: c.Name + " gave a result that is not JSON"}}
		o.Code, out.Ops = r.Error.Code, nil
		if b, err = json.Marshal(r); err != nil {
			return Delivered{}, nil, err
		}
	}
	if len(b) > host.MaxPayload {
		o.Code, out.Ops = abi.CodeInvalid, nil
		if b, err = json.Marshal(abi.Result{Error: &abi.Error{Code: o.Code, Message: tooLarge(c.Name, "result", len(b))}}); err != nil {
			return Delivered{}, nil, err
		}
	}
	var e host.Entry
	err = t.note(ctx, t.outcome(c, &o, b, took), func(ops ...store.Op) (err error) {
		e, err = t.opt.Journal.Append(ctx, host.Entry{Kind: kind, Turn: c.Run.Turn, Path: c.Path}, o, b, append(ops, out.Ops...)...)
		return err
	})
	if err != nil {
		return Delivered{}, nil, err
	}
	if len(out.Ops) > 0 {
		t.air.shared.dirty.Store(true)
	}
	if t.opt.Journal.Waiting() > maxWaiting { // a guest that never acts must not fill the memory
		if err := t.opt.Journal.Commit(ctx); err != nil {
			return Delivered{}, nil, err
		}
	}
	t.account(o)
	t.concluded(c.Path, &o)
	return Delivered{Result: b, Time: e.Time, Seq: e.Seq}, &o, nil
}

// maxWaiting is how many bytes of observations may wait for a commit.
const maxWaiting = 1 << 20

func tooLarge(call, what string, size int) string {
	return fmt.Sprintf("the %s of %s has %d bytes, over the limit of %d; ask for less at a time", what, call, size, host.MaxPayload)
}

// settle makes the writes of earlier calls visible: they wait in the journal for the
// next commit.
func (t *Turn) settle(ctx context.Context) error {
	s := t.air.shared
	s.settling.Lock() // who finds nothing to commit must not read before the one who commits
	defer s.settling.Unlock()
	if !s.dirty.Swap(false) {
		return nil
	}
	if err := t.opt.Journal.Commit(ctx); err != nil {
		return &Fatal{Err: err}
	}
	return nil
}

// failure turns what a capability returned into the call's result, or into an error
// that ends the turn: the host stops, or the journal failed under it.
func (t *Turn) failure(call context.Context, c *host.Call, err error) (*abi.Error, error) {
	if err == nil {
		return nil, nil
	}
	if cause := stopped(call); cause != nil {
		return nil, cause
	}
	cause := context.Cause(call)
	if fatal, ok := errors.AsType[*Fatal](err); ok {
		return nil, fatal
	}
	once := recoveryOf(c) == abi.RecoverOnce && c.Class.Kind.Has(host.Effect)
	result, isResult := errors.AsType[*abi.Error](err)
	switch {
	case once && errors.Is(err, context.Canceled) && !errors.Is(cause, context.DeadlineExceeded), once && errors.Is(cause, host.ErrCancelled):
		return &abi.Error{Code: abi.CodeUnknownOutcome, Message: c.Name + " was interrupted; it may have happened"}, nil
	case errors.Is(cause, host.ErrCancelled):
		return &abi.Error{Code: abi.CodeCancelled, Message: "the turn was cancelled"}, nil
	case isResult:
		return result, nil
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled) && errors.Is(cause, context.DeadlineExceeded):
		return &abi.Error{Code: abi.CodeTimeout, Message: c.Name + " took longer than its time limit" + mayHave(once), Retryable: !once}, nil
	}
	t.gate.opt.Log.ErrorContext(call, "call failed", "call", c.Name, "path", c.Path, "session", c.Run.Session, "error", err)
	return &abi.Error{Code: abi.CodeInternal, Message: c.Name + " failed inside the host; its log says why"}, nil
}

func mayHave(once bool) string {
	if once {
		return "; it may have happened"
	}
	return ""
}

// Fatal wraps an error that must end the turn although a capability returned it.
type Fatal struct{ Err error }

// Error implements error.
func (f *Fatal) Error() string { return f.Err.Error() }

// Unwrap returns the wrapped error.
func (f *Fatal) Unwrap() error { return f.Err }
