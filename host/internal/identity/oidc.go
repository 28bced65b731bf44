package identity

import (
	"cmp"
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/vespiary/vespiary/host"
)

// Issuer is an OpenID provider whose tokens are taken. URL is needed.
type Issuer struct {
	// URL is what its tokens have as iss, to the letter. What it publishes is found from
	// there (OpenID Connect Discovery, section 4).
	URL string
	// Audience must be among those that a token is for: the URL or name of this host that
	// is registered with the provider, or the id of a client; default Options.Audience.
	Audience string
	// Names of claims: of the user's id (default sub), of their name for people (default
	// name), and of their groups (default none). With email as the user's id the provider
	// must say that it has verified the address.
	User, Name, Groups string
	// Claims are taken over for policies, where a token has them.
	Claims []string
	Tenant string // default host.DefaultTenant
	// Algorithms of signatures: RS, PS and ES with 256, 384 and 512, and EdDSA; default all.
	Algorithms []string
	// TrustGroups takes the provider's names of groups as they are, so that it can put its
	// users into groups of the configuration and of policies. Otherwise they are
	// qualified by the issuer's name.
	TrustGroups bool
}

// algorithms are asymmetric: what verifies a token cannot make one.
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

// issuer checks the tokens of an Issuer.
type issuer struct {
	Issuer
	name string
	now  func() time.Time
	algs []jose.SignatureAlgorithm
	keys *keySet
}

func (c *Chain) addIssuer(client *http.Client, name string, cfg Issuer) error {
	cfg.User, cfg.Name, cfg.Tenant = cmp.Or(cfg.User, "sub"), cmp.Or(cfg.Name, "name"), cmp.Or(cfg.Tenant, host.DefaultTenant)
	cfg.Audience = cmp.Or(cfg.Audience, c.Audience)
	if len(cfg.Algorithms) == 0 {
		cfg.Algorithms = algorithms
	}
	if err := errors.Join(c.checkName(name, cfg.Tenant, cfg.URL), checkURL(cfg.URL)); err != nil {
		return err
	}
	if cfg.Audience == "" {
		return errors.New("without an audience it would take tokens that are meant for others; set one")
	}
	i := &issuer{Issuer: cfg, name: name, now: c.Now}
	for _, a := range cfg.Algorithms {
		if !slices.Contains(algorithms, a) {
			return fmt.Errorf("the algorithm %q cannot be used; use some of %s", a, strings.Join(algorithms, ", "))
		}
		i.algs = append(i.algs, jose.SignatureAlgorithm(a))
	}
	d := &discovery{issuer: cfg.URL, client: client, now: c.Now}
	i.keys = newKeySet(client, c.Now, d.locate)
	c.issuers[cfg.URL] = i
	return nil
}

// types are what the tokens are called that say who a user is: nothing or JWT by most
// providers, at+jwt by RFC 9068. Others of the same provider, such as those of a logout,
// are not for signing in with (RFC 8725, section 3.11).
var types = []string{"", "jwt", "at+jwt"}

func (i *issuer) authenticate(ctx context.Context, h header, token string) (host.Caller, error) {
	if !slices.Contains(types, h.Type) {
		return host.Caller{}, fmt.Errorf("a token of the type %q does not say who a user is", h.Type)
	}
	c, err := i.verify(ctx, token)
	if err != nil {
		return host.Caller{}, fmt.Errorf("issuer %s: %w", i.name, err)
	}
	caller, err := i.caller(c)
	if err != nil {
		return host.Caller{}, fmt.Errorf("issuer %s: %w", i.name, err)
	}
	return caller, nil
}

// signature lets go-oidc verify with a keySet, and keeps the error that it makes text of.
type signature struct {
	*issuer
	err error
}

func (s *signature) VerifySignature(ctx context.Context, token string) (payload []byte, err error) {
	payload, s.err = s.keys.verify(ctx, token, s.algs)
	return payload, s.err
}

// verify returns the claims of a token that the issuer made for this host and that
// holds now.
func (i *issuer) verify(ctx context.Context, token string) (claims, error) {
	s := &signature{issuer: i}
	id, err := oidc.NewVerifier(i.URL, s, &oidc.Config{
		ClientID: i.Audience, SupportedSigningAlgs: i.Algorithms, SkipExpiryCheck: true, // see period
	}).Verify(ctx, token)
	if s.err != nil {
		return nil, s.err
	}
	if err != nil {
		return nil, err
	}
	var payload stdjson.RawMessage
	if err := id.Claims(&payload); err != nil {
		return nil, err
	}
	c, err := parseClaims(payload)
	if err != nil {
		return nil, err
	}
	return c, i.check(c)
}

// check looks at what go-oidc read once more by the exact names of the claims, and at
// the times.
func (i *issuer) check(c claims) error {
	var iss string
	aud, audErr := c.audience()
	p, timeErr := c.period()
	if err := errors.Join(c.get("iss", &iss), audErr, timeErr); err != nil {
		return err
	}
	if iss != i.URL || !aud.Contains(i.Audience) {
		return fmt.Errorf("the token is of %q for %q", iss, aud)
	}
	return p.check(i.now())
}

func (i *issuer) caller(c claims) (host.Caller, error) {
	user, err := i.user(c)
	if err != nil {
		return host.Caller{}, err
	}
	groups, err := i.groups(c)
	if err != nil {
		return host.Caller{}, err
	}
	taken, err := c.take(i.Claims)
	if err != nil {
		return host.Caller{}, err
	}
	actors, err := i.actors(c)
	if err != nil {
		return host.Caller{}, err
	}
	p, err := c.period()
	if err != nil {
		return host.Caller{}, err
	}
	name, err := c.text(i.Name)
	if err != nil {
		name = "" // it is for people only
	}
	return host.Caller{
		Tenant: i.Tenant, User: qualified(user, i.name), Name: name, Via: host.ViaToken, Given: groups, Claims: taken,
		Actors: actors, Until: p.end,
	}, nil
}

// actors are those of a token that the provider exchanged for another (RFC 8693).
func (i *issuer) actors(c claims) ([]string, error) {
	if c["act"] == nil {
		return nil, nil
	}
	names, err := c.actors()
	if err != nil {
		return nil, err
	}
	return qualifiedAll(names, i.name), nil
}

func (i *issuer) user(c claims) (string, error) {
	if i.User == "email" {
		var verified bool
		if err := c.get("email_verified", &verified); err != nil || !verified {
			return "", errors.New("the issuer does not say that it verified the address (email_verified); use another claim for the user")
		}
	}
	return c.text(i.User)
}

// groups refuses a token that leaves out the groups of a user who is in many of them
// (OpenID Connect Core, section 5.6.2): policies could not tell.
func (i *issuer) groups(c claims) ([]string, error) {
	if i.Groups == "" {
		return nil, nil
	}
	var elsewhere claims
	if err := c.get("_claim_names", &elsewhere); err != nil {
		return nil, err
	}
	if _, left := elsewhere[i.Groups]; left {
		return nil, fmt.Errorf("the token leaves the claim %s out; have the issuer put fewer groups into it", i.Groups)
	}
	names, err := c.values(i.Groups)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	if !i.TrustGroups {
		return qualifiedAll(names, i.name), nil
	}
	// An @ would make it a group of another issuer.
	return slices.DeleteFunc(names, func(g string) bool { return strings.Contains(g, "@") }), nil
}

// take returns those of the named claims that the token has.
func (c claims) take(names []string) (map[string][]string, error) {
	var out map[string][]string
	for _, name := range names {
		v, err := c.values(name)
		if err != nil {
			return nil, err
		}
		if v == nil {
			continue
		}
		if out == nil {
			out = map[string][]string{}
		}
		out[name] = v
	}
	return out, nil
}

// discovery finds where an issuer publishes its keys.
type discovery struct {
	issuer string
	client *http.Client
	now    func() time.Time

	url   string
	found time.Time
}

// moved is for how long a place that was found is believed.
const moved = 24 * time.Hour

func (d *discovery) locate(ctx context.Context) (string, error) {
	if d.url != "" && d.now().Sub(d.found) < moved {
		return d.url, nil
	}
	p, err := oidc.NewProvider(oidc.ClientContext(ctx, d.client), d.issuer)
	if err != nil {
		return "", fmt.Errorf("discover the issuer: %w", err)
	}
	var at struct {
		Keys string `json:"jwks_uri"`
	}
	if err := p.Claims(&at); err != nil {
		return "", fmt.Errorf("discover the issuer: %w", err)
	}
	if err := checkURL(at.Keys); err != nil {
		return "", fmt.Errorf("discover the issuer: its jwks_uri: %w", err)
	}
	d.url, d.found = at.Keys, d.now()
	return d.url, nil
}
