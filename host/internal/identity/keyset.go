package identity

import (
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// How long published keys are believed. A key that its owner withdraws ends within fresh,
// unless the owner cannot be reached; a new one is found at once, or after pause.
const (
	fresh = 5 * time.Minute
	stale = time.Hour        // for want of newer ones
	pause = 10 * time.Second // between two requests, whatever tokens come: they may be forged
)

// maxKeys bounds the keys that are tried for a token that names none.
const maxKeys = 32

// keySet holds the keys that someone publishes as a JWK Set (RFC 7517, section 5). Unlike
// [oidc.RemoteKeySet] it forgets keys that were withdrawn, and forged tokens do not make
// it ask again and again.
type keySet struct {
	client *http.Client
	now    func() time.Time
	// locate returns the URL of the document. It is called by one goroutine at a time.
	locate func(context.Context) (string, error)

	known atomic.Pointer[published] // nil: none yet

	busy   chan struct{} // is held while asking; guards what follows
	asked  time.Time
	failed error // of the last time
}

// published are keys and when they were read.
type published struct {
	keys []jose.JSONWebKey
	read time.Time
}

func newKeySet(client *http.Client, now func() time.Time, locate func(context.Context) (string, error)) *keySet {
	return &keySet{client: client, now: now, locate: locate, busy: make(chan struct{}, 1)}
}

// verify returns what a token says if one of the keys signed it. It fails with
// errUnreachable where the keys cannot be had.
func (s *keySet) verify(ctx context.Context, token string, algs []jose.SignatureAlgorithm) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(token, algs)
	if err != nil {
		return nil, err
	}
	p, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	payload, known := p.open(jws)
	if !known {
		if p, err = s.ask(ctx); err != nil {
			return nil, err
		}
		payload, _ = p.open(jws)
	}
	if payload == nil {
		return nil, fmt.Errorf("no key of the issuer made the signature; the token names the key %q", keyOf(jws).KeyID)
	}
	return payload, nil
}

func keyOf(jws *jose.JSONWebSignature) jose.Header { return jws.Signatures[0].Protected }

// open returns the payload if a key fits. known says that the key that the token names
// is there, so that newer keys would not help.
func (p *published) open(jws *jose.JSONWebSignature) (payload []byte, known bool) {
	h := keyOf(jws)
	for i := range p.keys {
		k := &p.keys[i]
		if h.KeyID != "" && k.KeyID != h.KeyID {
			continue
		}
		known = known || h.KeyID != ""
		if k.Algorithm != "" && k.Algorithm != h.Algorithm {
			continue
		}
		if payload, err := jws.Verify(k); err == nil {
			return payload, true
		}
	}
	return nil, known
}

// current returns keys that are fresh, or for want of those not yet stale.
func (s *keySet) current(ctx context.Context) (*published, error) {
	old := s.known.Load()
	now := s.now()
	if old != nil && now.Sub(old.read) < fresh {
		return old, nil
	}
	p, err := s.ask(ctx)
	if err != nil && old != nil && now.Sub(old.read) < stale {
		return old, nil
	}
	return p, err
}

// ask reads the keys, unless that was done within pause: then what it led to stands.
func (s *keySet) ask(ctx context.Context) (*published, error) {
	select {
	case s.busy <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errUnreachable, context.Cause(ctx))
	}
	defer func() { <-s.busy }()
	now := s.now()
	if !s.asked.IsZero() && now.Sub(s.asked) < pause {
		return s.known.Load(), s.failed
	}
	s.asked = now
	// Others may wait for the answer, so a caller that goes away does not end it.
	keys, err := s.read(context.WithoutCancel(ctx))
	if err != nil {
		s.failed = fmt.Errorf("%w: %w", errUnreachable, err)
	} else {
		s.failed = nil
		s.known.Store(&published{keys, now})
	}
	return s.known.Load(), s.failed
}

func (s *keySet) read(ctx context.Context) ([]jose.JSONWebKey, error) {
	url, err := s.locate(ctx)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", url, err)
	}
	keys, err := parseKeys(body)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", url, err)
	}
	return keys, nil
}

// parseKeys returns the public keys for signatures. Others are left out, as RFC 7517,
// section 5 asks for kinds that are not understood; secret keys are never believed. A set
// without keys is one whose owner has withdrawn them all.
func parseKeys(body []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []stdjson.RawMessage `json:"keys"`
	}
	if err := stdjson.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("decode the key set: %w", err)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var k jose.JSONWebKey
		if err := k.UnmarshalJSON(raw); err == nil && k.Valid() && k.IsPublic() && k.Use != "enc" {
			keys = append(keys, k)
		}
	}
	if set.Keys == nil || len(keys) > maxKeys {
		return nil, fmt.Errorf("the document has no list of keys, or more than %d", maxKeys)
	}
	return keys, nil
}
