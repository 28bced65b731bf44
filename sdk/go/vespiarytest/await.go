package vespiarytest

import (
	"slices"
	"time"

	"github.com/vespiary/vespiary/abi"
)

// Deliver queues signals that the plugin may await, in the order of their arrival.
// One that the plugin waits for is there before any timer is due; what it does
// not wait for stays queued. (A person's approval of a call is not awaited: the
// call itself waits for it, see NeedsApproval.)
func (h *Host) Deliver(events ...abi.Event) { h.events = append(h.events, events...) }

// waiting is an abi.Await with the limit that a request may carry.
type waiting struct {
	abi.Await
	Timeout *int64 `json:"$timeout_ms"` // abi.KeyTimeout
}

func (h *Host) await(r waiting) (abi.Event, error) {
	if len(r.For) == 0 || slices.ContainsFunc(r.For, hopeless) {
		return abi.Event{}, invalid("await: it can wait for timers and for signals with a name")
	}
	if i := slices.IndexFunc(h.events, r.wants); i >= 0 {
		e := h.events[i]
		h.events = slices.Delete(h.events, i, i+1)
		return e, nil
	}
	name, left, ok := r.firstTimer()
	if r.Timeout != nil {
		if limit := time.Duration(*r.Timeout) * time.Millisecond; !ok || limit < left {
			h.pass(limit)
			return abi.Event{}, &abi.Error{Code: abi.CodeTimeout, Message: "await: nothing happened in " + limit.String()}
		}
	}
	if !ok {
		h.t.Errorf("the plugin waits for %+v, which would never come; see Host.Deliver", r.For)
		return abi.Event{}, &abi.Error{Code: abi.CodeCancelled, Message: "await: the test delivers nothing that is waited for"}
	}
	h.pass(left)
	return abi.Event{Type: abi.EventTimer, Name: name}, nil
}

// hopeless tells of a wait that the real host refuses.
func hopeless(w abi.Wait) bool {
	return w.Type != abi.EventTimer && (w.Type != abi.EventSignal || w.Name == "")
}

func (r *waiting) wants(e abi.Event) bool {
	return slices.ContainsFunc(r.For, func(w abi.Wait) bool { return w.Type == e.Type && w.Name == e.Name })
}

// firstTimer is the timer that is due first, and how long that is from now.
func (r *waiting) firstTimer() (name string, left time.Duration, ok bool) {
	for _, w := range r.For {
		if w.Type != abi.EventTimer {
			continue
		}
		due := w.After
		if !w.At.IsZero() {
			due = time.Until(w.At)
		}
		if !ok || due < left {
			name, left, ok = w.Name, max(due, 0), true
		}
	}
	return name, left, ok
}

// pass lets d go by.
func (h *Host) pass(d time.Duration) {
	h.Waited += d
	if h.Sleep != nil {
		h.Sleep(d)
	}
}
