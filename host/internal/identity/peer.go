package identity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/vespiary/vespiary/host"
)

// KeysPath is where a host publishes the keys of its Signer, by GET and to anyone.
const KeysPath = "/.well-known/jwks.json"

const (
	delegationType = "txntoken+jwt" // draft-ietf-oauth-transaction-tokens, section 7.1
	lifetime       = 5 * time.Minute
	maxActors      = 16
	maxScopes      = 64
)

// Peer is another host whose agents may act here for its users. URL is needed.
type Peer struct {
	URL    string // of the host: the Audience of its own configuration, to the letter
	Keys   string // URL of its keys; default URL and KeysPath
	Tenant string // default host.DefaultTenant
}

// peer checks the tokens of a Peer.
type peer struct {
	Peer
	name     string
	audience string
	now      func() time.Time
	keys     *keySet
	spent    *spent
}

func (c *Chain) addPeer(client *http.Client, name string, cfg Peer) error {
	cfg.Keys = cmp.Or(cfg.Keys, strings.TrimSuffix(cfg.URL, "/")+KeysPath)
	cfg.Tenant = cmp.Or(cfg.Tenant, host.DefaultTenant)
	if err := errors.Join(c.checkName(name, cfg.Tenant, cfg.URL), checkURL(cfg.URL), checkURL(cfg.Keys)); err != nil {
		return err
	}
	if cfg.URL == c.Audience {
		return errors.New("a host is no peer of itself; name another URL")
	}
	locate := func(context.Context) (string, error) { return cfg.Keys, nil }
	c.peers[cfg.URL] = &peer{
		Peer: cfg, name: name, audience: c.Audience, now: c.Now, keys: newKeySet(client, c.Now, locate), spent: c.spent,
	}
	return nil
}

// authenticate spends the token: a second time it is refused. It is spent last, so that
// nobody can spend a token that they only know a part of.
func (p *peer) authenticate(ctx context.Context, h header, token string) (host.Caller, error) {
	t, err := p.verify(ctx, h, token)
	if err != nil {
		return host.Caller{}, fmt.Errorf("peer %s: %w", p.name, err)
	}
	if err := p.spent.spend(ctx, p.Tenant, p.URL, t.id, t.end); err != nil {
		return host.Caller{}, fmt.Errorf("peer %s: %w", p.name, err)
	}
	return host.Caller{
		Tenant: p.Tenant, User: qualified(t.user, p.name), Name: t.user, Via: host.ViaToken,
		Claims: map[string][]string{"txn": {t.task}}, Scopes: t.scopes, Actors: qualifiedAll(t.actors, p.name), Until: t.end,
	}, nil
}

// delegated is what a token of another host says.
type delegated struct {
	id, user, task string
	actors, scopes []string
	end            time.Time
}

func (p *peer) verify(ctx context.Context, h header, token string) (delegated, error) {
	if h.Key == "" {
		return delegated{}, errors.New("the token does not name its key (kid)")
	}
	payload, err := p.keys.verify(ctx, token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return delegated{}, err
	}
	c, err := parseClaims(payload)
	if err != nil {
		return delegated{}, err
	}
	if err := p.check(c); err != nil {
		return delegated{}, err
	}
	return c.delegated()
}

// check: for this host and no other besides, and only for minutes.
func (p *peer) check(c claims) error {
	var iss string
	aud, audErr := c.audience()
	t, timeErr := c.period()
	if err := errors.Join(c.get("iss", &iss), audErr, timeErr); err != nil {
		return err
	}
	switch {
	case iss != p.URL || len(aud) != 1 || aud[0] != p.audience:
		return fmt.Errorf("the token is of %q for %q", iss, aud)
	case t.issued.IsZero():
		return errors.New("the token does not say when it was made (iat)")
	case t.end.Sub(t.issued) > lifetime:
		return fmt.Errorf("the token would live longer than %s", lifetime)
	}
	return t.check(p.now())
}

func (c claims) delegated() (d delegated, err error) {
	for name, into := range map[string]*string{"jti": &d.id, "sub": &d.user, "txn": &d.task} {
		if *into, err = c.text(name); err != nil {
			return d, err
		}
	}
	t, err := c.period()
	if err != nil {
		return d, err
	}
	d.end = t.end
	if d.actors, err = c.actors(); err != nil {
		return d, err
	}
	d.scopes, err = c.values("scope")
	if err == nil && (len(d.scopes) == 0 || len(d.scopes) > maxScopes) {
		err = fmt.Errorf("the claim scope names none, or more than %d", maxScopes)
	}
	return d, err
}

// actors reads the nested act claims, the nearest first (RFC 8693, section 4.1). There is
// one at least: a user alone is not delegated to.
func (c claims) actors() ([]string, error) {
	var out []string
	for {
		raw, nested := c["act"]
		switch {
		case !nested && len(out) == 0:
			return nil, errors.New("the token names nobody who acts for the user (act)")
		case !nested:
			return out, nil
		case len(out) == maxActors:
			return nil, fmt.Errorf("the token names more than %d who act for the user", maxActors)
		}
		act, err := parseClaims(raw)
		if err != nil {
			return nil, fmt.Errorf("the claim act: %w", err)
		}
		sub, err := act.text("sub")
		if err != nil {
			return nil, fmt.Errorf("the claim act: %w", err)
		}
		out, c = append(out, sub), act
	}
}
