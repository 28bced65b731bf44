package audit

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// ed25519Note is what notes call the algorithm (C2SP signed-note).
const ed25519Note = 1

// KeyFromSeed makes the key of a name and of ed25519.SeedSize secret bytes: the same for
// the same. The text is secret, in the form that GenerateKey returns.
func KeyFromSeed(seed []byte, name string) (string, error) {
	if len(seed) != ed25519.SeedSize {
		return "", fmt.Errorf("audit: a seed has %d bytes, not %d", len(seed), ed25519.SeedSize)
	}
	public, _ := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	verifier, err := note.NewEd25519VerifierKey(name, public)
	if err != nil {
		return "", fmt.Errorf("audit: make a key named %q: %w", name, err)
	}
	hash, _, _ := strings.Cut(strings.TrimPrefix(verifier, name+"+"), "+")
	private := base64.StdEncoding.EncodeToString(append([]byte{ed25519Note}, seed...))
	return strings.Join([]string{"PRIVATE+KEY", name, hash, private}, "+"), nil
}
