package journal

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
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
	packer packer
	mu     sync.Mutex
	tenant map[string]*sync.Pool
	domain map[string]*domain
}

// domain is an erasure domain: a session's keys, ready to use.
type domain struct {
	aead   cipher.AEAD
	names  *sync.Pool // of HMACs under the tenant's key, which name payloads
	hashes *sync.Pool // of HMACs under the session's hash key, which name requests
	hash   []byte     // the hash key; nil in old sessions, which use the tenant's
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
	p, err := newPacker()
	if err != nil {
		return nil, fmt.Errorf("journal: compression: %w", err)
	}
	return &Keys{store: s, master: aead, root: master, packer: p, tenant: map[string]*sync.Pool{}, domain: map[string]*domain{}}, nil
}

func derive(secret []byte, info string) ([]byte, error) {
	if len(secret) != keySize {
		return nil, fmt.Errorf("journal: master key has %d bytes, not %d; restore the key file", len(secret), keySize)
	}
	return hkdf.Key(sha256.New, secret, nil, info, keySize)
}

// create makes keys for a new session and returns the op that stores them. hash is the
// hash key that it goes on with, nil for one that has its tenant's. Nothing is remembered
// yet: the id may turn out to be another session's.
func (k *Keys) create(tenant, session string, hash []byte) (*domain, store.Op, error) {
	secret := append(random(keySize), hash...)
	d, err := k.use(tenant, secret)
	if err != nil {
		return nil, store.Op{}, err
	}
	id := key('k', tenant, session)
	nonce := random(chacha20poly1305.NonceSizeX)
	return d, store.Op{Key: id, Value: k.master.Seal(nonce, nonce, secret, id)}, nil
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
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
	if d, err = k.use(tenant, secret); err == nil {
		k.remember(tenant, session, d)
	}
	return d, err
}

func (k *Keys) unwrap(wrapped, id []byte) ([]byte, error) {
	n := chacha20poly1305.NonceSizeX
	if len(wrapped) < n {
		return nil, errCodec
	}
	return k.master.Open(nil, wrapped[:n], wrapped[n:], id)
}

// use prepares a session's secret: a key for payloads, and behind it, in sessions that
// have one, the hash key.
func (k *Keys) use(tenant string, secret []byte) (*domain, error) {
	if len(secret) != keySize && len(secret) != 2*keySize {
		return nil, fmt.Errorf("%w: it has %d bytes", errCodec, len(secret))
	}
	names, err := k.tenantKey(tenant)
	if err != nil {
		return nil, err
	}
	enc, err := derive(secret[:keySize], "vespiary payload v1")
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(enc)
	if err != nil {
		return nil, err
	}
	d := &domain{aead: aead, names: names, hashes: names}
	if len(secret) > keySize {
		d.hash = bytes.Clone(secret[keySize:])
		d.hashes = &sync.Pool{New: func() any { return hmac.New(sha256.New, d.hash) }}
	}
	return d, nil
}

func (k *Keys) remember(tenant, session string, d *domain) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.domain) >= maxCachedKeys {
		clear(k.domain)
	}
	k.domain[tenant+"/"+session] = d
}

// maxCachedKeys bounds the memory for keys of sessions that were read once.
const maxCachedKeys = 10_000

// tenantKey returns HMACs under the tenant's key: making one costs as much as using it.
func (k *Keys) tenantKey(tenant string) (*sync.Pool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if t := k.tenant[tenant]; t != nil {
		return t, nil
	}
	secret, err := derive(k.root, "vespiary tenant v1 "+tenant)
	if err != nil {
		return nil, err
	}
	t := &sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }}
	k.tenant[tenant] = t
	return t, nil
}

// forget drops a cached key, after its erasure.
func (k *Keys) forget(tenant, session string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.domain, tenant+"/"+session)
}
