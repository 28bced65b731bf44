package session

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/vespiary/vespiary/host"
)

// view is what the entries of a journal add up to. One that is read from some place on
// knows nothing of turns that were accepted before.
type view struct {
	turns     map[int]*turnView
	cancelled int // the turns up to this one are
}

type turnView struct {
	queued
	status host.TurnStatus
	ended  host.Ended
	end    host.Entry // holds the reply
}

func newView() *view { return &view{turns: map[int]*turnView{}} }

func (v *view) add(e host.Entry) error {
	var err error
	switch e.Kind {
	case host.EntryAccepted:
		t := &turnView{status: host.TurnQueued}
		t.turn, t.entry = e.Turn, e
		v.turns[e.Turn] = t
		err = json.Unmarshal(e.Body, &t.accepted)
	case host.EntryStart:
		err = v.start(e)
	case host.EntryIntent, host.EntryResult, host.EntryUnknown:
		err = v.call(e)
	case host.EntryEnd, host.EntryAbort:
		err = v.finish(e)
	case host.EntryFence:
		err = v.fence(e)
	case host.EntryCancel:
		var c host.Cancel
		err = json.Unmarshal(e.Body, &c)
		v.cancelled = max(v.cancelled, c.UpTo)
	case host.EntryWait, host.EntryResume:
		v.rest()
	case host.EntryOpen, host.EntryChunk, host.EntryPark, host.EntryRevert, host.EntryApproval, host.EntrySettle,
		host.EntrySnapshot, host.EntryMigrate, host.EntryErase:
	}
	if err != nil {
		return fmt.Errorf("session: entry %d (%s): %w", e.Seq, e.Kind, err)
	}
	return nil
}

func (v *view) start(e host.Entry) error {
	t := v.turns[e.Turn]
	if t == nil {
		return nil // it was accepted before the place that was read from
	}
	t.status, t.begun = host.TurnRunning, &begun{entry: e}
	return json.Unmarshal(e.Body, &t.begun.started)
}

func (v *view) call(e host.Entry) error {
	t := v.turns[e.Turn]
	if t != nil && t.begun != nil {
		t.begun.past = append(t.begun.past, e)
	}
	if e.Kind == host.EntryIntent {
		return nil
	}
	var o host.Outcome
	if err := json.Unmarshal(e.Body, &o); err != nil {
		return err
	}
	if c := v.turns[o.Consumes]; c != nil {
		c.status = host.TurnDone
	}
	return nil
}

func (v *view) finish(e host.Entry) error {
	t := v.turns[e.Turn]
	if t == nil {
		return nil
	}
	if err := json.Unmarshal(e.Body, &t.ended); err != nil {
		return err
	}
	t.status, t.end = t.ended.Status, e
	return nil
}

// fence counts the hosts that ended in the middle of the turn that is under way.
func (v *view) fence(e host.Entry) error {
	var f host.Fence
	if err := json.Unmarshal(e.Body, &f); err != nil {
		return err
	}
	for _, t := range v.turns {
		if t.status != host.TurnRunning {
			continue
		}
		if f.Clean || t.begun.left {
			t.begun.crashes = 0
		} else {
			t.begun.crashes++
		}
		t.begun.left = f.Clean
	}
	return nil
}

// rest notes that the turn under way was left in good order, or may begin anew.
func (v *view) rest() {
	for _, t := range v.turns {
		if t.status == host.TurnRunning {
			t.begun.left, t.begun.crashes = true, 0
		}
	}
}

// unfinished returns the turns that have not ended, in order.
func (v *view) unfinished() []*queued {
	var out []*queued
	for _, t := range v.turns {
		if !t.status.Over() {
			out = append(out, &t.queued)
		}
	}
	slices.SortFunc(out, func(a, b *queued) int { return a.turn - b.turn })
	return out
}
