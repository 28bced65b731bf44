package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// spent remembers in the store which tokens were used. Its keys are in the order in which
// the tokens expire, and each use removes a few that expired: so what is kept is bounded
// by what is used within minutes, and nothing runs in the background.
type spent struct {
	store store.Store
	now   func() time.Time
}

const (
	// kept is how long after its expiry a token is remembered, should the clock be set back.
	kept = time.Hour
	// swept is how many each use removes at most.
	swept = 16
)

// spend fails for a token that was used before. Of two uses at once one fails.
func (s *spent) spend(ctx context.Context, tenant, issuer, id string, end time.Time) error {
	key := spentKey(tenant, issuer, id, end)
	ops, err := s.expired(ctx, tenant)
	if err != nil {
		return unspendable(err)
	}
	_, err = s.store.Commit(ctx, store.Batch{
		Ops:   append(ops, store.Op{Key: key, Value: []byte{}}),
		Conds: []store.Cond{{Key: key}},
	})
	switch {
	case errors.Is(err, store.ErrConflict):
		return fmt.Errorf("the token %q was used before", id)
	case err != nil:
		return unspendable(err)
	}
	return nil
}

func unspendable(err error) error {
	code := host.ErrUnavailable
	if errors.Is(err, store.ErrFull) {
		code = host.ErrFull
	}
	return host.Errorf(code, "the token cannot be marked as used, so it is not taken; try again: %w", err)
}

// expired returns ops that remove what need not be remembered any more.
func (s *spent) expired(ctx context.Context, tenant string) (ops []store.Op, err error) {
	before := s.now().Add(-kept).Unix()
	err = s.store.View(ctx, func(tx store.Tx) error {
		ops = nil
		for it, err := range tx.Scan(store.Query{Prefix: []byte(spentPrefix(tenant)), KeysOnly: true, Limit: swept}) {
			if err != nil {
				return err
			}
			if endOf(it.Key) >= before {
				return nil
			}
			ops = append(ops, store.Op{Key: it.Key})
		}
		return nil
	})
	return ops, err
}

func spentPrefix(tenant string) string { return "jti/" + tenant + "/" }

func spentKey(tenant, issuer, id string, end time.Time) []byte {
	sum := sha256.Sum256([]byte(issuer + "\x00" + id))
	return fmt.Appendf(nil, "%s%016x/%s", spentPrefix(tenant), max(end.Unix(), 0), hex.EncodeToString(sum[:]))
}

// endOf reads the expiry from a key; of one that is damaged it is the far past.
func endOf(key []byte) int64 {
	parts := strings.Split(string(key), "/")
	if len(parts) != 4 {
		return 0
	}
	end, err := strconv.ParseInt(parts[2], 16, 64)
	if err != nil {
		return 0
	}
	return end
}
