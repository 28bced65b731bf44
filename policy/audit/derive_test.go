package audit_test

import (
	"bytes"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/vespiary/vespiary/policy/audit"
)

func TestKeyFromSeed(t *testing.T) {
	seed := bytes.Repeat([]byte{7}, 32)
	a, err := audit.KeyFromSeed(seed, "vespiary")
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := audit.KeyFromSeed(seed, "vespiary"); a != b {
		t.Error("the same seed makes two keys")
	}
	if b, _ := audit.KeyFromSeed(bytes.Repeat([]byte{8}, 32), "vespiary"); a == b {
		t.Error("two seeds make one key")
	}
	s, err := audit.NewSigner(a)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := note.NewSigner(a)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Sign(&note.Note{Text: "x\n"}, plain)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(s.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open(signed, note.VerifierList(v)); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]struct {
		seed []byte
		name string
	}{"short": {seed[1:], "vespiary"}, "no name": {seed, ""}, "plus": {seed, "a+b"}} {
		if _, err := audit.KeyFromSeed(bad.seed, bad.name); err == nil {
			if _, err := audit.NewSigner(must(audit.KeyFromSeed(bad.seed, bad.name))); err == nil {
				t.Errorf("%s was taken", name)
			}
		}
	}
}

func must(s string, _ error) string { return s }
