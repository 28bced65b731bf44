package snapshot

import (
	"context"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

// ErrDamaged is wrapped by the errors of Newest about a snapshot that cannot be restored:
// a part is missing, does not decrypt (the cause is wrapped, too) or is not what was
// stored. Replay the journal, and Drop all of the session's snapshots (after entry 0)
// before the next Put, which would build on the damaged one: it does not read the
// packs that it goes on using.
var ErrDamaged = errors.New("the snapshot is damaged; replay the session's journal instead")

// Sealer encrypts under a session's key. Of the run only Tenant and Session count.
type Sealer interface {
	// Wrap returns a keyed digest of data, 43 characters long, and the ciphertext.
	Wrap(ctx context.Context, run *host.Run, data []byte) ([]byte, error)
	// Unwrap returns what was wrapped. It must fail if the digest or the ciphertext
	// is not as Wrap returned it.
	Unwrap(ctx context.Context, run *host.Run, wrapped []byte) ([]byte, error)
}

// digestLen is the length of the keyed digest before a sealed value.
const digestLen = 43

// Taken is an image with where in its session it was taken.
type Taken struct {
	Turn     int
	Seq      uint64 // of the entry that ended the turn
	Epoch    uint32
	Module   string // digest
	Prepared int    // version of the host's preparation of modules
	Fuel     int64  // that the guest had used by then
	Digest   string // set by Newest: that of Stored
	Image    host.Image
}

// Stored tells what Put did.
type Stored struct {
	// Ops make the snapshot the session's newest. They hold at most 1 MiB.
	Ops []store.Op
	// Digest is a keyed digest of the image: equal states of a tenant's sessions have
	// equal ones.
	Digest string
	Pages  int   // of the image
	New    int   // pages that the snapshot before does not have
	Bytes  int64 // of keys and values written for it, Ops included
}

// Keeper stores and finds snapshots. It is safe for concurrent use, but Put, Prune and
// Drop of one session must not run at the same time.
type Keeper struct {
	store  store.Store
	sealer Sealer
	enc    *zstd.Encoder
	dec    *zstd.Decoder
}

// New makes a keeper over s.
func New(s store.Store, sealer Sealer) *Keeper {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(false), zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(fmt.Sprintf("snapshot: zstd refuses constant options: %v", err))
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxBody))
	if err != nil {
		panic(fmt.Sprintf("snapshot: zstd refuses constant options: %v", err))
	}
	return &Keeper{store: s, sealer: sealer, enc: enc, dec: dec}
}

// Put stores the image's pages that the newest snapshot up to t.Seq does not have, and
// returns the ops that make this one the newest. The caller commits them together with
// the journal entry that records the snapshot, or drops them: what Put itself has
// written is then left behind until a Prune after the next snapshot. t is only read.
func (k *Keeper) Put(ctx context.Context, tenant, session string, t Taken) (Stored, error) {
	s, err := k.home(tenant, session).put(ctx, &t)
	if err != nil {
		return Stored{}, fmt.Errorf("take a snapshot of session %s after turn %d: %w", session, t.Turn, err)
	}
	return s, nil
}

func (h *home) put(ctx context.Context, t *Taken) (Stored, error) {
	sums, err := sumAll(t.Image.Pages)
	if err != nil {
		return Stored{}, err
	}
	digest, err := h.digest(ctx, t, sums)
	if err != nil {
		return Stored{}, err
	}
	before, err := h.before(ctx, t.Seq)
	if err != nil {
		return Stored{}, err
	}
	w := &writer{home: h, m: &manifest{Taken: *t, sums: sums}, packed: map[sum]place{}}
	w.m.Digest = digest
	known, fresh := before.survey(sums)
	w.carry(before, known, before.keep(known, fresh))
	if err := w.pages(ctx, t.Image.Pages); err != nil {
		return Stored{}, err
	}
	if err := w.manifest(ctx); err != nil {
		return Stored{}, err
	}
	return Stored{Ops: w.ops, Digest: digest, Pages: len(sums), New: fresh, Bytes: w.bytes}, nil
}

// before returns the manifest to build on: the newest up to seq. An empty one, where
// there is none or it cannot be read, makes Put write everything.
func (h *home) before(ctx context.Context, seq uint64) (*manifest, error) {
	var m *manifest
	err := h.store.View(ctx, func(tx store.Tx) (err error) {
		m, err = h.manifest(ctx, tx, seq)
		return err
	})
	if errors.Is(err, ErrDamaged) || err == nil && m == nil {
		return &manifest{}, nil
	}
	return m, err
}

// Newest returns the newest snapshot that was taken at upTo or before, nil for none. Its
// pages share memory. An error that wraps ErrDamaged tells that there is one which
// cannot be restored; others are about ctx or the store.
func (k *Keeper) Newest(ctx context.Context, tenant, session string, upTo uint64) (*Taken, error) {
	t, err := k.home(tenant, session).newest(ctx, upTo)
	if err != nil {
		return nil, fmt.Errorf("read the snapshot of session %s: %w", session, err)
	}
	return t, nil
}

func (h *home) newest(ctx context.Context, upTo uint64) (*Taken, error) {
	var m *manifest
	var sealed [][]byte
	err := h.store.View(ctx, func(tx store.Tx) (err error) {
		if m, err = h.manifest(ctx, tx, upTo); err == nil && m != nil {
			sealed, err = h.sealed(tx, m.packs)
		}
		return err
	})
	if err != nil || m == nil {
		return nil, err
	}
	m.Image.Pages, err = h.pages(ctx, m, sealed)
	return &m.Taken, err
}
