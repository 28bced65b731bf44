package api

import (
	"context"
	"net/http"
	"time"

	"github.com/vespiary/vespiary/host"
)

// exchange is what the server knows of one request.
type exchange struct {
	id     string
	caller host.Caller
	server *Server
}

type exchangeKey struct{}

// exchangeOf returns the request's exchange; a context that did not come through
// a Server has an empty one, with nobody as its caller.
func exchangeOf(ctx context.Context) *exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return &exchange{}
}

// Caller returns who makes the request.
func Caller(r *http.Request) host.Caller { return exchangeOf(r.Context()).caller }

// requestIDOf returns the id under which the request is logged.
func requestIDOf(ctx context.Context) string { return exchangeOf(ctx).id }

// Serving returns a context that ends with the request that ctx is of, after limit
// (0: never), and as soon as the server begins to stop, so that who waits for an agent is
// answered and can ask again.
func Serving(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	cancel := context.CancelFunc(nil)
	if limit > 0 {
		ctx, cancel = context.WithTimeout(ctx, limit)
	} else {
		ctx, cancel = context.WithCancel(ctx)
	}
	s := exchangeOf(ctx).server
	if s == nil {
		return ctx, cancel
	}
	release := s.onDrain(cancel)
	return ctx, func() { release(); cancel() }
}

// Working runs what may take long and can be begun again: it ends with the request, and
// when the server begins to stop.
func Working(r *http.Request, work func(ctx context.Context) error) error {
	ctx, cancel := Serving(r.Context(), 0)
	defer cancel()
	err := work(ctx)
	if err != nil && ctx.Err() != nil && r.Context().Err() == nil {
		return host.Errorf(host.ErrUnavailable, "the host is stopping; ask again when it is back: %w", err)
	}
	return err
}
