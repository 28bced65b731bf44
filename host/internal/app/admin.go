package app

import (
	"context"
	"encoding/json"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/cedar"
)

// authorizer is the policy engine with the evidence of refusals in its own form.
type authorizer struct{ *cedar.Engine }

// Evidence implements what the gate asks of engines that can put a request down.
func (a authorizer) Evidence(r *policy.Request) json.RawMessage {
	recorded, err := a.Set().Record(r)
	if err != nil {
		return nil
	}
	b, err := json.Marshal(recorded)
	if err != nil {
		return nil
	}
	return b
}

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
func (a admin) Decisions(ctx context.Context, c host.Caller, deniedOnly bool, limit int) ([]host.DecisionRecord, error) {
	return a.h.sessions.Decisions(ctx, c, deniedOnly, limit)
}

// Reload reads configuration, policies and plugins again.
func (a admin) Reload(ctx context.Context, _ host.Caller) error {
	if err := a.h.Reload(ctx); err != nil {
		return host.Errorf(host.ErrInvalid, "reload: nothing was changed: %w", err)
	}
	return nil
}
