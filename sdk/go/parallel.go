package vespiary

import (
	"errors"
	"iter"
	"maps"
	"slices"

	"github.com/vespiary/vespiary/abi"
)

// lanes are the functions that Go runs during one call of the guest. They are
// coroutines, not goroutines left to the scheduler: one runs at a time, and which
// one runs next depends on the host's answers alone, so that a turn that is run
// again makes the same calls in the same order.
type lanes struct {
	root    *Context // makes the calls call_start and call_wait themselves
	all     []*lane
	waiting map[int]*lane // by the id of the started call
	closed  bool
}

// lane runs one function. It is suspended wherever that function makes a host call.
type lane struct {
	lanes  *lanes
	resume func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool
	answer abi.Result
}

// start runs body up to its first host call.
func (ls *lanes) start(body func(*lane)) {
	l := &lane{lanes: ls}
	l.resume, l.stop = iter.Pull(func(yield func(struct{}) bool) {
		l.yield = yield
		body(l)
	})
	ls.all = append(ls.all, l)
	l.resume()
}

// close ends the turn: the calls of lanes that nothing waited for return
// cancelled, and so does every later one. The ids of started calls begin anew at
// the next event, so that a Context which outlives its own must not use them.
func (ls *lanes) close() {
	ls.closed = true
	for _, l := range ls.all {
		l.stop()
	}
	ls.all, ls.waiting = nil, nil
}

func late(k capability) *abi.Error {
	return fault(abi.CodeCancelled, "%s: the turn that this Context belongs to has ended", k.name)
}

// step waits until a started call is done and resumes its lane.
func (ls *lanes) step() error {
	if len(ls.waiting) == 0 {
		return fault(abi.CodeInternal, "a Future waits for itself")
	}
	var done abi.Waited
	if err := ls.root.do(callWait, abi.WaitFor{IDs: slices.Sorted(maps.Keys(ls.waiting)), Min: 1}, &done); err != nil {
		return err
	}
	for _, f := range done.Done {
		if l := ls.waiting[f.ID]; l != nil {
			delete(ls.waiting, f.ID)
			l.answer = f.Result
			l.resume()
		}
	}
	return nil
}

// exchange starts a host call and suspends the lane until its answer is there.
func (l *lane) exchange(k capability, request []byte) abi.Result {
	var started abi.Started
	if err := l.lanes.root.do(callStart, abi.Start{Name: k.name, Request: request}, &started); err != nil {
		e, _ := errors.AsType[*abi.Error](err) // do has no other errors
		return abi.Result{Error: e}
	}
	if l.lanes.waiting == nil {
		l.lanes.waiting = map[int]*lane{}
	}
	l.lanes.waiting[started.ID] = l
	if !l.yield(struct{}{}) {
		return abi.Result{Error: late(k)}
	}
	return l.answer
}

// Future is the result of a function that Go runs.
type Future[T any] struct {
	lanes *lanes
	done  bool
	value T
	err   error
}

// Go runs f so that its host calls overlap with those of the caller and of other
// functions run by Go. It returns at f's first host call; f goes on while a
// Future is waited for. Only host calls overlap: computation takes turns.
func Go[T any](c *Context, f func(*Context) (T, error)) *Future[T] {
	future := &Future[T]{lanes: c.lanes}
	if c.lanes.closed {
		future.done, future.err = true, late(callStart)
		return future
	}
	c.lanes.start(func(l *lane) {
		inner := *c
		inner.via = l.exchange
		future.value, future.err = guarded(&inner, f)
		future.done = true
	})
	return future
}

// Wait returns what the function returned, once it has. It may be called again.
func (f *Future[T]) Wait() (T, error) {
	for !f.done {
		if err := f.lanes.step(); err != nil {
			return f.value, err
		}
	}
	return f.value, f.err
}

// All calls f for every input at the same time and returns when all are done.
// Values and errors are in the order of the inputs; the error of a call that
// succeeded is nil.
func All[In, Out any](c *Context, inputs []In, f func(*Context, In) (Out, error)) ([]Out, []error) {
	futures := make([]*Future[Out], len(inputs))
	for i, in := range inputs {
		futures[i] = Go(c, func(c *Context) (Out, error) { return f(c, in) })
	}
	values, errs := make([]Out, len(inputs)), make([]error, len(inputs))
	for i, future := range futures {
		values[i], errs[i] = future.Wait()
	}
	return values, errs
}
