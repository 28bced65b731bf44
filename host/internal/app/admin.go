package app

import (
	"context"

	"github.com/vespiary/vespiary/host"
)

// admin implements api.Admin.
type admin struct{ h *Host }

// Install compiles a module into the cache and makes name lead to it.
func (a admin) Install(ctx context.Context, c host.Caller, name string, wasm []byte) (string, error) {
	if _, err := describe(wasm); err != nil {
		return "", host.Errorf(host.ErrInvalid, "install %s: %w", name, err)
	}
	digest, err := a.h.registry.Put(ctx, name, wasm, c.User)
	if err != nil {
		return "", err
	}
	_, release, err := a.h.engines.Acquire(ctx, string(digest))
	if err != nil {
		return "", host.Errorf(host.ErrInvalid, "install %s: %w", name, err)
	}
	release()
	return string(digest), nil
}

// Decisions returns decisions of the caller's sessions, newest first.
func (a admin) Decisions(ctx context.Context, c host.Caller, f host.DecisionFilter) ([]host.DecisionRecord, error) {
	return a.h.past().recent(ctx, c, f, a.h.policy.Set(), a.h.sessions.Get)
}

// Reload reads configuration, policies and plugins again.
func (a admin) Reload(ctx context.Context, _ host.Caller) error {
	if err := a.h.Reload(ctx); err != nil {
		return host.Errorf(host.ErrInvalid, "reload: nothing was changed: %w", err)
	}
	return nil
}
