package gate

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// clockStep is what a guest's clock advances by at each reading.
const clockStep = time.Microsecond

// Guest is one activation's side of the gate: it gives each host call its path in
// the order in which the guest makes them, and keeps the guest's clock. Call is for
// the guest's one thread; Clock and Sleep may be used beside it.
type Guest struct {
	turn *Turn
	run  *host.Run

	calls   int // made so far
	started map[int]*started
	ended   sync.Once

	mu    sync.Mutex
	clock time.Time
}

// started is a call under way beside the guest.
type started struct {
	path string
	name string
	done chan struct{}
	d    Delivered
	err  error
}

// Guest begins an activation whose clock starts at begun.
func (t *Turn) Guest(run *host.Run, begun time.Time) *Guest {
	t.air.enter()
	t.air.shared.activates(run.Path)
	return &Guest{turn: t, run: run, clock: begun, started: map[int]*started{}}
}

// Call performs one host call of the guest.
func (g *Guest) Call(ctx context.Context, name string, request []byte) ([]byte, error) {
	switch name {
	case abi.CallStart:
		return g.start(ctx, request)
	case abi.CallWait:
		return g.wait(ctx, request)
	}
	d, err := g.turn.Do(ctx, g.run, g.next(), name, request)
	if err != nil {
		return nil, err
	}
	g.advance(d.Time)
	return d.Result, nil
}

// At performs a call under a name of its own instead of the next number, for who makes
// calls in no order. It may be used beside others.
func (g *Guest) At(ctx context.Context, id, name string, request []byte) ([]byte, error) {
	if name == abi.CallStart || name == abi.CallWait || name == CallReply {
		return result(abi.Result{Error: &abi.Error{Code: abi.CodeInvalid, Message: name + " is for guests; make calls side by side instead"}})
	}
	d, err := g.turn.Do(ctx, g.run, g.run.Path+"/"+id, name, request)
	return d.Result, err
}

// CallReply is the name under which a turn's reply passes the gate. Guests cannot
// import it: the host makes the call with what the guest returned.
const CallReply = "reply"

// Reply asks whether the caller may have the reply; an *abi.Error says why not.
func (g *Guest) Reply(ctx context.Context, reply []byte) error {
	d, err := g.turn.Do(ctx, g.run, g.run.Path+"/"+CallReply, CallReply, reply)
	if err != nil {
		return err
	}
	var r abi.Result
	if err := json.Unmarshal(d.Result, &r); err != nil {
		return err
	}
	if r.Error != nil {
		return r.Error
	}
	return nil
}

func (t *Turn) leave() { t.air.leave(t.gate.opt.Now()) }

// next is the path of the guest's next call.
func (g *Guest) next() string {
	g.calls++
	return g.run.Path + "/" + strconv.Itoa(g.calls)
}

// Clock reads the guest's clock: the time of the newest entry delivered to it, and a
// fixed step for each reading since.
func (g *Guest) Clock() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.clock = g.clock.Add(clockStep)
	return g.clock
}

// Sleep moves the guest's clock on by d. Nothing waits: to pass real time a guest
// uses await, which survives a crash.
func (g *Guest) Sleep(_ context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.clock = g.clock.Add(d)
}

func (g *Guest) advance(to time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if to.After(g.clock) {
		g.clock = to
	}
}

// Finish waits for the calls that the guest started and did not wait for: none of
// them may act after its turn.
func (g *Guest) Finish(context.Context) error {
	for _, s := range g.started {
		if !g.turn.until(s.done) {
			return host.ErrSuspended
		}
		if s.err != nil {
			return s.err
		}
	}
	return nil
}

// Drain ends the activation: it waits until nothing of the guest is under way that is
// not left to the turn. The context of its calls must have ended, or the guest have been
// dropped.
func (g *Guest) Drain() {
	g.ended.Do(g.turn.leave)
	for _, s := range g.started {
		<-s.done
	}
}

func (g *Guest) start(ctx context.Context, request []byte) ([]byte, error) {
	var in abi.Start
	if err := json.Unmarshal(request, &in); err != nil || in.Name == "" || in.Name == abi.CallStart || in.Name == abi.CallWait || in.Name == CallReply {
		return result(abi.Result{Error: &abi.Error{Code: abi.CodeInvalid, Message: abi.CallStart + ` needs {"name": a capability, "request": its request}`}})
	}
	if len(g.started) >= maxStarted {
		return result(abi.Result{Error: &abi.Error{Code: abi.CodeRateLimited, Message: "too many calls are under way; wait for some first", Retryable: true}})
	}
	s := &started{path: g.next(), name: in.Name, done: make(chan struct{})}
	id := g.calls
	g.started[id] = s
	g.turn.air.enter()
	go func() {
		defer close(s.done)
		defer g.turn.leave()
		s.d, s.err = g.turn.Do(ctx, g.run, s.path, in.Name, in.Request)
	}()
	return ok(abi.Started{ID: id})
}

// maxStarted bounds the calls that one activation has under way.
const maxStarted = 256

func ok(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return result(abi.Result{OK: b})
}

func result(r abi.Result) ([]byte, error) { return json.Marshal(r) }
