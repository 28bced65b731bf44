package session

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// turnState is what an activation inside a turn needs of it.
type turnState struct {
	actor   *actor
	passing *passing
}

type turnKey struct{}

func withTurn(ctx context.Context, t *turnState) context.Context {
	return context.WithValue(ctx, turnKey{}, t)
}

func turnOf(ctx context.Context) *turnState {
	t, _ := ctx.Value(turnKey{}).(*turnState)
	return t
}

// rootRun is the run of the agent itself.
func (s *Service) rootRun(ctx context.Context, head host.Session, agent *host.Agent, q *queued) (*host.Run, error) {
	name, needs, err := s.opt.Agents.Plugin(ctx, head.Module)
	if err != nil {
		return nil, err
	}
	r := &host.Run{
		Session: head.ID, Task: q.accepted.Task, Tenant: head.Tenant,
		User: q.accepted.Caller.User, Owner: head.Owner, Agent: agent,
		Caller: q.accepted.Caller, Module: head.Module, Plugin: name, Needs: needs,
		Turn: q.turn, Path: strconv.Itoa(q.turn),
	}
	if s.opt.Groups != nil {
		r.Caller.Groups = s.opt.Groups(r.Caller)
	}
	if r.Parent, err = s.delegators(r, q.accepted.Chain); err != nil {
		return nil, err
	}
	if r.Parent != nil {
		r.Depth = r.Parent.Depth + 1
	}
	if q.accepted.Expires > 0 {
		r.Expires = time.Unix(0, q.accepted.Expires)
	}
	r.ID = head.ID + "/" + r.Path
	r.Known = known(r)
	return r, nil
}

// delegators are the runs that a delegated run acts for, as they were and as their agents
// are now. r is the delegated run.
func (s *Service) delegators(r *host.Run, chain []host.Link) (*host.Run, error) {
	if len(chain) == 0 {
		return nil, nil //nolint:nilnil // it acts for nobody but its user
	}
	l := chain[0]
	agent, ok := s.opt.Agents.Agent(l.Agent)
	if !ok {
		return nil, &abi.Error{Code: abi.CodeUnavailable, Message: "agent " + l.Agent + ", for which this one acts, is no longer configured"}
	}
	p := &host.Run{
		ID: l.Run, Session: l.Session, Task: l.Task, Tenant: r.Tenant, User: l.User, Owner: r.Owner, Agent: agent,
		Caller: r.Caller, Module: l.Module, Plugin: l.Plugin, Path: l.Path, Depth: l.Depth,
	}
	var err error
	if p.Parent, err = s.delegators(p, chain[1:]); err != nil {
		return nil, err
	}
	p.Known = known(p)
	return p, nil
}

// childRun is the run of a tool that a call activates.
func childRun(c *host.Call, child host.Child) *host.Run {
	r := *c.Run
	r.Parent, r.Depth, r.Path = c.Run, c.Run.Depth+1, c.Path
	r.Module, r.Plugin, r.Needs = child.Module, child.Plugin, child.Needs
	r.ID = r.Session + "/" + r.Path
	r.Known = known(&r)
	return &r
}

// Activate runs a tool's plugin as a child run of the call: its host calls pass the
// gate under the call's path, decided for the child and for all that it acts for.
func (s *Service) Activate(ctx context.Context, c *host.Call, child host.Child, export string, input []byte) (out []byte, err error) {
	t := turnOf(ctx)
	if t == nil {
		return nil, host.Errorf(host.ErrInternal, "activate %s: there is no turn", child.Plugin)
	}
	if c.Run.Depth >= maxDepth {
		return nil, &abi.Error{Code: abi.CodeInvalid, Message: fmt.Sprintf("tools call one another more than %d deep", maxDepth)}
	}
	if limit := s.opt.Limits.Memory; limit > 0 && s.opt.Memory != nil && s.opt.Memory() >= limit {
		return nil, &abi.Error{Code: abi.CodeUnavailable, Message: "the guests of this host use all of their memory; try again", Retryable: true}
	}
	run := childRun(c, child)
	guest := t.passing.passage.Guest(run, c.Begun)
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		if errors.Is(err, host.ErrSuspended) { // its calls go on: they have left ctx by then
			guest.Drain()
		}
		cancel()
		guest.Drain()
	}()
	out, fuel, err := s.once(ctx, World{
		Module: child.Module, Calls: guest, Random: randomOf(t.passing.seed, run.Path), Fuel: t.passing.account,
		Memory: t.passing.memory, Log: t.actor.guestLog(ctx, child.Plugin),
	}, export, input)
	c.Fuel += fuel
	if err == nil {
		err = guest.Finish(ctx)
	}
	return out, err
}

// once makes an instance for one call, which nobody uses again.
func (s *Service) once(ctx context.Context, w World, export string, input []byte) ([]byte, int64, error) {
	inst, err := s.opt.Runner.Start(ctx, w)
	if err != nil {
		return nil, 0, err
	}
	defer inst.Close()
	out, err := inst.Call(ctx, export, input)
	return out, inst.Fuel(), err
}

// maxDepth is how deep tools may call one another: each level holds a guest.
const maxDepth = 8

// randomOf is an activation's randomness: the same at every replay, different for
// every activation.
func randomOf(seed []byte, path string) io.Reader {
	h := sha256.New()
	h.Write(seed)
	_ = binary.Write(h, binary.LittleEndian, uint32(len(path))) //nolint:gosec // call paths are short
	h.Write([]byte(path))
	return rand.NewChaCha8([32]byte(h.Sum(nil)))
}

// newID makes a ULID.
func newID(now time.Time) string {
	return ulid.MustNew(ulid.Timestamp(now), ulid.DefaultEntropy()).String()
}
