package journal

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"
)

// What a digest is of. They never meet: a payload that is made to look like a part has
// another name.
const (
	ofPayload byte = 'p'
	ofString  byte = 's'
	ofChain   byte = 'c'
)

// kindOf is what the digest of a part is of.
func kindOf(portion byte) byte {
	if portion == portionChain {
		return ofChain
	}
	return ofString
}

// name names data under the tenant's key: without the key nobody can test whether a
// guessed text is among the payloads.
func (d *domain) name(kind byte, data []byte) name { return sum(d.names, kind, data) }

func (d *domain) digest(data []byte) string { return d.name(ofPayload, data).String() }

func sum(p *sync.Pool, kind byte, data []byte) (out name) {
	h, _ := p.Get().(hash.Hash)
	defer p.Put(h)
	h.Reset()
	h.Write([]byte{kind})
	h.Write(data)
	h.Sum(out[:0])
	return out
}

// seal encrypts a chunk of the payload that digest names. The nonce is the digest with
// the place of the chunk: the same data gives the same ciphertext within a session, and
// no nonce ever serves two texts, because the digest is of the very bytes that are
// encrypted.
func (d *domain) seal(digest string, at chunk, data []byte) []byte {
	return d.aead.Seal(nil, at.nonce(digest), data, at.name(digest))
}

// sealPart encrypts a chunk of a part. A part is named by its content and stored
// compressed, and one content may compress to different bytes: its nonce is random.
func (d *domain) sealPart(digest string, at chunk, data []byte) []byte {
	nonce := random(chacha20poly1305.NonceSizeX)
	return d.aead.Seal(nonce, nonce, data, at.name(digest))
}

func (d *domain) open(digest string, at chunk, sealed []byte) ([]byte, error) {
	nonce := at.nonce(digest)
	if at.part {
		n := min(len(sealed), chacha20poly1305.NonceSizeX)
		copy(nonce, sealed[:n]) // what is too short does not decrypt
		sealed = sealed[n:]
	}
	data, err := d.aead.Open(nil, nonce, sealed, at.name(digest))
	if err != nil {
		return nil, fmt.Errorf("%w: payload %s does not decrypt", errCodec, digest)
	}
	return data, nil
}

// chunk is a piece of a payload or of a part: which one, and whether more follow. All of
// it is authenticated, so that a chunk that is lost or moved cannot go unnoticed.
type chunk struct {
	n    uint16
	more bool
	part bool
}

// whole is the only chunk of a payload that was not cut.
var whole = chunk{}

// The last byte of a stored chunk.
const (
	moreChunks byte = iota // another one follows
	lastChunk
	moreOfPart
	lastOfPart
)

// mark is the chunk's last byte in the store.
func (c chunk) mark() byte {
	switch {
	case c.part && c.more:
		return moreOfPart
	case c.part:
		return lastOfPart
	case c.more:
		return moreChunks
	}
	return lastChunk
}

// marked is the chunk in the place n whose mark is m.
func marked(n int, m byte) chunk {
	return chunk{
		n:    uint16(n), //nolint:gosec // payloads have at most MaxPayload/chunkSize chunks
		more: m == moreChunks || m == moreOfPart, part: m == moreOfPart || m == lastOfPart,
	}
}

// nonce is the digest with the place in its last bytes.
func (c chunk) nonce(digest string) []byte {
	var raw [sha256.Size]byte
	_, _ = base64.RawURLEncoding.Decode(raw[:], []byte(digest)) // what is no digest does not decrypt
	nonce := raw[:chacha20poly1305.NonceSizeX]
	binary.BigEndian.PutUint16(nonce[len(nonce)-2:], c.n)
	return nonce
}

// name is what is authenticated beside the data.
func (c chunk) name(digest string) []byte {
	return append(binary.BigEndian.AppendUint16([]byte(digest), c.n), c.mark())
}
