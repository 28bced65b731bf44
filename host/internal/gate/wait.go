package gate

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// Which calls a wait delivers depends on how fast the world was, so it is on record:
// a wait has an entry of its own that names the calls, and a replayed wait delivers
// the same ones in the same order.

func (g *Guest) wait(ctx context.Context, request []byte) ([]byte, error) {
	c := &host.Call{Run: g.run, Path: g.next(), Name: abi.CallWait, Digest: g.turn.opt.Journal.Hash(request)}
	var in abi.WaitFor
	if err := json.Unmarshal(request, &in); err != nil {
		return invalidWait("it is not of its form")
	}
	if why := g.checkWait(&in); why != "" {
		return invalidWait(why)
	}
	ids, d, err := g.turn.waited(ctx, c)
	if err != nil {
		return nil, err
	}
	if ids == nil {
		if ids, d, err = g.waitLive(ctx, in, c); err != nil {
			return nil, err
		}
	}
	return g.collect(in, ids, d)
}

func invalidWait(why string) ([]byte, error) {
	return result(abi.Result{Error: &abi.Error{Code: abi.CodeInvalid, Message: abi.CallWait + ": " + why}})
}

func (g *Guest) checkWait(in *abi.WaitFor) string {
	seen := map[int]bool{}
	for _, id := range in.IDs {
		if g.started[id] == nil || seen[id] {
			return "an id was not started, is named twice, or was delivered before"
		}
		seen[id] = true
	}
	if in.Min < 0 || in.Min > len(in.IDs) {
		return "min is more than there are ids"
	}
	if in.Min == 0 {
		in.Min = len(in.IDs)
	}
	return ""
}

// waited returns the ids that a recorded wait delivered, nil when none is recorded.
func (t *Turn) waited(ctx context.Context, c *host.Call) ([]int, Delivered, error) {
	d, _, found, err := t.recorded(ctx, c)
	if err != nil || !found {
		if err == nil && t.opt.Mode == Replay {
			err = host.ErrJournalEnds
		}
		return nil, d, err
	}
	ids := []int{}
	if err := json.Unmarshal(d.Result, &ids); err != nil {
		return nil, d, fmt.Errorf("gate: recorded wait %s: %w", c.Path, err)
	}
	return ids, d, nil
}

// waitLive waits for enough calls and records which ones are delivered.
func (g *Guest) waitLive(ctx context.Context, in abi.WaitFor, c *host.Call) ([]int, Delivered, error) {
	if !g.turn.until(g.enough(in)) {
		return nil, Delivered{}, host.ErrSuspended
	}
	ids := []int{}
	for _, id := range in.IDs {
		if s := g.started[id]; s.isDone() {
			if s.err != nil {
				return nil, Delivered{}, s.err
			}
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(a, b int) int { return cmp.Compare(g.started[a].d.Seq, g.started[b].d.Seq) })
	b, err := json.Marshal(ids)
	if err != nil {
		return nil, Delivered{}, err
	}
	o := host.Outcome{Name: abi.CallWait, Hash: c.Digest, Label: g.turn.Label()}
	e, err := g.turn.opt.Journal.Append(ctx, host.Entry{Kind: host.EntryResult, Turn: g.run.Turn, Path: c.Path}, o, b)
	if err != nil {
		return nil, Delivered{}, err
	}
	return ids, Delivered{Time: e.Time, Seq: e.Seq}, nil
}

func (s *started) isDone() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// enough returns a channel that is closed when in.Min of the calls are done. A turn that
// ends, and one whose guest is dropped, ends its calls, so it needs no way out of its own.
func (g *Guest) enough(in abi.WaitFor) <-chan struct{} {
	done := make(chan struct{}, len(in.IDs))
	for _, id := range in.IDs {
		s := g.started[id]
		go func() {
			<-s.done
			done <- struct{}{}
		}()
	}
	all := make(chan struct{})
	go func() {
		defer close(all)
		for range in.Min {
			<-done
		}
	}()
	return all
}

// collect makes the guest's answer of the delivered calls.
func (g *Guest) collect(in abi.WaitFor, ids []int, d Delivered) ([]byte, error) {
	out := abi.Waited{Done: []abi.Finished{}}
	for _, id := range ids {
		s := g.started[id]
		if s == nil {
			return nil, host.ErrDiverged
		}
		if !g.turn.until(s.done) {
			return nil, host.ErrSuspended
		}
		if s.err != nil {
			return nil, s.err
		}
		var r abi.Result
		if err := json.Unmarshal(s.d.Result, &r); err != nil {
			return nil, err
		}
		out.Done = append(out.Done, abi.Finished{ID: id, Result: r})
		g.advance(s.d.Time)
		delete(g.started, id)
	}
	for _, id := range in.IDs {
		if g.started[id] != nil {
			out.Pending = append(out.Pending, id)
		}
	}
	g.advance(d.Time)
	return ok(out)
}
