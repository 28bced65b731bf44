package cli

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/vespiary/vespiary/host"
)

// scene is what a question brought about.
type scene struct {
	turn  host.Turn
	calls []host.CallView
}

// ask follows a question to its end. done, when set, is told of each call that has
// its result.
func (d *demo) ask(ctx context.Context, text string, done func(host.CallView) error) (scene, error) {
	var s scene
	decided := map[string]host.CallView{}
	for e, err := range d.invoke(ctx, demoAgent, text, "") {
		if err != nil {
			return s, err
		}
		switch e.Type {
		case host.StreamCall, host.StreamReset:
			var c host.CallView
			if err := json.Unmarshal(e.Data, &c); err != nil {
				return s, err
			}
			decided[c.Path] = c
			s.calls = append(s.calls, c)
		case host.StreamResult:
			var c host.CallView
			if err := json.Unmarshal(e.Data, &c); err != nil {
				return s, err
			}
			if done != nil && decided[c.Path].Decision.Allowed {
				if err := done(decided[c.Path]); err != nil {
					return s, err
				}
			}
		case host.StreamEnd:
			if err := json.Unmarshal(e.Data, &s.turn); err != nil {
				return s, err
			}
		default:
		}
	}
	if s.turn.Status != host.TurnDone {
		return s, fmt.Errorf("the turn ended as %s: %w", s.turn.Status, s.turn.Error)
	}
	return s, nil
}

// account reads the journal and tells what was done how often.
func (d *demo) account(ctx context.Context, t host.Turn) error {
	c, err := d.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // nothing was written
	a := accounts{attempts: map[string]int{}}
	for from := uint64(1); ; {
		page, err := c.Journal(ctx, t.Session, from, 1000)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			if err := a.add(r.Entry); err != nil {
				return err
			}
		}
		from = page[len(page)-1].Seq + 1
	}
	d.out.linef("   the journal: %d calls were answered from the record after the crash; effects: %d, performed twice: %d", a.replayed, len(a.attempts), a.twice())
	if a.twice() > 0 {
		return fmt.Errorf("an effect was performed twice in session %s", t.Session)
	}
	return nil
}

// accounts counts what a journal records.
type accounts struct {
	attempts map[string]int // at each effect, by call path
	results  int            // so far
	replayed int            // results that were there when the host took over
}

func (a *accounts) add(e host.Entry) error {
	switch e.Kind {
	case host.EntryIntent:
		var in host.Intent
		if err := json.Unmarshal(e.Body, &in); err != nil {
			return err
		}
		// A call that activates a tool acts only through calls of its own.
		if in.Kind.Has(host.Effect) && in.Decision.Allowed && in.Recovery != host.RecoverNested {
			a.attempts[e.Path] = max(a.attempts[e.Path], in.Attempt)
		}
	case host.EntryResult:
		a.results++
	case host.EntryFence:
		a.replayed = a.results
	default:
	}
	return nil
}

func (a *accounts) twice() int {
	n := 0
	for _, attempts := range a.attempts {
		if attempts > 1 {
			n++
		}
	}
	return n
}
