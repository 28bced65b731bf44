package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
)

// Digest names bytes by their hash: "sha256:" and 64 lower-case hexadecimal digits.
type Digest string

const digestPrefix = "sha256:"

var digestForm = regexp.MustCompile(`^` + digestPrefix + `[0-9a-f]{64}$`)

// Of returns the digest of b.
func Of(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest(digestPrefix + hex.EncodeToString(sum[:]))
}

// Valid reports whether d has the form of a digest.
func (d Digest) Valid() bool { return digestForm.MatchString(string(d)) }

// hex is the hash alone; d must be valid.
func (d Digest) hex() string { return string(d[len(digestPrefix):]) }
