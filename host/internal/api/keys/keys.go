// Package keys issues and checks API keys. A key is a bearer token with a secret
// of 256 random bits, which may expire, be revoked, and be limited to scopes: actions of
// the API or groups of them. The store holds its SHA-256 only:
//
//	key/<tenant>/<id> -> record (JSON)
package keys

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// Options configure Keys. Store and Now are needed.
type Options struct {
	Store store.Store
	Now   func() time.Time
	Rand  io.Reader // of secrets; nil: crypto/rand
	// Stale is for how long a key that was revoked by another host of a fleet may
	// still be accepted here; default 5 s. In this host a revocation holds at once.
	Stale time.Duration
	// Scope says why a name cannot be a scope, for people: that the API has no such action
	// and no such group of actions. nil: every name of the right form can.
	Scope func(name string) error
}

// record is what the store holds of a key.
type record struct {
	host.APIKey
	Caller string `json:"caller_name,omitempty"` // display name of User
	Hash   []byte `json:"sha256"`                // of the token
}

// Keys issues and checks API keys. It is safe for concurrent use.
type Keys struct {
	Options
	mu    sync.Mutex
	cache map[string]cached // by store key; only keys that exist, so it does not grow with guesses
	epoch uint64            // counts revocations, so that a read that began before one is not cached
}

// cached is a record and when it was read, by Options.Now.
type cached struct {
	record
	read time.Time
}

// New returns the keys in a store.
func New(o Options) (*Keys, error) {
	if o.Store == nil || o.Now == nil {
		return nil, errors.New("keys: Options.Store and Options.Now are needed")
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	o.Stale = cmp.Or(o.Stale, 5*time.Second)
	return &Keys{Options: o, cache: map[string]cached{}}, nil
}

// errWrong is the one answer to every token that is not valid: which part is wrong
// is nobody's business.
var errWrong = &host.Error{
	Code:    host.ErrUnauthorized,
	Message: "the API key is unknown, revoked or expired; use a valid one",
}

// Authenticate returns whose the token is. It fails with host.ErrUnauthorized, or
// host.ErrUnavailable when the store does.
func (k *Keys) Authenticate(ctx context.Context, token string) (host.Caller, error) {
	tenant, id, ok := parseToken(token)
	if !ok {
		return host.Caller{}, errWrong
	}
	now := k.Now()
	r, err := k.lookup(ctx, storeKey(tenant, id), now)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return host.Caller{}, errWrong
	case err != nil:
		return host.Caller{}, host.Errorf(host.ErrUnavailable, "the API key cannot be checked now; try again: %w", err)
	case subtle.ConstantTimeCompare(r.Hash, hash(token)) != 1 || !r.valid(now):
		return host.Caller{}, errWrong
	}
	return host.Caller{
		Tenant: r.Tenant, User: r.User, Name: r.Caller, Key: r.ID, Via: host.ViaKey, Scopes: slices.Clone(r.Scopes),
	}, nil
}

// valid is asked at every request, also of a cached key: time passes meanwhile.
func (k *record) valid(now time.Time) bool {
	return k.Revoked.IsZero() && (k.Expires.IsZero() || now.Before(k.Expires))
}

// hash needs no salt and no slow function: those protect passwords, which can be
// guessed. A secret of 256 random bits cannot, at any speed, and a slow hash would
// only let strangers keep the host busy.
func hash(token string) []byte {
	h := sha256.Sum256([]byte(token))
	return h[:]
}

// lookup returns a record that was read from the store at most Stale ago.
func (k *Keys) lookup(ctx context.Context, key string, now time.Time) (record, error) {
	k.mu.Lock()
	c, ok := k.cache[key]
	epoch := k.epoch
	k.mu.Unlock()
	if ok && now.Sub(c.read) < k.Stale {
		return c.record, nil
	}
	r, _, err := k.read(ctx, key)
	if err != nil {
		return record{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if epoch == k.epoch {
		k.cache[key] = cached{r, now}
	}
	return r, nil
}

// List returns the keys of the caller's tenant, oldest first.
func (k *Keys) List(ctx context.Context, c host.Caller) ([]host.APIKey, error) {
	var out []host.APIKey
	err := k.Store.View(ctx, func(tx store.Tx) error {
		out = nil
		for it, err := range tx.Scan(store.Query{Prefix: []byte(storeKey(c.Tenant, ""))}) {
			if err != nil {
				return err
			}
			r, err := decode(it)
			if err != nil {
				return err
			}
			out = append(out, r.APIKey)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list API keys: %w", err)
	}
	sortByAge(out)
	return out, nil
}

// Revoke ends a key of the caller's tenant. What it is remembered by stays, for
// the journals that name it. Revoking it again changes nothing.
func (k *Keys) Revoke(ctx context.Context, c host.Caller, id string) (host.APIKey, error) {
	key := storeKey(c.Tenant, id)
	for {
		r, rev, err := k.read(ctx, key)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return host.APIKey{}, host.Errorf(host.ErrNotFound, "there is no API key %q; list the keys to see their ids", id)
		case err != nil:
			return host.APIKey{}, fmt.Errorf("revoke API key %s: %w", id, err)
		case !r.Revoked.IsZero():
			return r.APIKey, nil
		}
		r.Revoked = k.Now().UTC()
		err = k.write(ctx, r, rev)
		k.forget(key)
		switch {
		case err == nil:
			return r.APIKey, nil
		case !errors.Is(err, store.ErrConflict): // else it changed meanwhile
			return host.APIKey{}, fmt.Errorf("revoke API key %s: %w", id, err)
		}
	}
}

// forget drops what is cached of a key, and what is being read of it.
func (k *Keys) forget(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.epoch++
	delete(k.cache, key)
}

// read returns the record and the revision that a change must still find.
func (k *Keys) read(ctx context.Context, key string) (r record, rev store.Revision, err error) {
	err = k.Store.View(ctx, func(tx store.Tx) error {
		it, err := tx.Get([]byte(key))
		if err != nil {
			return err
		}
		rev = it.Revision
		r, err = decode(it)
		return err
	})
	return r, rev, err
}

// write stores r if its key was last written by rev.
func (k *Keys) write(ctx context.Context, r record, rev store.Revision) error {
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	key := []byte(storeKey(r.Tenant, r.ID))
	_, err = k.Store.Commit(ctx, store.Batch{
		Ops:   []store.Op{{Key: key, Value: value}},
		Conds: []store.Cond{{Key: key, Revision: rev}},
	})
	if errors.Is(err, store.ErrFull) {
		return host.Errorf(host.ErrFull, "the host has no space left: %w", err)
	}
	return err
}

// decode names the key of a record that does not decode, and not its value.
func decode(it store.Item) (r record, err error) {
	if err := json.Unmarshal(it.Value, &r); err != nil {
		return r, fmt.Errorf("API key %q: the record in the store does not decode: %w", it.Key, err)
	}
	return r, nil
}
