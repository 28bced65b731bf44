package journal

import (
	"context"
	"errors"
	"fmt"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

const (
	inlineLimit = 4 << 10   // a payload up to this size lies in its entry
	chunkSize   = 512 << 10 // larger ones are cut to this size
)

// ErrTooLarge means that the payload is over host.MaxPayload.
var ErrTooLarge = fmt.Errorf("journal: payload is over %d bytes", host.MaxPayload)

// sealed is a payload made ready: its name, and either its ciphertext or the ops
// that write its chunks.
type sealed struct {
	digest string
	inline []byte
	ops    []store.Op
}

func (d *domain) payload(tenant, session string, data []byte) (sealed, error) {
	if len(data) > host.MaxPayload {
		return sealed{}, ErrTooLarge
	}
	out := sealed{digest: d.digest(ofPayload, data)}
	if len(data) <= inlineLimit {
		out.inline = d.seal(out.digest, whole, data)
		return out, nil
	}
	out.ops = d.chunks(tenant, session, out.digest, data)
	return out, nil
}

// chunks cuts data and seals each piece under a name of its own.
func (d *domain) chunks(tenant, session, digest string, data []byte) []store.Op {
	var ops []store.Op
	for n := 0; n == 0 || len(data) > 0; n++ {
		cut := data[:min(chunkSize, len(data))]
		data = data[len(cut):]
		at := piece{n: uint16(n), more: len(data) > 0}
		value := append(d.seal(digest, at, cut), at.mark())
		ops = append(ops, store.Op{Key: chunkKey(tenant, session, digest, n), Value: value})
	}
	return ops
}

// blob reads a payload that lies in chunks and checks that it is what digest names.
func (k *Keys) blob(ctx context.Context, tenant, session, digest string) ([]byte, error) {
	data, err := k.chunked(ctx, tenant, session, digest)
	if err != nil {
		return nil, err
	}
	d, err := k.get(ctx, tenant, session)
	if err != nil {
		return nil, err
	}
	if d.digest(ofPayload, data) != digest {
		return nil, fmt.Errorf("%w: payload %s has another digest", errCodec, digest)
	}
	return data, nil
}

// chunked reads the chunks stored under name. Each one is authenticated together
// with its name and place.
func (k *Keys) chunked(ctx context.Context, tenant, session, name string) ([]byte, error) {
	d, err := k.get(ctx, tenant, session)
	if err != nil {
		return nil, err
	}
	var data []byte
	err = k.store.View(ctx, func(tx store.Tx) error {
		for n, last := 0, false; !last; n++ {
			item, err := tx.Get(chunkKey(tenant, session, name, n))
			if errors.Is(err, store.ErrNotFound) || err == nil && len(item.Value) == 0 {
				return fmt.Errorf("%w: payload %s lacks chunk %d", errCodec, name, n)
			}
			if err != nil {
				return err
			}
			end := len(item.Value) - 1
			last = item.Value[end] == lastChunk
			cut, err := d.open(name, piece{n: uint16(n), more: !last}, item.Value[:end])
			if err != nil {
				return err
			}
			data = append(data, cut...)
		}
		return nil
	})
	return data, err
}

// Seal encrypts data under the run's session and returns its name and the ops that
// store it, for a caller that commits them with its own.
func (j *Journals) Seal(ctx context.Context, run *host.Run, data []byte) (string, []store.Op, error) {
	d, err := j.keys.get(ctx, run.Tenant, run.Session)
	if err != nil {
		return "", nil, err
	}
	if len(data) > 2*host.MaxPayload {
		return "", nil, ErrTooLarge
	}
	digest := d.digest(ofPayload, data)
	return digest, d.chunks(run.Tenant, run.Session, digest, data), nil
}

// Open reads what Seal stored.
func (j *Journals) Open(ctx context.Context, run *host.Run, digest string) ([]byte, error) {
	return j.keys.blob(ctx, run.Tenant, run.Session, digest)
}

// Wrap encrypts a value under the run's session, for keeping it beside the journal.
func (j *Journals) Wrap(ctx context.Context, run *host.Run, data []byte) ([]byte, error) {
	d, err := j.keys.get(ctx, run.Tenant, run.Session)
	if err != nil {
		return nil, err
	}
	digest := d.digest(ofPayload, data)
	return append([]byte(digest), d.seal(digest, whole, data)...), nil
}

// Unwrap decrypts what Wrap returned.
func (j *Journals) Unwrap(ctx context.Context, run *host.Run, wrapped []byte) ([]byte, error) {
	d, err := j.keys.get(ctx, run.Tenant, run.Session)
	if err != nil {
		return nil, err
	}
	if len(wrapped) < digestLen {
		return nil, fmt.Errorf("%w: a wrapped value is too short", errCodec)
	}
	return d.open(string(wrapped[:digestLen]), whole, wrapped[digestLen:])
}

// digestLen is the length of a payload's name.
const digestLen = 43
