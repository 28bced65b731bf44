package journal

import (
	"context"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/vespiary/vespiary/host/store"
)

// ErrErased means that the payload's key was destroyed: what it held cannot be read again.
var ErrErased = errors.New("journal: payload was erased")

const keySize = chacha20poly1305.KeySize

// Keys holds the host's master key and the keys wrapped under it. It is safe for
// concurrent use.
type Keys struct {
	store  store.Store
	master cipher.AEAD
	root   []byte
	mu     sync.Mutex
	tenant map[string][]byte
	domain map[string]*domain
}

// domain is an erasure domain: a session's key, ready to use.
type domain struct {
	aead  cipher.AEAD
	nonce []byte // key that derives nonces
	name  []byte // the tenant's key, which names payloads
}

// NewKeys makes a key ring over s. master has 32 bytes and must be the one that
// earlier keys in s were wrapped under.
func NewKeys(s store.Store, master []byte) (*Keys, error) {
	wrap, err := derive(master, "vespiary wrap v1")
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(wrap)
	if err != nil {
		return nil, fmt.Errorf("journal: master key: %w", err)
	}
	return &Keys{store: s, master: aead, root: master, tenant: map[string][]byte{}, domain: map[string]*domain{}}, nil
}

func derive(secret []byte, info string) ([]byte, error) {
	if len(secret) != keySize {
		return nil, fmt.Errorf("journal: master key has %d bytes, not %d; restore the key file", len(secret), keySize)
	}
	return hkdf.Key(sha256.New, secret, nil, info, keySize)
}

// create makes a new key for the session and returns the op that stores it.
func (k *Keys) create(tenant, session string) (store.Op, error) {
	secret := make([]byte, keySize)
	nonce := make([]byte, chacha20poly1305.NonceSizeX)
	_, _ = rand.Read(secret) // never fails
	_, _ = rand.Read(nonce)
	id := key('k', tenant, session)
	if _, err := k.use(tenant, session, secret); err != nil {
		return store.Op{}, err
	}
	return store.Op{Key: id, Value: k.master.Seal(nonce, nonce, secret, id)}, nil
}

// get returns the session's key, ErrErased when it has none.
func (k *Keys) get(ctx context.Context, tenant, session string) (*domain, error) {
	k.mu.Lock()
	d := k.domain[tenant+"/"+session]
	k.mu.Unlock()
	if d != nil {
		return d, nil
	}
	id := key('k', tenant, session)
	var wrapped []byte
	err := k.store.View(ctx, func(tx store.Tx) error {
		item, err := tx.Get(id)
		wrapped = item.Value
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrErased
	}
	if err != nil {
		return nil, err
	}
	secret, err := k.unwrap(wrapped, id)
	if err != nil {
		return nil, fmt.Errorf("journal: key of session %s: %w; restore the master key file that belongs to this data folder", session, err)
	}
	return k.use(tenant, session, secret)
}

func (k *Keys) unwrap(wrapped, id []byte) ([]byte, error) {
	n := chacha20poly1305.NonceSizeX
	if len(wrapped) < n {
		return nil, errCodec
	}
	return k.master.Open(nil, wrapped[:n], wrapped[n:], id)
}

// use prepares a session's secret and remembers it.
func (k *Keys) use(tenant, session string, secret []byte) (*domain, error) {
	name, err := k.tenantKey(tenant)
	if err != nil {
		return nil, err
	}
	enc, err := derive(secret, "vespiary payload v1")
	if err != nil {
		return nil, err
	}
	nonce, err := derive(secret, "vespiary nonce v1")
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(enc)
	if err != nil {
		return nil, err
	}
	d := &domain{aead: aead, nonce: nonce, name: name}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.domain) >= maxCachedKeys {
		clear(k.domain)
	}
	k.domain[tenant+"/"+session] = d
	return d, nil
}

// maxCachedKeys bounds the memory for keys of sessions that were read once.
const maxCachedKeys = 10_000

func (k *Keys) tenantKey(tenant string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if t := k.tenant[tenant]; t != nil {
		return t, nil
	}
	t, err := derive(k.root, "vespiary tenant v1 "+tenant)
	if err == nil {
		k.tenant[tenant] = t
	}
	return t, err
}

// forget drops a cached key, after its erasure.
func (k *Keys) forget(tenant, session string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.domain, tenant+"/"+session)
}

// digest names data under the tenant's key: without the key nobody can test
// whether a guessed text is among the payloads.
func (d *domain) digest(parts ...[]byte) string {
	h := hmac.New(sha256.New, d.name)
	for _, p := range parts {
		h.Write(p)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// seal encrypts data. The nonce is derived from the digest, so the same data gives
// the same ciphertext within a session and no nonce ever serves two texts.
func (d *domain) seal(digest string, data []byte) []byte {
	return d.aead.Seal(nil, d.nonceFor(digest), data, []byte(digest))
}

func (d *domain) open(digest string, sealed []byte) ([]byte, error) {
	data, err := d.aead.Open(nil, d.nonceFor(digest), sealed, []byte(digest))
	if err != nil {
		return nil, fmt.Errorf("%w: payload %s does not decrypt", errCodec, digest)
	}
	return data, nil
}

func (d *domain) nonceFor(digest string) []byte {
	h := hmac.New(sha256.New, d.nonce)
	h.Write([]byte(digest))
	return h.Sum(nil)[:chacha20poly1305.NonceSizeX]
}
