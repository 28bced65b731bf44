package identity

import (
	"encoding/base64"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	// This fork of encoding/json tells keys apart by case and refuses the same key twice,
	// so that one claim cannot stand in for another.
	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// maxToken is in bytes. Tokens of users in hundreds of groups have about 10 KiB.
	maxToken = 16 << 10
	// leeway is how far the clock of an issuer may be from ours.
	leeway = 30 * time.Second
)

// header is what the first part of a token says, unverified.
type header struct {
	Type     string             `json:"typ"`
	Key      string             `json:"kid"`
	Critical stdjson.RawMessage `json:"crit"`
}

// encoding takes one spelling of each token only.
var encoding = base64.RawURLEncoding.Strict()

var tokenForm = regexp.MustCompile(`^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$`)

// peek reads of a token what tells who can check it. Nothing of it is verified.
func peek(token string) (header, string, error) {
	if len(token) > maxToken || !tokenForm.MatchString(token) {
		return header{}, "", fmt.Errorf("this is not a signed JWT of up to %d bytes", maxToken)
	}
	parts := strings.Split(token, ".")
	var h header
	var body struct {
		Issuer string `json:"iss"`
	}
	_, sigErr := encoding.DecodeString(parts[2])
	if err := errors.Join(part(parts[0], &h), part(parts[1], &body), sigErr); err != nil {
		return header{}, "", fmt.Errorf("decode the JWT: %w", err)
	}
	if h.Critical != nil {
		return header{}, "", errors.New("the header has critical parameters (crit), and this host knows none")
	}
	// RFC 7515, section 4.1.9: the media type without application/, in any case.
	h.Type = strings.TrimPrefix(strings.ToLower(h.Type), "application/")
	return h, body.Issuer, nil
}

func part(text string, into any) error {
	b, err := encoding.DecodeString(text)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// claims are those of a verified token, by their exact names.
type claims map[string]stdjson.RawMessage

func parseClaims(payload []byte) (claims, error) {
	var c claims
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, fmt.Errorf("decode the claims: %w", err)
	}
	return c, nil
}

// get decodes a claim, and leaves into as it is where the token has none.
func (c claims) get(name string, into any) error {
	raw, ok := c[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("the claim %s: %w", name, err)
	}
	return nil
}

// text returns a claim that must be there and fit for a name.
func (c claims) text(name string) (string, error) {
	var s string
	if err := c.get(name, &s); err != nil {
		return "", err
	}
	if !isName(s) {
		return "", fmt.Errorf("the claim %s is missing, or is no text of 1 to %d printable bytes", name, maxName)
	}
	return s, nil
}

// audience returns whom the token is for.
func (c claims) audience() (aud jwt.Audience, err error) {
	return aud, c.get("aud", &aud)
}

// period is from when and until when a token holds. Absent times are zero.
type period struct{ issued, begin, end time.Time }

func (c claims) period() (period, error) {
	var issued, begin, end *jwt.NumericDate
	err := errors.Join(c.get("iat", &issued), c.get("nbf", &begin), c.get("exp", &end))
	return period{issued.Time(), begin.Time(), end.Time()}, err
}

// check reports what keeps the token from holding now. It must say when it ends.
func (p period) check(now time.Time) error {
	switch {
	case p.end.IsZero():
		return errors.New("the token never expires (exp)")
	case !now.Before(p.end.Add(leeway)):
		return fmt.Errorf("the token expired at %s", p.end.UTC().Format(time.RFC3339))
	case p.begin.After(now.Add(leeway)) || p.issued.After(now.Add(leeway)):
		return errors.New("the token begins in the future (nbf, iat)")
	}
	return nil
}
