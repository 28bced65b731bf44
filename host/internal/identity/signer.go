package identity

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// SignerOptions configure a Signer. All but Rand are needed.
type SignerOptions struct {
	URL string // of this host: iss of its tokens
	// Keys are the current one, and then those that tokens or copies of the document may
	// still be of. See LoadOrCreate.
	Keys []ed25519.PrivateKey
	Now  func() time.Time
	Rand io.Reader // nil: crypto/rand
}

// Signer makes the tokens that agents take with them to other hosts. It is safe for
// concurrent use.
type Signer struct {
	SignerOptions
	signer jose.Signer
	keys   []byte
}

// Claims are what a token is to say.
type Claims struct {
	Audience string   // URL of the host that it is for
	User     string   // on whose behalf
	Actors   []string // who acts for the user, the nearest first: agents; 1 to 16
	Task     string
	// Scopes are the actions of the other host's API that it may be used for, or groups
	// of them: 1 to 64.
	Scopes  []string
	Purpose string    // in words; may be empty
	Expires time.Time // when the task does; zero: no earlier than the token must
}

// NewSigner returns a Signer.
func NewSigner(o SignerOptions) (*Signer, error) {
	if o.URL == "" || len(o.Keys) == 0 || o.Now == nil {
		return nil, errors.New("identity: SignerOptions.URL, Keys and Now are needed")
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	var set jose.JSONWebKeySet
	for _, k := range o.Keys {
		public, err := publicKey(k)
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, public)
	}
	document, err := json.Marshal(set)
	if err != nil {
		return nil, err
	}
	current := jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: o.Keys[0], KeyID: set.Keys[0].KeyID}}
	s, err := jose.NewSigner(current, (&jose.SignerOptions{}).WithType(delegationType))
	if err != nil {
		return nil, fmt.Errorf("make a signer: %w", err)
	}
	return &Signer{o, s, document}, nil
}

// publicKey names a key by its thumbprint (RFC 7638), so that the same key has the same
// name at any time.
func publicKey(k ed25519.PrivateKey) (jose.JSONWebKey, error) {
	if len(k) != ed25519.PrivateKeySize {
		return jose.JSONWebKey{}, fmt.Errorf("identity: a key has %d bytes, not %d", len(k), ed25519.PrivateKeySize)
	}
	public := jose.JSONWebKey{Key: k.Public(), Algorithm: string(jose.EdDSA), Use: "sig"}
	sum, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return jose.JSONWebKey{}, err
	}
	public.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	return public, nil
}

// JWKS returns the document to publish under KeysPath, as application/json. It must not
// be changed.
func (s *Signer) JWKS() []byte { return s.keys }

// act is an actor, and whom they act for.
type act struct {
	Subject string `json:"sub"`
	Act     *act   `json:"act,omitempty"`
}

// body holds the claims of a token; times are in seconds.
type body struct {
	Issuer    string            `json:"iss"`
	Subject   string            `json:"sub"`
	Audience  string            `json:"aud"`
	IssuedAt  int64             `json:"iat"`
	NotBefore int64             `json:"nbf"`
	Expiry    int64             `json:"exp"`
	ID        string            `json:"jti"`
	Task      string            `json:"txn"`
	Scope     string            `json:"scope"`
	Workload  string            `json:"req_wl"`
	Act       *act              `json:"act"`
	Context   map[string]string `json:"tctx,omitempty"`
}

// Issue makes a token for one request, and says until when it holds: as long as the task,
// and five minutes at most. The token is a secret until it was used.
func (s *Signer) Issue(c Claims) (token string, expires time.Time, err error) {
	if err := c.check(); err != nil {
		return "", time.Time{}, fmt.Errorf("make a token for %s: %w", c.Audience, err)
	}
	now := s.Now()
	end := now.Truncate(time.Second).Add(lifetime)
	if !c.Expires.IsZero() && c.Expires.Before(end) {
		end = c.Expires.Truncate(time.Second)
	}
	if !end.After(now) {
		return "", time.Time{}, fmt.Errorf("make a token for %s: the task %s is over", c.Audience, c.Task)
	}
	id := make([]byte, 16)
	if _, err := io.ReadFull(s.Rand, id); err != nil {
		return "", time.Time{}, fmt.Errorf("make a token for %s: %w", c.Audience, err)
	}
	b := body{
		Issuer: s.URL, Subject: c.User, Audience: c.Audience, IssuedAt: now.Unix(), NotBefore: now.Unix(), Expiry: end.Unix(),
		ID: base64.RawURLEncoding.EncodeToString(id), Task: c.Task, Scope: strings.Join(c.Scopes, " "),
		Workload: c.Actors[0], Act: nested(c.Actors),
	}
	if c.Purpose != "" {
		b.Context = map[string]string{"purpose": c.Purpose}
	}
	token, err = s.sign(b)
	return token, end, err
}

func (s *Signer) sign(b body) (string, error) {
	payload, err := json.Marshal(b)
	if err != nil {
		return "", err
	}
	signed, err := s.signer.Sign(payload)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	token, err := signed.CompactSerialize()
	if err == nil && len(token) > maxToken {
		return "", fmt.Errorf("the token would have %d bytes, more than %d", len(token), maxToken)
	}
	return token, err
}

// check holds a token to what the host that takes it will ask of it.
func (c *Claims) check() error {
	names := append([]string{c.Audience, c.User, c.Task}, c.Actors...)
	for _, name := range names {
		if !isName(name) {
			return fmt.Errorf("%q is no name of 1 to %d printable bytes", name, maxName)
		}
	}
	if n := len(c.Actors); n == 0 || n > maxActors {
		return fmt.Errorf("%d act for the user; expected 1 to %d", n, maxActors)
	}
	if n := len(c.Scopes); n == 0 || n > maxScopes {
		return fmt.Errorf("the token would have %d scopes; expected 1 to %d", n, maxScopes)
	}
	for _, scope := range c.Scopes {
		if !isName(scope) || strings.ContainsAny(scope, ` "\`) { // RFC 6749, section 3.3
			return fmt.Errorf("%q cannot be a scope", scope)
		}
	}
	return nil
}

// nested writes actors as RFC 8693, section 4.1 has them: the nearest outermost.
func nested(actors []string) *act {
	var a *act
	for _, actor := range slices.Backward(actors) {
		a = &act{actor, a}
	}
	return a
}
