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

// payload seals a payload's stored form, into what lies in the entry or into ops.
func (d *domain) payload(tenant, session string, form []byte) (digest string, inline []byte, ops []store.Op) {
	digest = d.digest(form)
	if len(form) <= inlineLimit {
		return digest, d.seal(digest, whole, form), nil
	}
	return digest, nil, d.chunks(tenant, session, digest, form)
}

// chunks cuts data and seals each chunk under a name of its own.
func (d *domain) chunks(tenant, session, digest string, data []byte) []store.Op {
	return cutUp(tenant, session, digest, data, false, d.seal)
}

// parts does the same with a part.
func (d *domain) parts(tenant, session, digest string, data []byte) []store.Op {
	return cutUp(tenant, session, digest, data, true, d.sealPart)
}

func cutUp(tenant, session, digest string, data []byte, part bool, seal func(string, chunk, []byte) []byte) []store.Op {
	var ops []store.Op
	for n := 0; n == 0 || len(data) > 0; n++ {
		cut := data[:min(chunkSize, len(data))]
		data = data[len(cut):]
		at := chunk{n: uint16(n), more: len(data) > 0, part: part}
		value := append(seal(digest, at, cut), at.mark())
		ops = append(ops, store.Op{Key: chunkKey(tenant, session, digest, n), Value: value})
	}
	return ops
}

// blob reads a payload that lies in chunks and checks that it is what digest names.
func (s *shelf) blob(digest string) ([]byte, error) {
	data, err := s.chunked(digest)
	if err != nil {
		return nil, err
	}
	if s.domain.digest(data) != digest {
		return nil, fmt.Errorf("%w: payload %s has another digest", errCodec, digest)
	}
	return data, nil
}

// chunked reads the chunks stored under a digest. Each one is authenticated together with
// the digest and its place.
func (s *shelf) chunked(digest string) ([]byte, error) {
	var data []byte
	for n, more := 0, true; more; n++ {
		item, err := s.tx.Get(chunkKey(s.tenant, s.session, digest, n))
		end := len(item.Value) - 1
		if errors.Is(err, store.ErrNotFound) || err == nil && end < 0 {
			return nil, fmt.Errorf("%w: payload %s lacks chunk %d", errCodec, digest, n)
		}
		if err != nil {
			return nil, err
		}
		at := marked(n, item.Value[end])
		cut, err := s.domain.open(digest, at, item.Value[:end])
		if err != nil {
			return nil, err
		}
		if more = at.more; n == 0 && !more {
			return cut, nil
		}
		data = append(data, cut...)
	}
	return data, nil
}

// payload returns what an entry's payload held.
func (s *shelf) payload(e host.Entry) ([]byte, error) {
	form, err := s.form(e)
	if err != nil {
		return nil, err
	}
	if len(form) > 0 && form[0] == formConversation {
		return s.conversation(form[1:])
	}
	data, recipe, err := s.keys.packer.unpack(form)
	if err != nil || !recipe {
		return data, err
	}
	return s.join(nil, data, 0)
}

// inline returns what an entry's payload held where all of it lies in the entry.
func (k *Keys) inline(ctx context.Context, tenant string, e host.Entry) (data []byte, done bool, err error) {
	d, err := k.get(ctx, tenant, e.Domain)
	if err != nil {
		return nil, false, err
	}
	form, err := d.open(e.Digest, whole, e.Sealed)
	if err != nil || len(form) > 0 && (form[0] == formConversation || form[0] == formRecipe || form[0] == formPackedRecipe) {
		return nil, false, err
	}
	data, _, err = k.packer.unpack(form)
	return data, true, err
}

// form returns the stored form of an entry's payload.
func (s *shelf) form(e host.Entry) ([]byte, error) {
	if e.Sealed == nil {
		return s.blob(e.Digest)
	}
	return s.domain.open(e.Digest, whole, e.Sealed)
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
	digest := d.digest(data)
	return digest, d.chunks(run.Tenant, run.Session, digest, data), nil
}

// Open reads what Seal stored.
func (j *Journals) Open(ctx context.Context, run *host.Run, digest string) ([]byte, error) {
	var data []byte
	err := j.keys.shelve(ctx, run.Tenant, run.Session, func(s *shelf) (err error) {
		data, err = s.blob(digest)
		return err
	})
	return data, err
}

// Wrap encrypts a value under the run's session, for keeping it beside the journal.
func (j *Journals) Wrap(ctx context.Context, run *host.Run, data []byte) ([]byte, error) {
	d, err := j.keys.get(ctx, run.Tenant, run.Session)
	if err != nil {
		return nil, err
	}
	digest := d.digest(data)
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
