package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The headers of the specification.
const (
	headerID        = "webhook-id"
	headerTimestamp = "webhook-timestamp"
	headerSignature = "webhook-signature"
)

const (
	secretPrefix = "whsec_"
	minSecret    = 24 // bytes
	maxSecret    = 64
	version      = "v1," // HMAC-SHA256
)

// ParseSecret reads a signing secret as the specification writes it: whsec_ and the
// base64 of 24 to 64 random bytes. White space around it is ignored. The error does
// not repeat the secret.
func ParseSecret(text string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(strings.TrimSpace(text), secretPrefix)
	if !ok {
		return nil, errors.New("a signing secret is whsec_ and base64; make one with: echo whsec_$(openssl rand -base64 32)")
	}
	secret, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, errors.New("what follows whsec_ in the signing secret is not base64; make one with: echo whsec_$(openssl rand -base64 32)")
	}
	return secret, checkSecret(secret)
}

func checkSecret(secret []byte) error {
	if len(secret) < minSecret || len(secret) > maxSecret {
		return fmt.Errorf("the signing secret has %d bytes; it must have %d to %d", len(secret), minSecret, maxSecret)
	}
	return nil
}

// sign returns the signature header: one signature by each secret.
func sign(secrets [][]byte, id, timestamp string, body []byte) string {
	out := make([]string, len(secrets))
	for i, secret := range secrets {
		out[i] = version + base64.StdEncoding.EncodeToString(digest(secret, id, timestamp, body))
	}
	return strings.Join(out, " ")
}

func digest(secret []byte, id, timestamp string, body []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	return mac.Sum(nil)
}

// Verify reports why a request must not be believed; nil means that it was signed with
// the secret, and no longer than tolerance before or after now (five minutes is usual).
// Body is what was received, byte for byte. The caller then drops the request if it has
// seen its webhook-id before.
func Verify(secret []byte, h http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	id, timestamp := h.Get(headerID), h.Get(headerTimestamp)
	if id == "" || timestamp == "" || h.Get(headerSignature) == "" {
		return errors.New("verify webhook: a header is missing: webhook-id, webhook-timestamp and webhook-signature are needed")
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return errors.New("verify webhook: webhook-timestamp is not a number of seconds")
	}
	if age := now.Sub(time.Unix(seconds, 0)); age.Abs() > tolerance {
		return fmt.Errorf("verify webhook: it was signed %s ago, beyond the tolerance of %s; check the clocks", age, tolerance)
	}
	want := digest(secret, id, timestamp, body)
	for text := range strings.FieldsSeq(h.Get(headerSignature)) {
		encoded, ok := strings.CutPrefix(text, version)
		got, err := base64.StdEncoding.DecodeString(encoded)
		if ok && err == nil && hmac.Equal(got, want) {
			return nil
		}
	}
	return errors.New("verify webhook: no signature was made with this secret over this body")
}
