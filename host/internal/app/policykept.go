package app

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy/cedar"
)

// keptSets holds every policy set that ever decided, or was tried beside one that did:
//
//	policyset/<digest>/<n> -> part n, from 0, of a keptSet, as compressed JSON
type keptSets struct{ store store.Store }

// keptSet is what a set is compiled from.
type keptSet struct {
	Policies int               `json:"policies"`
	Files    map[string][]byte `json:"files"`
	Actions  []cedar.Action    `json:"actions,omitempty"`
}

// maxPart is the size of a part, in bytes. All parts of a set are one batch.
const maxPart = store.MaxValue / 2

var setDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func keptPrefix(digest string) []byte { return []byte("policyset/" + digest + "/") }

func keptKey(digest string, n int) []byte { return fmt.Appendf(keptPrefix(digest), "%04d", n) }

// keep makes sure that a set can be found by its digest.
func (k keptSets) keep(ctx context.Context, set *cedar.Set) error {
	err := k.store.View(ctx, func(tx store.Tx) error {
		_, err := tx.Get(keptKey(set.Digest(), 0))
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	packed, err := pack(keptSet{len(set.Policies()), set.Files(), set.Actions()})
	if err != nil {
		return err
	}
	var b store.Batch
	for n := 0; n == 0 || len(packed) > 0; n++ {
		part := packed[:min(maxPart, len(packed))]
		packed = packed[len(part):]
		b.Ops = append(b.Ops, store.Op{Key: keptKey(set.Digest(), n), Value: part})
	}
	_, err = k.store.Commit(ctx, b)
	return err
}

func pack(s keptSet) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	err := errors.Join(json.NewEncoder(w).Encode(s), w.Close())
	return b.Bytes(), err
}

// find returns what a set was compiled from; the error is store.ErrNotFound if it was
// never kept.
func (k keptSets) find(ctx context.Context, digest string) (keptSet, error) {
	var s keptSet
	if !setDigest.MatchString(digest) {
		return s, store.ErrNotFound
	}
	var packed []byte
	err := k.store.View(ctx, func(tx store.Tx) error {
		for item, err := range tx.Scan(store.Query{Prefix: keptPrefix(digest)}) {
			if err != nil {
				return err
			}
			packed = append(packed, item.Value...)
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	if len(packed) == 0 {
		return s, store.ErrNotFound
	}
	return s, s.unpack(digest, packed)
}

func (s *keptSet) unpack(digest string, packed []byte) error {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	var text []byte
	if err == nil {
		text, err = io.ReadAll(r) // to its end, where the checksum is
	}
	if err == nil {
		err = json.Unmarshal(text, s)
	}
	if err != nil {
		return fmt.Errorf("read the policy set %s: what the store keeps of it is damaged: %w", digest, err)
	}
	return nil
}

// compile makes the set again. It fails where this version of the host has another schema
// that the set does not fit.
func (s *keptSet) compile(digest string) (*cedar.Set, error) {
	set, err := cedar.Compile(s.Files, s.Actions...)
	if err != nil {
		return nil, err
	}
	if set.Digest() != digest {
		return nil, fmt.Errorf("the policy set %s is %s when it is compiled by this host", digest, set.Digest())
	}
	return set, nil
}
