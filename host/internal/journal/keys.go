package journal

import (
	"context"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
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
	tenant map[string]*sync.Pool
	domain map[string]*domain
}

// domain is an erasure domain: a session's key, ready to use.
type domain struct {
	aead  cipher.AEAD
	names *sync.Pool // of HMACs under the tenant's key, which name payloads
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
	return &Keys{store: s, master: aead, root: master, tenant: map[string]*sync.Pool{}, domain: map[string]*domain{}}, nil
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
	names, err := k.tenantKey(tenant)
	if err != nil {
		return nil, err
	}
	enc, err := derive(secret, "vespiary payload v1")
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(enc)
	if err != nil {
		return nil, err
	}
	d := &domain{aead: aead, names: names}
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

// What a digest is of. The two never meet: a payload that is made to look like a node
// has another name.
const (
	ofPayload byte = 'p'
	ofNode    byte = 'n'
)

// digest names data under the tenant's key: without the key nobody can test
// whether a guessed text is among the payloads.
func (d *domain) digest(kind byte, parts ...[]byte) string {
	h, _ := d.names.Get().(hash.Hash)
	defer d.names.Put(h)
	h.Reset()
	h.Write([]byte{kind})
	for _, p := range parts {
		h.Write(p)
	}
	var sum [sha256.Size]byte
	return base64.RawURLEncoding.EncodeToString(h.Sum(sum[:0]))
}

// seal encrypts a piece of the payload that digest names. The nonce is the digest with
// the place of the piece: the same data gives the same ciphertext within a session, and
// no nonce ever serves two texts.
func (d *domain) seal(digest string, at piece, data []byte) []byte {
	return d.aead.Seal(nil, at.nonce(digest), data, at.name(digest))
}

func (d *domain) open(digest string, at piece, sealed []byte) ([]byte, error) {
	data, err := d.aead.Open(nil, at.nonce(digest), sealed, at.name(digest))
	if err != nil {
		return nil, fmt.Errorf("%w: payload %s does not decrypt", errCodec, digest)
	}
	return data, nil
}

// piece is a part of a payload: which one, and whether more follow. Both are
// authenticated, so that a piece that is lost or moved cannot go unnoticed.
type piece struct {
	n    uint16
	more bool
}

// whole is the only piece of a payload that was not cut.
var whole = piece{}

func (p piece) mark() byte {
	if p.more {
		return moreChunks
	}
	return lastChunk
}

func (p piece) nonce(digest string) []byte {
	var raw [sha256.Size]byte
	_, _ = base64.RawURLEncoding.Decode(raw[:], []byte(digest)) // what is no digest does not decrypt
	nonce := raw[:chacha20poly1305.NonceSizeX]
	binary.BigEndian.PutUint16(nonce[len(nonce)-2:], p.n)
	return nonce
}

func (p piece) name(digest string) []byte {
	return append(binary.BigEndian.AppendUint16([]byte(digest), p.n), p.mark())
}

// The last byte of a stored piece tells whether more follow.
const (
	moreChunks byte = 0
	lastChunk  byte = 1
)
