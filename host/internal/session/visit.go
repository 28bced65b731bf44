package session

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// A turn of an agent that is a program elsewhere has no guest: it is attended. The program
// makes calls under names of its own, side by side, and says when the task is done. What it
// asked for is brought to its end whether or not it is still there.

// waitCall is what such a turn waits for while it is not in memory.
const waitCall abi.EventType = "call"

// visit is a turn that is attended.
type visit struct {
	actor *actor
	ctx   context.Context //nolint:containedctx // of the turn, which a call outlives no more than its request
	root  string          // call path of the turn
	guest Guest
	task  string
	end   chan *abi.Reply
	fail  chan error

	mu     sync.Mutex
	wg     sync.WaitGroup
	calls  map[string]*called // that have a name; of those that are over and delivered only the digest is kept
	next   int
	flying int
	closed bool
}

// called is one call of a visit.
type called struct {
	name    string
	digest  string
	done    chan struct{}
	waiters int
	result  []byte
	err     error
}

// maxVisits bounds the calls under way of one task.
const maxVisits = 64

// attend takes a turn to the reply of the program that works on it.
func (a *actor) attend(ctx context.Context, agent *host.Agent, q *queued, p *passing) (*abi.Reply, error) {
	budget := budgetOf(q, agent)
	p.guest = p.passage.Guest(p.root, p.entry.Time)
	defer p.guest.Drain()
	used, _ := p.passage.Used()
	p.account, p.memory = &account{limit: budget.Fuel, used: used.Fuel}, budget.Memory
	here := *p
	ctx = withTurn(ctx, &turnState{actor: a, passing: &here})
	v := &visit{
		actor: a, ctx: ctx, root: p.root.Path, guest: p.guest, task: q.accepted.Task,
		end: make(chan *abi.Reply, 1), fail: make(chan error, 1), calls: map[string]*called{},
	}
	if err := v.resume(ctx, p.past); err != nil {
		return nil, err
	}
	v.idles()
	a.visited(v)
	defer a.visited(nil)
	defer v.close()
	return v.until(ctx, q, p)
}

// idles says that the session does nothing as long as nobody calls: then it takes no place
// of those that work.
func (v *visit) idles() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.actor.busy.Store(v.flying > 0)
}

// visited makes a visit the one that calls find.
func (a *actor) visited(v *visit) {
	a.mu.Lock()
	a.visit = v
	a.mu.Unlock()
	a.svc.hub.wake(a.id())
}

// resume goes on with the calls that an earlier host left under way.
func (v *visit) resume(ctx context.Context, past []host.Entry) error {
	open := map[string]host.Entry{}
	for _, e := range past {
		id, own := strings.CutPrefix(e.Path, v.root+"/")
		if !own || strings.Contains(id, "/") {
			continue
		}
		n, name := strconv.Atoi(id) // what is no number
		v.next = max(v.next, n)
		var o struct{ Name, Hash string }
		if err := json.Unmarshal(e.Body, &o); err != nil {
			return err
		}
		if o.Name == replyCall {
			if err := v.replied(ctx, e); err != nil {
				return err
			}
			continue
		}
		if name != nil {
			v.calls[id] = &called{name: o.Name, digest: o.Hash, done: closed}
		}
		if delete(open, id); e.Kind == host.EntryIntent {
			open[id] = e
		}
	}
	for id, e := range open {
		request, err := v.actor.payload(ctx, e)
		if err != nil {
			return err
		}
		var in host.Intent
		if err := json.Unmarshal(e.Body, &in); err != nil {
			return err
		}
		v.begin(id, in.Name, request, v.calls[id] != nil)
	}
	return nil
}

// replyCall is the name under which a turn's reply is on record.
const replyCall = "reply"

// replied goes on with the reply that the program gave an earlier host: it has no other.
func (v *visit) replied(ctx context.Context, e host.Entry) error {
	b, err := v.actor.payload(ctx, e)
	if err != nil {
		return err
	}
	if e.Kind == host.EntryIntent {
		reply := &abi.Reply{}
		if err := json.Unmarshal(b, reply); err != nil {
			return err
		}
		offer(v.end, reply)
		return nil
	}
	var r abi.Result
	if err := json.Unmarshal(b, &r); err != nil {
		return err
	}
	if r.Error != nil && len(v.end) == 0 { // it was refused before it was decided
		offer[error](v.fail, r.Error)
	}
	return nil
}

// offer puts a value into a channel, unless there is one.
func offer[T any](to chan T, x T) {
	select {
	case to <- x:
	default:
	}
}

// closed is a channel that is.
var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// until waits for the program's reply, for the end of the turn's context, or until nothing
// has been asked for a while: then the session leaves the memory.
func (v *visit) until(ctx context.Context, q *queued, p *passing) (*abi.Reply, error) {
	a := v.actor
	idle := time.NewTimer(a.idleAfter())
	defer idle.Stop()
	for {
		select {
		case reply := <-v.end:
			v.close()
			out, err := json.Marshal(reply)
			if err != nil {
				return nil, err
			}
			if err := p.guest.Reply(ctx, out); err != nil {
				return nil, causeOf(ctx, err)
			}
			return reply, nil
		case err := <-v.fail:
			return nil, causeOf(ctx, err)
		case <-ctx.Done():
			return nil, causeOf(ctx, context.Cause(ctx))
		case <-a.wakeup:
			if !a.stopping() {
				continue
			}
		case <-idle.C:
			idle.Reset(a.idleAfter())
		}
		if v.quiet() {
			if came, err := a.rest(ctx, q, p, []abi.Wait{{Type: waitCall}}); err != nil || !came {
				return nil, err
			}
		}
	}
}

// quiet tells whether nothing is under way, and lets nothing begin any more if so.
func (v *visit) quiet() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = v.flying == 0 && len(v.end) == 0
	return v.closed
}

// finish takes the program's reply, unless it has one; false when the turn leaves the memory
// first, or is about to end.
func (v *visit) finish(reply *abi.Reply) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.closed {
		offer(v.end, reply)
	}
	return !v.closed
}

// close lets no call begin any more and waits for those under way.
func (v *visit) close() {
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	v.wg.Wait()
}

// call makes a call, or finds it made: under one name a program gets one result.
func (v *visit) call(ctx context.Context, c host.TaskCall) ([]byte, error) {
	request := bytes.TrimSpace(c.Request)
	if len(request) == 0 {
		request = []byte("{}")
	}
	digest := v.actor.log.Hash(request)
	if name := c.Name; name == abi.CallStart || name == abi.CallWait || name == replyCall { // no calls of their own
		return v.guest.At(ctx, "", name, request)
	}
	f, id, err := v.find(c, request, digest)
	if err != nil {
		return nil, err
	}
	select {
	case <-f.done:
		if result, err := v.deliver(f); result != nil || err != nil {
			return result, err
		}
		return v.recorded(ctx, id)
	case <-ctx.Done():
		_, _ = v.deliver(f)
		return nil, ctx.Err()
	}
}

// deliver takes the result of a call, which the last who waited for it drops.
func (v *visit) deliver(f *called) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	result := f.result
	if f.waiters--; f.waiters == 0 {
		f.result = nil
	}
	return result, f.err
}

// find returns the call of that name, begun now if it is new.
func (v *visit) find(c host.TaskCall, request []byte, digest string) (*called, string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	id := nameOf(c.ID)
	if f := v.calls[id]; id != "" && f != nil {
		if f.digest != digest || f.name != c.Name {
			return nil, id, host.Errorf(host.ErrConflict, "call %s: the id %.80q was used for another request; use a new one", c.Name, c.ID)
		}
		f.waiters++
		return f, id, nil
	}
	switch {
	case v.closed:
		return nil, id, errAway
	case v.flying >= maxVisits:
		return nil, id, host.Errorf(host.ErrTooMany, "call %s: the task has %d calls under way, the most it may have; wait for some", c.Name, v.flying)
	}
	named := id != ""
	if !named {
		v.next++
		id = strconv.Itoa(v.next)
	}
	f := v.begun(id, c.Name, request, named)
	f.waiters++
	return f, id, nil
}

// nameOf makes a part of a call path of a program's name for a call.
func nameOf(id string) string {
	if id == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(id))
	return "x" + hex.EncodeToString(sum[:12])
}

func (v *visit) begin(id, name string, request []byte, named bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.begun(id, name, request, named)
}

// begun performs a call beside its request. Only one that the program has named can be asked
// for again. The caller holds mu.
func (v *visit) begun(id, name string, request []byte, named bool) *called {
	f := &called{name: name, digest: v.actor.log.Hash(request), done: make(chan struct{})}
	if named {
		v.calls[id] = f
	}
	v.flying++
	v.actor.busy.Store(true)
	v.wg.Go(func() {
		result, err := v.guest.At(v.ctx, id, name, request)
		if err == nil {
			err = v.actor.commit(v.ctx) // the program acts on what it gets
		}
		v.over(f, result, err)
	})
	return f
}

// over notes the result of a call, which whoever waits for it takes now, and who comes
// later from the journal.
func (v *visit) over(f *called, result []byte, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.flying--; v.flying == 0 {
		v.actor.busy.Store(false)
	}
	if f.err = v.explained(err); f.waiters > 0 {
		f.result = result
	}
	close(f.done)
	if err != nil && !errors.Is(err, host.ErrDiverged) {
		offer(v.fail, err)
	}
}

// explained says in the host's words why a call has no result.
func (v *visit) explained(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, host.ErrDiverged):
		return host.Errorf(host.ErrConflict, "the id was used for another call; use a new one")
	case errors.Is(err, host.ErrStopping):
		return host.Errorf(host.ErrUnavailable, "the host is stopping; the call goes on when it is back: ask for it again under its id")
	}
	return host.Errorf(host.ErrConflict, "the task is over: %w", err)
}

// recorded reads the result of a call from the journal.
func (v *visit) recorded(ctx context.Context, id string) ([]byte, error) {
	a := v.actor
	head := a.now()
	from, err := a.svc.place(ctx, head, head.Turns)
	if err != nil {
		return nil, err
	}
	for e, err := range a.svc.opt.Journals.Read(ctx, head.Tenant, head.ID, from) {
		if err != nil {
			return nil, err
		}
		if e.Path == v.root+"/"+id && (e.Kind == host.EntryResult || e.Kind == host.EntryUnknown) {
			return a.payload(ctx, e)
		}
	}
	return nil, host.Errorf(host.ErrInternal, "the result of call %s is not on record", id)
}
