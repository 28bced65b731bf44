package app

import (
	"context"

	"github.com/vespiary/vespiary/policy/cedar"
)

// policies is the service that shows and changes policies.
func (h *Host) policies() policies {
	return policies{policyOptions{
		Engine: h.policy, Kept: h.sets, Past: h.past(),
		Dir:     func() string { return h.desired.Load().config.Policies },
		Compile: h.compileAsHere,
		Lock:    &h.reload,
		Reload:  func(ctx context.Context) error { return h.become(ctx, h.desired.Load().config) },
		Able:    h.able,
	}}
}

// compileAsHere makes a set of files as a reload would.
func (h *Host) compileAsHere(_ context.Context, files map[string][]byte) (*cedar.Set, error) {
	d := h.desired.Load()
	r, err := rulesOf(d.config, files, d.rules.actions)
	return r.active, err
}
