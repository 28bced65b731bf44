package keys

import (
	"context"

	"github.com/vespiary/vespiary/host"
)

// Still returns an error once the key that a caller came with is not valid any more. It is
// for those who stay longer than one request.
func (k *Keys) Still(ctx context.Context, c host.Caller) error {
	now := k.Now()
	r, err := k.lookup(ctx, storeKey(c.Tenant, c.Key), now)
	if err != nil {
		return host.Errorf(host.ErrUnavailable, "the API key cannot be checked now; try again: %w", err)
	}
	if !r.valid(now) {
		return errWrong
	}
	return nil
}
