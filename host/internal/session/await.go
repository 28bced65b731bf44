package session

import (
	"context"
	"slices"
	"time"

	"github.com/vespiary/vespiary/abi"
)

// until waits for the first of the events: a timer, or a queued signal, which is
// returned so that the record of the result can consume it.
func (a *actor) until(ctx context.Context, waits []abi.Wait) (abi.Event, *queued, error) {
	due, name := firstTimer(waits)
	var fires <-chan time.Time
	if !due.IsZero() {
		t := time.NewTimer(due.Sub(a.svc.opt.Now()))
		defer t.Stop()
		fires = t.C
	}
	for {
		news := a.svc.hub.news(a.id())
		if q := a.signal(waits); q != nil {
			e, err := a.eventOf(ctx, q)
			if err != nil {
				return abi.Event{}, nil, err
			}
			return *e, q, nil
		}
		select {
		case <-fires:
			return abi.Event{Type: abi.EventTimer, Name: name}, nil, nil
		case <-news:
		case <-ctx.Done():
			return abi.Event{}, nil, ctx.Err()
		}
	}
}

// firstTimer returns the earliest moment and the name of its timer, zero for none.
func firstTimer(waits []abi.Wait) (time.Time, string) {
	var due time.Time
	name := ""
	for _, w := range waits {
		if w.Type == abi.EventTimer && (due.IsZero() || w.At.Before(due)) {
			due, name = w.At, w.Name
		}
	}
	return due, name
}

// signal takes the first queued signal that is waited for out of the queue.
func (a *actor) signal(waits []abi.Wait) *queued {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, q := range a.queue {
		if q.turn == a.current || q.event == nil {
			continue
		}
		if wanted(waits, q.event) {
			a.queue = append(a.queue[:i:i], a.queue[i+1:]...)
			return q
		}
	}
	return nil
}

// awaits tells whether a signal is waited for that nothing in the queue comes before. The
// caller holds mu.
func (a *actor) awaits(e *abi.Event) bool {
	waits := slices.Clone(a.head.Waiting)
	for _, w := range a.waits {
		waits = append(waits, w...)
	}
	return wanted(waits, e) && !slices.ContainsFunc(a.queue, func(q *queued) bool {
		return q.turn != a.current && (q.event == nil || wanted(waits, q.event))
	})
}

// wanted tells whether an event is a signal that is waited for.
func wanted(waits []abi.Wait, e *abi.Event) bool {
	return e.Type == abi.EventSignal && slices.ContainsFunc(waits, func(w abi.Wait) bool {
		return w.Type == abi.EventSignal && w.Name == e.Name
	})
}
