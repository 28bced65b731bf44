package access

import (
	"context"
	"iter"
	"time"

	"github.com/vespiary/vespiary/policy"
)

// recheck is how old a decision may get while a caller follows something.
const recheck = 3 * time.Second

// watch is a read that goes on. What a caller gets was allowed to them within the last
// recheck, so that other policies and a revoked key take effect.
type watch struct {
	visit   *visit
	target  target
	action  string
	decided time.Time
}

// again decides once more when the last decision is old. A denial is taken down.
func (w *watch) again(ctx context.Context) error {
	v := w.visit
	now := v.guard.opt.Now()
	if age := now.Sub(w.decided); age >= 0 && age < recheck {
		return nil
	}
	v.caller.Groups, v.shared = v.guard.opt.Groups(v.caller), nil // it may be another configuration by now
	if err := v.guard.opt.Still(ctx, v.caller); err != nil {
		v.refuse(w.target.uid, w.action, policy.Cause{ID: "what the caller proved who they are with"})
		return err
	}
	if err := v.may(ctx, w.target, w.action, nil); err != nil {
		return err
	}
	w.decided, v.pending = now, nil
	return nil
}

// follow passes on what a service yields, for as long as the caller may have it.
func follow[T any](ctx context.Context, w *watch, all iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for x, err := range all {
			if err == nil {
				err = w.again(ctx)
			}
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			if !yield(x, nil) {
				return
			}
		}
	}
}

// failed yields one error.
func failed[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		yield(none, err)
	}
}
