package audit

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/vespiary/vespiary/host/store"
)

// Signer holds the key that checkpoints are signed with.
type Signer struct {
	signer note.Signer
	public string
}

// GenerateKey makes an Ed25519 key with a name, such as that of the host, which has neither
// spaces nor "+". The text is secret.
func GenerateKey(random io.Reader, name string) (string, error) {
	private, _, err := note.GenerateKey(random, name)
	if err != nil {
		return "", fmt.Errorf("audit: make a key named %q: %w", name, err)
	}
	if _, err := NewSigner(private); err != nil {
		return "", fmt.Errorf("audit: %q cannot be the name of a key: %w", name, err)
	}
	return private, nil
}

// NewSigner reads what GenerateKey returned.
func NewSigner(private string) (*Signer, error) {
	s, err := note.NewSigner(private)
	if err != nil {
		return nil, fmt.Errorf("audit: read the key that signs checkpoints: %w", err)
	}
	parts := strings.SplitN(private, "+", 5) // PRIVATE, KEY, name, hash, base64 of algorithm and seed
	seed, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return nil, errors.New("audit: read the key that signs checkpoints: it is no Ed25519 key")
	}
	key := ed25519.NewKeyFromSeed(seed[1:])
	public, err := note.NewEd25519VerifierKey(s.Name(), key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("audit: read the key that signs checkpoints: %w", err)
	}
	return &Signer{s, public}, nil
}

// PublicKey is the text that others check checkpoints with: "name+hash+key".
func (s *Signer) PublicKey() string { return s.public }

func (s *Signer) name() string { return s.signer.Name() }

// checkpoint is the size and the root of the tree of one origin. The tree without leaves
// has none.
type checkpoint struct {
	origin string
	size   int64
	root   tlog.Hash
}

func (c checkpoint) sign(s *Signer) ([]byte, error) {
	text := fmt.Sprintf("%s\n%d\n%s\n", c.origin, c.size, base64.StdEncoding.EncodeToString(c.root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, s.signer)
	if err != nil {
		return nil, fmt.Errorf("audit: sign the checkpoint of %s: %w", c.origin, err)
	}
	return signed, nil
}

// openCheckpoint checks the signature of a checkpoint by the public key and reads it. Other
// signatures, such as those of witnesses, are left to whoever has their keys.
func openCheckpoint(signed []byte, public string) (checkpoint, error) {
	verifier, err := newVerifier(public)
	if err != nil {
		return checkpoint{}, err
	}
	n, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return checkpoint{}, fmt.Errorf("its signature is not one of the key %s: %w", verifier.Name(), err)
	}
	return parseCheckpoint(n.Text)
}

func newVerifier(public string) (note.Verifier, error) {
	v, err := note.NewVerifier(public)
	if err != nil {
		return nil, fmt.Errorf("%q is no public key of the form name+hash+key: %w", public, err)
	}
	return v, nil
}

func parseCheckpoint(text string) (checkpoint, error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) != 4 || lines[0] == "" {
		return checkpoint{}, errors.New("it does not have the three lines of a checkpoint")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return checkpoint{}, fmt.Errorf("its size %q is no number", lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return checkpoint{}, fmt.Errorf("its root %q is no hash", lines[2])
	}
	return checkpoint{lines[0], size, root}, nil
}

// origin is the first line of the checkpoints of a tenant, so that one tenant's is not taken
// for another's.
func (l *Log) origin(tenant string) string { return l.opt.Origin + "/" + tenant }

// Checkpoint returns the newest signed checkpoint of a tenant's tree, a note in the form of
// C2SP tlog-checkpoint. The error is store.ErrNotFound while there is none.
func (l *Log) Checkpoint(ctx context.Context, tenant string) (signed []byte, err error) {
	if err := checkName("tenant", tenant); err != nil {
		return nil, err
	}
	err = l.opt.Store.View(ctx, func(tx store.Tx) error {
		item, err := tx.Get(checkpointKey(tenant))
		signed = item.Value
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("audit: read the checkpoint of %s: %w", tenant, err)
	}
	return signed, nil
}

// ErrOtherKey means that a log was given another key than signed its tree so far.
var ErrOtherKey = errors.New("audit: the tree was signed with another key")

// SameKey returns ErrOtherKey where the newest checkpoint of a tenant carries no signature
// of this log's key: it could not go on with that tree. A signature that is wrong is for
// Verify to find.
func (l *Log) SameKey(ctx context.Context, tenant string) error {
	signed, err := l.Checkpoint(ctx, tenant)
	if errors.Is(err, store.ErrNotFound) || err == nil && l.opt.Signer == nil {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err = openCheckpoint(signed, l.opt.Signer.PublicKey()); err == nil {
		return nil
	}
	if _, unsigned := errors.AsType[*note.UnverifiedNoteError](err); unsigned {
		return fmt.Errorf("%w than %s", ErrOtherKey, l.opt.Signer.PublicKey())
	}
	return nil
}
