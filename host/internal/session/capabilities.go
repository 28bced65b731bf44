package session

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// Capabilities returns the capabilities of the session itself, by name.
func (s *Service) Capabilities() map[string]host.Capability {
	return map[string]host.Capability{
		abi.CallEmit:          emit{},
		abi.CallAwait:         await{s},
		abi.CallAgentCall:     delegate{s},
		abi.CallMemorySession: working{s.opt.Store, s.opt.Journals},
		"reply":               reply{},
	}
}

// aboutSession is the class of a call about the session itself.
func aboutSession(run *host.Run, action string, kind host.Kind) host.Class {
	return host.Class{
		Action: action, Kind: kind, Recovery: abi.RecoverTxn,
		Resource: policy.Entity{
			UID:   uid("Session", run.Session),
			Attrs: map[string]any{"owner": uid("User", run.Owner), "agent": uid("Agent", run.Agent.Name)},
		},
	}
}

func toCaller(run *host.Run, action string) host.Class {
	c := aboutSession(run, action, host.Egress)
	c.Recipient = []string{run.User}
	return c
}

// decodeRequest decodes a call's request strictly.
func decodeRequest(c *host.Call, into any) error {
	if err := strict(c.Request, into); err != nil {
		return &abi.Error{Code: abi.CodeInvalid, Message: c.Name + ": " + err.Error()}
	}
	return nil
}

// reply is the capability that a turn's reply passes the gate as.
type reply struct{}

func (reply) Classify(_ context.Context, c *host.Call) (host.Class, error) {
	return toCaller(c.Run, "reply"), nil
}

func (reply) Perform(context.Context, *host.Call) (host.Output, error) {
	return host.Output{Derived: true}, nil
}

// emit streams content to the caller.
type emit struct{}

func (emit) Classify(_ context.Context, c *host.Call) (host.Class, error) {
	var in abi.Emit
	if err := decodeRequest(c, &in); err != nil {
		return host.Class{}, err
	}
	class := toCaller(c.Run, "emit")
	class.State = in
	return class, nil
}

func (emit) Perform(ctx context.Context, c *host.Call) (host.Output, error) {
	in, _ := c.Class.State.(abi.Emit)
	return host.Output{Derived: true}, c.Emit(ctx, in)
}

// await suspends a guest until a timer is due or a signal arrives.
type await struct{ svc *Service }

func (await) Classify(_ context.Context, c *host.Call) (host.Class, error) {
	var in abi.Await
	if err := decodeRequest(c, &in); err != nil {
		return host.Class{}, err
	}
	for _, w := range in.For {
		if w.Type != abi.EventTimer && (w.Type != abi.EventSignal || w.Name == "") {
			return host.Class{}, &abi.Error{Code: abi.CodeInvalid, Message: "await: it can wait for timers and for signals with a name, not for " + string(w.Type)}
		}
	}
	if len(in.For) == 0 {
		return host.Class{}, &abi.Error{Code: abi.CodeInvalid, Message: "await: name at least one event to wait for"}
	}
	class := aboutSession(c.Run, "await", host.Control)
	// When it began must survive the host: its timers count from then.
	class.State, class.Durable, class.Unlimited, class.Waits = in, true, true, true
	return class, nil
}

func (w await) Perform(ctx context.Context, c *host.Call) (host.Output, error) {
	in, _ := c.Class.State.(abi.Await)
	t := turnOf(ctx)
	if t == nil {
		return host.Output{}, &abi.Error{Code: abi.CodeUnavailable, Message: "await: there is no turn to suspend"}
	}
	waits := moments(in.For, c.Begun)
	t.actor.suspend(c.Path, before(ctx, waits))
	defer t.actor.suspend(c.Path, nil)
	event, signal, err := t.actor.until(ctx, waits)
	if err != nil {
		return host.Output{}, err
	}
	b, err := json.Marshal(event)
	if err != nil {
		return host.Output{}, err
	}
	out := host.Output{OK: b, Labels: abi.Labels{"": {Integrity: abi.Trusted, Sources: []string{"user:" + c.Run.User}}}}
	if signal != nil { // its turn is over, and so is its task
		out.Labels[""], out.Consumes = labelOfEvent(signal), signal.turn
		out.Ops, err = t.actor.endTask(ctx, signal, host.TaskCompleted)
		t.actor.reopen(signal) // nobody works in it, so that nobody has to be stopped
	}
	return out, err
}

// before gives the waits the moment of the call's time limit, if it has one: until then
// they last at most.
func before(ctx context.Context, waits []abi.Wait) []abi.Wait {
	by, limited := ctx.Deadline()
	if !limited {
		return waits
	}
	out := slices.Clone(waits)
	for i, w := range out {
		if w.At.IsZero() || by.Before(w.At) {
			out[i].At = by.UTC()
		}
	}
	return out
}

// moments gives each timer its moment, counted from when the call first began.
func moments(waits []abi.Wait, begun time.Time) []abi.Wait {
	out := make([]abi.Wait, len(waits))
	for i, w := range waits {
		if w.Type == abi.EventTimer && w.At.IsZero() {
			w.At = begun.Add(w.After)
		}
		w.After = 0
		out[i] = w
	}
	return out
}
